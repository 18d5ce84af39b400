/** One VNode as a deterministic state machine: `startMachines` is what compute workers run. */
import { invariant, SwarmError } from '../runtime/errors.js'
import type { TensorBytes } from '../runtime/frame.js'
import type { Machine, MachineInput, MachineOutput, Machines } from '../runtime/compute/machine.js'
import type { BackendName } from './backends.js'
import { measureGflops } from './benchmark.js'
import { ConvergenceWatch } from './convergence-watch.js'
import type { BuiltIn, Options, Tensors } from './define.js'
import { DEFINITION_VERSION } from './definition.js'
import type { VNodeMachineDefinition } from './definition.js'
import { abandonTape, clipTo, gradientsOf } from './gradients.js'
import { labelTensor, metricsOf, readLabels } from './losses.js'
import { builtInOptimizers } from './optimizers/index.js'
import type { OptimizerSpec } from './optimizers/index.js'
import { guarded, loadLayers, loadRule, runLayers } from './program.js'
import { KeptInputs } from './refinement.js'
import { checkedGradients, checkedLogits, checkedLoss } from './rule-checks.js'
import type { LoadedLayer, LoadedRule } from './program.js'
import { learningRateAt } from './schedule.js'
import { sameShape, showShape } from './shapes.js'
import { isOfClasses } from './targets.js'
import { areViewsCopies, startBackend, tf, tidied, updateInPlace, viewOf } from './tf.js'
import { readState, writeState, type VNodeState } from './vnode-state.js'

/** What the head of a VNode says about a batch. */
export interface Answer {
  /** `probabilities` of the classes (they sum to 1), or `values` of a continuous target. */
  readonly kind: 'probabilities' | 'values'
  /** One answer for each sample, or for each of its tokens. */
  readonly shape: readonly [answers: number, width: number]
  /** Row-major; the caller's. */
  readonly values: Float32Array
}

/** What a training step found, before the update. */
interface Learned {
  /** The block's output. */
  readonly h: tf.Tensor
  readonly logits: tf.Tensor
  readonly loss: tf.Tensor
  /** In the order of the parameters; undefined: it stays as it is. */
  readonly gradients: readonly (tf.Tensor | undefined)[]
}

/** What is learnt from: a step's inputs, or those of an earlier step again. */
interface Lesson extends Pick<MachineInput, 'step'> {
  readonly inputs: readonly Pick<MachineInput['inputs'][number], 'output' | 'labels'>[]
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
  readonly #optimizer: BuiltIn<OptimizerSpec<any>>
  readonly #optimizerOptions: Options
  /** `layers/<layer>/<name>` and `head/<name>`. */
  readonly #parameters = new Map<string, tf.Tensor>()
  readonly #slots = new Map<string, tf.Tensor[]>()
  #products: { [name: string]: number } = {}
  /** What it learns from again; undefined: nothing. */
  readonly #kept: KeptInputs | undefined
  /** Undefined: nobody asked for it. */
  readonly #watch: ConvergenceWatch | undefined
  #step = 0
  #outgoing = new Uint8Array(0)

