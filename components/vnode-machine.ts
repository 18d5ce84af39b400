/** One VNode as a deterministic state machine: `startMachines` is what compute workers run. */
import { invariant, SwarmError } from '../runtime/errors.js'
import type { Given } from '../runtime/feedback.js'
import { MARK, type TensorBytes } from '../runtime/frame.js'
import { sumOfSquares } from '../runtime/norm.js'
import type { Machine, MachineInput, MachineOutput, Machines } from '../runtime/compute/machine.js'
import type { BackendName } from './backends.js'
import { measureGflops } from './benchmark.js'
import { ConvergenceWatch } from './convergence-watch.js'
import type { Tensors } from './define.js'
import { DEFINITION_VERSION, END_TO_END, SOURCE } from './definition.js'
import type { VNodeMachineDefinition } from './definition.js'
import { Learner, bytesOf } from './learner.js'
import { labelTensor, readLabels } from './losses.js'
import { loadLayers, loadRule, runLayers } from './program.js'
import { KeptInputs } from './refinement.js'
import type { LoadedLayer, LoadedRule } from './program.js'
import { sameShape, showShape } from './shapes.js'
import { isOfClasses } from './targets.js'
import { areViewsCopies, startBackend, tf, tidied, viewOf } from './tf.js'
import { type OpenLesson, VNodeFeedback } from './vnode-feedback.js'
import { type StatePart, readState, writeState } from './vnode-state.js'

/** What the head of a VNode says about a batch. */
export interface Answer {
  /** `probabilities` of the classes (they sum to 1), or `values` of a continuous target. */
  readonly kind: 'probabilities' | 'values'
  /** One answer for each sample, or for each of its tokens. */
  readonly shape: readonly [answers: number, width: number]
  /** Row-major; the caller's. */
  readonly values: Float32Array
}

/** What is learnt from: a step's inputs, or those of an earlier step again. */
interface Lesson extends Pick<MachineInput, 'step'> {
  readonly inputs: readonly { readonly output: TensorBytes; readonly labels?: TensorBytes }[]
  /** Number of the update after the step, from 0; undefined: the step itself. */
  readonly update?: number
}

/** Starts tfjs on wasm and returns what loads VNodes. */
export const startMachines = (): Promise<Machines> => startMachinesOn('wasm')

/** The same on a backend. @throws `backend.missing`, `backend.unsuitable`, `backend.memory` */
export async function startMachinesOn(name: BackendName): Promise<Machines> {
  const { computeClass } = await startBackend(name)
  return {
    computeClass,
    load: (definition, blob) => VNodeMachine.load(definition as VNodeMachineDefinition, blob),
    memory: () => ({ tensors: tf.memory().numTensors, bytes: tf.memory().numBytes }),
    benchmark: () => ({ gflops: measureGflops() }),
  }
}

/** A loaded VNode. After an error in `apply` its state is undefined: dispose it and load it anew. */
export class VNodeMachine implements Machine {
  readonly #definition: VNodeMachineDefinition
  readonly #layers: readonly LoadedLayer[]
  readonly #rule: LoadedRule | undefined
  readonly #learner: Learner
  /** What it learns from again; undefined: nothing. */
  readonly #kept: KeptInputs | undefined
  /** Undefined: nobody asked for it. */
  readonly #watch: ConvergenceWatch | undefined
  /** Its part in what goes against the graph; undefined: none. */
  readonly #feedback: VNodeFeedback | undefined
  #step = 0
  #outgoing = new Uint8Array(0)

  /** Loads a VNode from a checkpoint, or from its seed. @throws `checkpoint.damaged`, `graph.unknown`, `definition.*`, `compute.failed` */
  static async load(definition: VNodeMachineDefinition, blob?: Uint8Array): Promise<VNodeMachine> {
    if (definition?.v !== DEFINITION_VERSION) {
      throw new SwarmError('definition.version', { what: 'VNode definition', expected: DEFINITION_VERSION, got: String(definition?.v) })
    }
    await startBackend()
    const loading = { isRestored: blob !== undefined }
    const layers = await loadLayers(definition, loading)
    const machine = new VNodeMachine(definition, layers, definition.vnode.hasHead ? await loadRule(definition, loading) : undefined)
    try {
      if (blob) machine.#restore(blob)
      return machine
    } catch (error) {
      machine.dispose()
      throw error
    }
  }