  /** Loads a VNode from a checkpoint, or from its seed. @throws `checkpoint.damaged`, `graph.unknown`, `definition.*`, `compute.failed` */
  static async load(definition: VNodeMachineDefinition, blob?: Uint8Array): Promise<VNodeMachine> {
    if (definition?.v !== DEFINITION_VERSION) {
      throw new SwarmError('definition.version', { what: 'VNode definition', expected: DEFINITION_VERSION, got: String(definition?.v) })
    }
    await startBackend()
    const layers = await loadLayers(definition)
    const machine = new VNodeMachine(definition, layers, definition.vnode.hasHead ? await loadRule(definition) : undefined)
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
    const { name, options } = definition.training.optimizer
    if (!Object.hasOwn(builtInOptimizers, name)) throw new SwarmError('graph.unknown', { what: `unknown optimizer '${name}'` })
    this.#optimizer = builtInOptimizers[name]
    this.#optimizerOptions = this.#optimizer.options(options)
    if (!rule) return
    const { refinement } = definition.training
    this.#kept = refinement && new KeptInputs(refinement.inputs)
    const add = (prefix: string, tensors: Tensors): void => {
      for (const [key, tensor] of Object.entries(tensors)) this.#parameters.set(`${prefix}/${key}`, tensor)
    }
    for (const layer of layers) add(`layers/${layer.definition.id}`, layer.parameters)
    add('head', rule.parameters)
    const slots = this.#optimizer.slots(this.#optimizerOptions)
    for (const [key, tensor] of this.#parameters) {
      this.#slots.set(
        key,
        slots.map(() => tf.keep(tf.zeros(tensor.shape))),
      )
    }
    for (const product of Object.keys(this.#optimizer.products(this.#optimizerOptions))) this.#products[product] = 1
    this.#watch =
      definition.training.convergence && new ConvergenceWatch({ definition, rule, parameters: this.#parameters, slots: this.#slots })
  }

  apply(input: MachineInput): MachineOutput {
    const batch = input.inputs[0]?.output.shape[0] ?? 0
    if (input.evaluation > 0) return this.#evaluate(input, batch)
    invariant(input.step > this.#step, () => `VNode ${this.#definition.vnode.id} got step ${input.step} after step ${this.#step}`)
    const output = this.#train(input, batch)
    this.#step = input.step
    this.#kept?.add(input.inputs)
    return this.#watch?.see(input.step, output) ?? output
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
      const h = this.#forward(input, false)
      const logits = this.#logits(rule, h, input.step)
      const shown = isOfClasses(target) ? tf.softmax(logits) : logits
      const [answers, width] = logits.shape
      const kind = isOfClasses(target) ? 'probabilities' : 'values'
      return { kind, shape: [answers, width], values: viewOf(shown).slice() }
    })
  }

  snapshot(): Uint8Array {
    return writeState(this.#state)
  }

  dispose(): void {
    for (const { parameters, state } of this.#layers) tf.dispose([...Object.values(parameters), ...Object.values(state)])
    if (this.#rule) tf.dispose(Object.values(this.#rule.parameters))
    tf.dispose([...this.#slots.values()].flat())
  }

  #evaluate(input: MachineInput, batch: number): MachineOutput {
    const rule = this.#rule
    return tidied(() => {
      const h = this.#forward(input, false)
      if (!rule) return { output: this.#send(h), metrics: {} }
      const labels = readLabels(this.#definition.target, input.inputs[0].labels, batch)
      const logits = this.#logits(rule, h, input.step)
      const loss = this.#loss(rule, h, logits, labelTensor(this.#definition.target, labels), input.step)
      return { output: this.#send(h), metrics: { ...this.#metrics(loss, logits, labels), ...this.#watch?.measures } }
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
    return { output: this.#send(this.#forward(input, true, onState)), metrics: {} }
  }

  #learn(
    rule: LoadedRule,
    input: Lesson,
    batch: number,
    keep: (tensor: tf.Tensor) => tf.Tensor,
    onState: (layer: LoadedLayer, next: Tensors) => void,
  ): MachineOutput {
    const labels = readLabels(this.#definition.target, input.inputs[0].labels, batch)
    const y = labelTensor(this.#definition.target, labels)
    // Kept, since the tape, the rule's own too, tidies up behind itself.
    const forward = () => keep(this.#forward(input, true, onState).clone())
    const learned = rule.spec.step
      ? this.#ownStep(rule, input, y, forward)
      : this.#byTape(rule, input, y, forward, (logits) => keep(logits.clone()))
    const metrics = this.#metrics(learned.loss, learned.logits, labels)
    if (!Number.isFinite(metrics.loss)) this.#diverged('loss', input.step, metrics.loss)
    this.#update(learned.gradients, input.step)
    return { output: this.#send(learned.h), metrics }
  }

  #byTape(rule: LoadedRule, { step }: Lesson, y: tf.Tensor, forward: () => tf.Tensor, keep: (logits: tf.Tensor) => tf.Tensor): Learned {
    const out: { h?: tf.Tensor; logits?: tf.Tensor } = {}
    const run = (): tf.Tensor => {
      out.h = forward()
      out.logits = keep(this.#logits(rule, out.h, step))
      return this.#loss(rule, out.h, out.logits, y, step)
    }
    const { value: loss, gradients } = gradientsOf(run, [...this.#parameters.values()])
    return { h: out.h!, logits: out.logits!, loss, gradients }
  }

  #ownStep(rule: LoadedRule, input: Lesson, y: tf.Tensor, forward: () => tf.Tensor): Learned {
    const { target } = this.#definition
    const { step } = input
    const where = `step of ${this.#ruleName()}`
    let passes = 0
    let h: tf.Tensor | undefined
    const values = {
      xs: this.#inputs(input),
      forward: () => {
        passes++
        return (h ??= forward())
      },
      y,
      head: rule.parameters,
      parameters: Object.fromEntries(this.#parameters),
      target,
      step,
    }
    const { loss, gradients, logits } = guarded(where, step, () => {
      try {
        return rule.spec.step!(values, rule.options) ?? {}
      } catch (error) {
        abandonTape() // it may have been the rule's own
        throw error
      }
    })
    if (!h || passes !== 1) {
      throw new SwarmError('definition.invalid', { what: `the ${where} runs the block`, expected: 'exactly once', got: `${passes} times` })
    }
    return {
      h,
      logits: checkedLogits(where, logits ?? this.#logits(rule, h, step), y, step),
      loss: checkedLoss(where, loss, step),
      gradients: checkedGradients(where, gradients, this.#parameters, step),
    }
  }

  #update(gradients: readonly (tf.Tensor | undefined)[], step: number): void {
    const factors = this.#optimizer.products(this.#optimizerOptions)
    for (const [name, factor] of Object.entries(factors)) this.#products[name] *= factor
    const learningRate = learningRateAt(step, this.#definition.training) * (this.#watch?.rate ?? 1)
    const clipped = clipTo(this.#optimizer.clipNorm(this.#optimizerOptions), gradients)
    let index = 0
    for (const [name, tensor] of this.#parameters) {
      const gradient = clipped[index++]
      if (!gradient || tensor.dtype !== 'float32') continue
      const update = { parameter: tensor, gradient, slots: this.#slots.get(name)!, learningRate, products: this.#products }
      const health = updateInPlace(this.#optimizer, this.#optimizerOptions, update)
      if (health !== 0) this.#diverged(`parameter '${name}'`, step, 'a number that is not finite')
    }
  }

  #forward(input: Lesson, training: boolean, onState: (layer: LoadedLayer, next: Tensors) => void = () => {}): tf.Tensor {
    const { vnode, training: run } = this.#definition
    return runLayers(this.#layers, this.#inputs(input), {
      training,
      step: input.step,
      update: input.update,
      seed: run.seed,
      vnode: vnode.id,
      onState,
    })
  }

  #inputs(input: Lesson): tf.Tensor[] {
    const { id, inputShapes } = this.#definition.vnode
    return inputShapes.map((shape, i) => readInput(id, input.inputs[i]?.output, shape))
  }

  #logits(rule: LoadedRule, h: tf.Tensor, step: number): tf.Tensor {
    return guarded(this.#ruleName(), step, () => rule.spec.logits(rule.parameters, h, rule.options, rule.target))
  }

  #loss(rule: LoadedRule, h: tf.Tensor, logits: tf.Tensor, y: tf.Tensor, step: number): tf.Tensor {
    const { target } = this.#definition
    const checked = checkedLogits(this.#ruleName(), logits, y, step)
    const loss = guarded(this.#ruleName(), step, () =>
      rule.spec.loss({ logits: checked, y, h, parameters: rule.parameters, target }, rule.options),
    )
    return checkedLoss(this.#ruleName(), loss, step)
  }

  #metrics(loss: tf.Tensor, logits: tf.Tensor, labels: Int32Array | Float32Array): { [name: string]: number } {
    return { loss: viewOf(loss)[0], ...metricsOf(this.#definition.target, viewOf(logits), labels) }
  }

  /** Copies a tensor into the buffer that the next call overwrites, unless it is a copy already. */
  #send(h: tf.Tensor): MachineOutput['output'] {
    const values = viewOf(h)
    if (areViewsCopies())
      return { dtype: 'float32', shape: h.shape, bytes: new Uint8Array(values.buffer, values.byteOffset, values.byteLength) }
    if (this.#outgoing.byteLength !== values.byteLength) this.#outgoing = new Uint8Array(values.byteLength)
    this.#outgoing.set(new Uint8Array(values.buffer, values.byteOffset, values.byteLength))
    return { dtype: 'float32', shape: h.shape, bytes: this.#outgoing }
  }

  #restore(blob: Uint8Array): void {
    const { step, products, layerState } = readState(blob, this.#state, this.#definition.vnode.inputs.length)
    this.#step = step
    this.#products = products
    for (const layer of this.#layers) {
      tf.dispose(Object.values(layer.state))
      const names = Object.keys(layer.state)
      layer.state = Object.fromEntries(names.map((name) => [name, layerState.get(`state/${layer.definition.id}/${name}`)!]))
    }
  }

  get #state(): VNodeState {
    const [tensors, layerState] = [this.#tensors(), this.#layerState()]
    return { tensors, layerState, step: this.#step, products: this.#products, kept: this.#kept, watch: this.#watch }
  }

  /** Parameters (also those of layers that do not learn) and slots by their names in the state. */
  #tensors(): Map<string, tf.Tensor> {
    const tensors = new Map(this.#parameters)
    for (const { definition, parameters } of this.#layers) {
      for (const [name, tensor] of Object.entries(parameters)) tensors.set(`layers/${definition.id}/${name}`, tensor)
    }
    const slots = this.#optimizer.slots(this.#optimizerOptions)
    for (const [parameter, held] of this.#slots) slots.forEach((slot, i) => tensors.set(`optimizer/${slot}/${parameter}`, held[i]))
    return tensors
  }

  #layerState(): Map<string, tf.Tensor> {
    const entries = this.#layers.flatMap(({ definition, state }) =>
      Object.entries(state).map(([name, tensor]): [string, tf.Tensor] => [`state/${definition.id}/${name}`, tensor]),
    )
    return new Map(entries)
  }

  #ruleName(): string {
    return `rule '${this.#definition.training.rule.name}' of ${this.#definition.vnode.id}`
  }

  #diverged(what: string, step: number, got: number | string): never {
    throw new SwarmError('run.diverged', {
      what: `${what} of ${this.#definition.vnode.id} at step ${step}`,
      expected: 'a finite number',
      got: String(got),
    })
  }
}

function readInput(vnode: string, tensor: TensorBytes | undefined, shape: readonly number[]): tf.Tensor {
  if (!tensor || tensor.dtype !== 'float32' || !sameShape(tensor.shape.slice(1), shape)) {
    const expected = `float32 [batch, ${shape.join(', ')}]`
    const got = tensor ? `${tensor.dtype} ${showShape(tensor.shape)}` : 'nothing'
    throw new SwarmError('graph.shape', { what: `input of ${vnode}`, expected, got })
  }
  const { buffer, byteOffset, byteLength } = tensor.bytes.byteOffset % 4 === 0 ? tensor.bytes : tensor.bytes.slice()
  return tf.tensor(new Float32Array(buffer, byteOffset, byteLength / 4), [...tensor.shape], 'float32')
}