  private constructor(definition: VNodeMachineDefinition, layers: readonly LoadedLayer[], rule: LoadedRule | undefined) {
    this.#definition = definition
    this.#layers = layers
    this.#rule = rule
    this.#learner = new Learner(definition, layers, rule)
    const { vnode, training } = definition
    this.#kept = rule && training.refinement && new KeptInputs(training.refinement.inputs, vnode.inputs.length)
    this.#watch = rule && training.convergence && new ConvergenceWatch({ definition, rule, learner: this.#learner })
    this.#feedback = vnode.feedback && new VNodeFeedback(vnode.feedback, vnode.inputs.length)
  }

  apply(input: MachineInput): MachineOutput {
    const { position, marks } = input.inputs[0].header
    const lesson = this.#feedback?.take(position, input.feedback ?? [], this.#definition.vnode.id)
    const back = lesson && this.#learnBack(lesson)
    const made = marks & MARK.drain ? this.#nothing() : this.#applyBatch(input)
    return { ...made, ...this.#feedback?.give(position, back ?? made.feedback) }
  }

  #applyBatch(input: MachineInput): MachineOutput {
    const batch = input.inputs[0]?.output.shape[0] ?? 0
    if (input.evaluation > 0) return this.#evaluate(input, batch)
    const { vnode } = this.#definition
    invariant(input.step > this.#step, () => `VNode ${vnode.id} got step ${input.step} after step ${this.#step}`)
    const shared = this.#feedback?.sharedAt(input.step)
    if (shared) this.#learner.share(vnode.feedback!.parameter!, shared)
    const made = this.#train(input, batch)
    this.#step = input.step
    this.#kept?.add(input.inputs)
    const seen = this.#watch?.see(input.step, made) ?? made
    // What the watch has made of the head, too.
    return { ...seen, ...(!made.feedback && { feedback: this.#sharedAfter(input.step) }) }
  }

  /** The output of an entry without a batch. */
  #nothing(): MachineOutput {
    const shape = [0, ...this.#definition.vnode.outputShape]
    return { output: { dtype: 'float32', shape, bytes: new Uint8Array(0) }, metrics: {} }
  }

  /** Learns once more from an input that it has kept: pass by pass, oldest first. After the first steps there are fewer than later. */
  refine(step: number, update: number): void {
    const { vnode, training } = this.#definition
    invariant(step === this.#step, () => `VNode ${vnode.id} refines after step ${step}, and is at step ${this.#step}`)
    const count = this.#kept?.count ?? 0
    if (update >= count * (training.refinement?.passes ?? 0)) return
    const inputs = this.#kept!.at(update % count)
    this.#train({ step, update, inputs }, inputs[0].output.shape[0])
  }

  /** What the head says about a batch, without any change of state. @throws `graph.shape`, `definition.invalid` if there is no head */
  answer(input: MachineInput): Answer {
    const { rule, vnode, target } = { rule: this.#rule, ...this.#definition }
    if (!rule) throw new SwarmError('definition.invalid', { what: `VNode ${vnode.id} has no head` })
    return tidied((): Answer => {
      const h = this.#forward(input, this.#inputs(input), false)
      const logits = this.#learner.logits(rule, h, input.step)
      const shown = isOfClasses(target) ? tf.softmax(logits) : logits
      const [answers, width] = logits.shape
      const kind = isOfClasses(target) ? 'probabilities' : 'values'
      return { kind, shape: [answers, width], values: viewOf(shown).slice() }
    })
  }

  snapshot(): Uint8Array {
    return writeState(this.#state())
  }

  dispose(): void {
    for (const { parameters, state } of this.#layers) tf.dispose([...Object.values(parameters), ...Object.values(state)])
    this.#learner.dispose()
  }

  #evaluate(input: MachineInput, batch: number): MachineOutput {
    const rule = this.#rule
    return tidied(() => {
      const h = this.#forward(input, this.#inputs(input), false)
      if (!rule) return { output: this.#send(h, input.step), metrics: {} }
      const labels = readLabels(this.#definition.target, input.inputs[0].labels, batch)
      const logits = this.#learner.logits(rule, h, input.step)
      const loss = this.#learner.loss(rule, h, logits, labelTensor(this.#definition.target, labels), input.step)
      return { output: this.#send(h, input.step), metrics: { ...this.#learner.metrics(loss, logits, labels), ...this.#watch?.measures } }
    })
  }

  #train(input: Lesson, batch: number): MachineOutput {
    const kept: tf.Tensor[] = []
    const pending: { layer: LoadedLayer; next: Tensors }[] = []
    const keep = <T extends tf.Tensor>(tensor: T): T => {
      kept.push(tf.keep(tensor))
      return tensor
    }
    const onState = (layer: LoadedLayer, next: Tensors): void => {
      // A clone, since the layer may have returned its input or a tensor of somebody else.
      const clones = Object.entries(next).map(([name, tensor]): [string, tf.Tensor] => [name, keep(tensor.clone())])
      pending.push({ layer, next: Object.fromEntries(clones) })
    }
    try {
      return tidied(() => {
        const result = this.#rule ? this.#learn(this.#rule, input, batch, keep, onState) : this.#pass(input, onState)
        for (const { layer, next } of pending) {
          for (const [name, tensor] of Object.entries(next)) {
            if (!areFinite(tensor)) this.#learner.diverged(`state '${name}' of layer '${layer.definition.id}'`, input.step, NOT_FINITE)
            layer.state[name].dispose()
            kept.splice(kept.indexOf(tensor), 1)
          }
          layer.state = { ...layer.state, ...next }
        }
        return result
      })
    } finally {
      tf.dispose(kept)
    }
  }

  #pass(input: Lesson, onState: (layer: LoadedLayer, next: Tensors) => void): MachineOutput {
    const h = this.#forward(input, this.#inputs(input), true, onState)
    if (this.#definition.vnode.feedback?.of === 'gradients') {
      const state = Array.from(this.#layerState(), ([name, tensor]) => [name, bytesOf(tensor)])
      const inputs = input.inputs.map(({ output }) => output)
      this.#feedback!.open(input.step, inputs, Object.fromEntries(state))
    }
    return { output: this.#send(h, input.step), metrics: {} }
  }

  #learn(
    rule: LoadedRule,
    input: Lesson,
    batch: number,
    keep: (tensor: tf.Tensor) => tf.Tensor,
    onState: (layer: LoadedLayer, next: Tensors) => void,
  ): MachineOutput {
    const { target, vnode } = this.#definition
    const labels = readLabels(target, input.inputs[0].labels!, batch)
    const y = labelTensor(target, labels)
    const xs = this.#inputs(input)
    // Kept, since the tape, the rule's own too, tidies up behind itself.
    const forward = () => keep(this.#forward(input, xs, true, onState).clone())
    const { step } = input
    const hasInputGradients = vnode.feedback?.of === 'gradients' && vnode.feedback.to.length > 0
    const learned = this.#learner.learn(rule, { step, xs, forward }, y, (logits) => keep(logits.clone()), hasInputGradients)
    const metrics = this.#learner.metrics(learned.loss, learned.logits, labels)
    if (!Number.isFinite(metrics.loss)) this.#learner.diverged('loss', step, metrics.loss)
    const back = hasInputGradients ? this.#back(step, xs, learned.inputGradients) : undefined
    this.#learner.update(learned.gradients, step, this.#watch?.rate)
    return { output: this.#send(learned.h, step), metrics, feedback: back }
  }

  /** Learns from the derivatives by its output that have come back, with the inputs, the layers' states and the random numbers of their step. */
  #learnBack({ step, inputs, state, gradients }: OpenLesson): Given | undefined {
    return tidied(() => {
      const layers = this.#layers.map((layer) => {
        const names = Object.keys(layer.state)
        return { ...layer, state: Object.fromEntries(names.map((name) => [name, tensorOf(state[`state/${layer.definition.id}/${name}`])])) }
      })
      const input = { step, inputs: inputs.map((output) => ({ output })) }
      const xs = this.#inputs(input)
      // The last reader first, as a tape that has all of them goes back.
      const sum = gradients.map(tensorOf).reduceRight((all, each) => tf.add(all, each))
      const kept: tf.Tensor[] = []
      const forward = () => {
        kept.push(tf.keep(this.#forward(input, xs, true, () => {}, layers).clone()))
        return kept[0]
      }
      try {
        const isFirst = this.#definition.vnode.feedback!.to.length === 0
        const learned = this.#learner.learnFrom({ step, xs: isFirst ? [] : xs, forward }, sum)
        const back = this.#back(step, xs, learned.inputGradients)
        this.#learner.update(learned.gradients, step)
        return back
      } finally {
        tf.dispose(kept)
      }
    })
  }

  /** What goes to the VNodes that it reads: derivatives by their outputs. */
  #back(step: number, xs: readonly tf.Tensor[], gradients: readonly (tf.Tensor | undefined)[]): Given | undefined {
    const { inputs } = this.#definition.vnode
    const tensors = inputs.flatMap((producer, i) => {
      if (producer === SOURCE) return []
      const gradient = gradients[i] ?? tf.zerosLike(xs[i])
      if (!areFinite(gradient)) this.#learner.diverged(`derivative by the output of '${producer}'`, step, NOT_FINITE)
      return [[producer, bytesOf(gradient)]]
    })
    return tensors.length > 0 ? { step, tensors: Object.fromEntries(tensors) } : undefined
  }

  /** What of its head others are to have, if it is time. */
  #sharedAfter(step: number): Given | undefined {
    const { of, to = [], parameter = '', everySteps = 1 } = this.#definition.vnode.feedback ?? {}
    if (of !== 'head' || to.length === 0 || step % everySteps > 0) return undefined
    return { step, tensors: { [parameter]: this.#learner.shared(parameter) } }
  }

  #forward(
    input: Lesson,
    xs: readonly tf.Tensor[],
    training: boolean,
    onState: (layer: LoadedLayer, next: Tensors) => void = () => {},
    layers: readonly LoadedLayer[] = this.#layers,
  ): tf.Tensor {
    const { vnode, training: run } = this.#definition
    return runLayers(layers, xs, {
      training,
      step: input.step,
      update: input.update,
      seed: run.seed,
      // By the same random numbers as if the network were one VNode: that learns the same.
      vnode: vnode.feedback?.of === 'gradients' ? END_TO_END : vnode.id,
      onState,
    })
  }

  #inputs(input: Lesson): tf.Tensor[] {
    const { id, inputShapes } = this.#definition.vnode
    return inputShapes.map((shape, i) => readInput(id, input.inputs[i]?.output, shape))
  }

  /** Copies a tensor into the buffer that the next call overwrites, unless it is a copy already. Whoever reads it refuses what is not finite. @throws `run.diverged` */
  #send(h: tf.Tensor, step: number): MachineOutput['output'] {
    const values = viewOf(h)
    if (!Number.isFinite(sumOfSquares(values))) this.#learner.diverged('output', step, NOT_FINITE)
    if (areViewsCopies())
      return { dtype: 'float32', shape: h.shape, bytes: new Uint8Array(values.buffer, values.byteOffset, values.byteLength) }
    if (this.#outgoing.byteLength !== values.byteLength) this.#outgoing = new Uint8Array(values.byteLength)
    this.#outgoing.set(new Uint8Array(values.buffer, values.byteOffset, values.byteLength))
    return { dtype: 'float32', shape: h.shape, bytes: this.#outgoing }
  }

  #restore(blob: Uint8Array): void {
    const { step, products, layerState } = readState(blob, this.#state())
    this.#step = step
    this.#learner.products = products
    for (const layer of this.#layers) {
      tf.dispose(Object.values(layer.state))
      const names = Object.keys(layer.state)
      layer.state = Object.fromEntries(names.map((name) => [name, layerState.get(`state/${layer.definition.id}/${name}`)!]))
    }
  }

  #state() {
    const parts: (StatePart | undefined)[] = [this.#kept, this.#watch, this.#feedback]
    return {
      tensors: this.#tensors(),
      layerState: this.#layerState(),
      step: this.#step,
      products: this.#learner.products,
      parts: parts.filter((part) => part !== undefined),
    }
  }

  /** Parameters (also those of layers that do not learn) and slots by their names in the state. */
  #tensors(): Map<string, tf.Tensor> {
    const tensors = this.#learner.tensors()
    for (const { definition, parameters } of this.#layers) {
      for (const [name, tensor] of Object.entries(parameters)) tensors.set(`layers/${definition.id}/${name}`, tensor)
    }
    return tensors
  }

  #layerState(): Map<string, tf.Tensor> {
    const entries = this.#layers.flatMap(({ definition, state }) =>
      Object.entries(state).map(([name, tensor]): [string, tf.Tensor] => [`state/${definition.id}/${name}`, tensor]),
    )
    return new Map(entries)
  }
}

function readInput(vnode: string, tensor: TensorBytes | undefined, shape: readonly number[]): tf.Tensor {
  if (!tensor || tensor.dtype !== 'float32' || !sameShape(tensor.shape.slice(1), shape)) {
    const expected = `float32 [batch, ${shape.join(', ')}]`
    const got = tensor ? `${tensor.dtype} ${showShape(tensor.shape)}` : 'nothing'
    throw new SwarmError('graph.shape', { what: `input of ${vnode}`, expected, got })
  }
  return tensorOf(tensor)
}

function tensorOf({ bytes, shape, dtype }: TensorBytes): tf.Tensor {
  const { buffer, byteOffset, byteLength } = bytes.byteOffset % 4 === 0 ? bytes : bytes.slice()
  const values =
    dtype === 'float32' ? new Float32Array(buffer, byteOffset, byteLength / 4) : new Int32Array(buffer, byteOffset, byteLength / 4)
  return tf.tensor(values, [...shape], dtype)
}

const NOT_FINITE = 'a number that is not finite'

const areFinite = (tensor: tf.Tensor): boolean => tensor.dtype !== 'float32' || Number.isFinite(sumOfSquares(viewOf(tensor)))
