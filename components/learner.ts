/** What a VNode learns with: all that learns in it, its rule, its optimizer, and one update at a time. */
import type { TensorBytes } from '../runtime/frame.js'
import { SwarmError } from '../runtime/errors.js'
import type { BuiltIn, Options, Tensors } from './define.js'
import type { VNodeMachineDefinition } from './definition.js'
import { abandonTape, clipTo, gradientsOf } from './gradients.js'
import { metricsOf } from './losses.js'
import { builtInOptimizers } from './optimizers/index.js'
import type { OptimizerSpec } from './optimizers/index.js'
import { guarded } from './program.js'
import type { LoadedLayer, LoadedRule } from './program.js'
import { checkedGradients, checkedLogits, checkedLoss } from './rule-checks.js'
import { learningRateAt } from './schedule.js'
import { intViewOf, overwrite, tf, updateInPlace, viewOf } from './tf.js'

/** What a training step found, before the update. */
export interface Learned {
  /** The block's output. */
  readonly h: tf.Tensor
  readonly logits: tf.Tensor
  readonly loss: tf.Tensor
  /** In the order of the parameters; undefined: it stays as it is. */
  readonly gradients: readonly (tf.Tensor | undefined)[]
  /** By the inputs, if they were asked for. */
  readonly inputGradients: readonly (tf.Tensor | undefined)[]
}

/** One pass of a VNode's block. */
export interface Pass {
  readonly step: number
  readonly xs: readonly tf.Tensor[]
  /** Runs the block in training mode; its result outlives the tape. */
  readonly forward: () => tf.Tensor
}

export class Learner {
  readonly #definition: VNodeMachineDefinition
  readonly #rule: LoadedRule | undefined
  readonly #optimizer: BuiltIn<OptimizerSpec<any>>
  readonly #optimizerOptions: Options
  /** What learns: `layers/<layer>/<name>` and `head/<name>`. */
  readonly parameters = new Map<string, tf.Tensor>()
  /** Of the optimizer, by parameter. */
  readonly slots = new Map<string, tf.Tensor[]>()
  /** Running products of the optimizer. */
  products: { [name: string]: number } = {}

  constructor(definition: VNodeMachineDefinition, layers: readonly LoadedLayer[], rule: LoadedRule | undefined) {
    this.#definition = definition
    this.#rule = rule
    const { name, options } = definition.training.optimizer
    if (!Object.hasOwn(builtInOptimizers, name)) throw new SwarmError('graph.unknown', { what: `unknown optimizer '${name}'` })
    this.#optimizer = builtInOptimizers[name]
    this.#optimizerOptions = this.#optimizer.options(options)
    const { feedback } = definition.vnode
    if (!rule && feedback?.of !== 'gradients') return
    const add = (prefix: string, tensors: Tensors): void => {
      for (const [key, tensor] of Object.entries(tensors)) this.parameters.set(`${prefix}/${key}`, tensor)
    }
    for (const layer of layers) add(`layers/${layer.definition.id}`, layer.parameters)
    add('head', rule?.parameters ?? {})
    // Whoever is given the shared parameter does not learn it.
    if (feedback?.of === 'head' && feedback.from.length > 0) this.parameters.delete(`head/${feedback.parameter}`)
    const slots = this.#optimizer.slots(this.#optimizerOptions)
    for (const [key, tensor] of this.parameters) {
      this.slots.set(
        key,
        slots.map(() => tf.keep(tf.zeros(tensor.shape))),
      )
    }
    for (const product of Object.keys(this.#optimizer.products(this.#optimizerOptions))) this.products[product] = 1
  }

  /** Derivatives of the rule's loss. @param hasInputGradients also by the inputs */
  learn(rule: LoadedRule, pass: Pass, y: tf.Tensor, keep: (logits: tf.Tensor) => tf.Tensor, hasInputGradients: boolean): Learned {
    return rule.spec.step ? this.#ownStep(rule, pass, y) : this.#byTape(rule, pass, y, keep, hasInputGradients)
  }

  /** Derivatives by what learns and by the inputs, where that by the output is known. */
  learnFrom({ xs, forward }: Pass, gradient: tf.Tensor): Pick<Learned, 'gradients' | 'inputGradients'> {
    const run = () => tf.customGrad((h) => ({ value: tf.scalar(0), gradFunc: () => gradient.reshape((h as tf.Tensor).shape) }))(forward())
    return this.#split(gradientsOf(run, [...this.parameters.values(), ...xs]).gradients)
  }

  /** Changes what learns, in place. @param rate what the learning rate of the run is multiplied by @throws `run.diverged` */
  update(gradients: readonly (tf.Tensor | undefined)[], step: number, rate = 1): void {
    const factors = this.#optimizer.products(this.#optimizerOptions)
    for (const [name, factor] of Object.entries(factors)) this.products[name] *= factor
    const learningRate = learningRateAt(step, this.#definition.training) * rate
    const clipped = clipTo(this.#optimizer.clipNorm(this.#optimizerOptions), gradients)
    let index = 0
    for (const [name, tensor] of this.parameters) {
      const gradient = clipped[index++]
      if (!gradient || tensor.dtype !== 'float32') continue
      const update = { parameter: tensor, gradient, slots: this.slots.get(name)!, learningRate, products: this.products }
      const health = updateInPlace(this.#optimizer, this.#optimizerOptions, update)
      if (health !== 0) this.diverged(`parameter '${name}'`, step, 'a number that is not finite')
    }
  }

  logits(rule: LoadedRule, h: tf.Tensor, step: number): tf.Tensor {
    return guarded(this.#ruleName(), step, () => rule.spec.logits(rule.parameters, h, rule.options, rule.target))
  }

  loss(rule: LoadedRule, h: tf.Tensor, logits: tf.Tensor, y: tf.Tensor, step: number): tf.Tensor {
    const { target } = this.#definition
    const checked = checkedLogits(this.#ruleName(), logits, y, step)
    const loss = guarded(this.#ruleName(), step, () =>
      rule.spec.loss({ logits: checked, y, h, parameters: rule.parameters, target }, rule.options),
    )
    return checkedLoss(this.#ruleName(), loss, step)
  }

  metrics(loss: tf.Tensor, logits: tf.Tensor, labels: Int32Array | Float32Array): { [name: string]: number } {
    return { loss: viewOf(loss)[0], ...metricsOf(this.#definition.target, viewOf(logits), labels) }
  }

  /** A head's parameter that others have, as it is now. */
  shared(name: string): TensorBytes {
    return bytesOf(this.#rule!.parameters[name])
  }

  /** The same from there. */
  share(name: string, { dtype, bytes }: TensorBytes): void {
    const values = dtype === 'float32' ? new Float32Array(bytes.buffer) : new Int32Array(bytes.buffer)
    overwrite(this.#rule!.parameters[name], values)
  }

  /** Head and slots by their names in the state. */
  tensors(): Map<string, tf.Tensor> {
    const tensors = new Map(Object.entries(this.#rule?.parameters ?? {}).map(([name, tensor]) => [`head/${name}`, tensor]))
    const slots = this.#optimizer.slots(this.#optimizerOptions)
    for (const [parameter, held] of this.slots) slots.forEach((slot, i) => tensors.set(`optimizer/${slot}/${parameter}`, held[i]))
    return tensors
  }

  dispose(): void {
    if (this.#rule) tf.dispose(Object.values(this.#rule.parameters))
    tf.dispose([...this.slots.values()].flat())
  }

  /** @throws `run.diverged` */
  diverged(what: string, step: number, got: number | string): never {
    throw new SwarmError('run.diverged', {
      what: `${what} of ${this.#definition.vnode.id} at step ${step}`,
      expected: 'a finite number',
      got: String(got),
    })
  }

  #byTape(rule: LoadedRule, { step, xs, forward }: Pass, y: tf.Tensor, keep: (logits: tf.Tensor) => tf.Tensor, isAll: boolean): Learned {
    const out: { h?: tf.Tensor; logits?: tf.Tensor } = {}
    const run = (): tf.Tensor => {
      out.h = forward()
      out.logits = keep(this.logits(rule, out.h, step))
      return this.loss(rule, out.h, out.logits, y, step)
    }
    const { value: loss, gradients } = gradientsOf(run, [...this.parameters.values(), ...(isAll ? xs : [])])
    return { h: out.h!, logits: out.logits!, loss, ...this.#split(gradients) }
  }

  #split(gradients: readonly (tf.Tensor | undefined)[]): Pick<Learned, 'gradients' | 'inputGradients'> {
    const { size } = this.parameters
    return { gradients: gradients.slice(0, size), inputGradients: gradients.slice(size) }
  }

  #ownStep(rule: LoadedRule, { step, xs, forward }: Pass, y: tf.Tensor): Learned {
    const { target } = this.#definition
    const where = `step of ${this.#ruleName()}`
    let passes = 0
    let h: tf.Tensor | undefined
    const values = {
      xs,
      forward: () => {
        passes++
        return (h ??= forward())
      },
      y,
      head: rule.parameters,
      parameters: Object.fromEntries(this.parameters),
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
      logits: checkedLogits(where, logits ?? this.logits(rule, h, step), y, step),
      loss: checkedLoss(where, loss, step),
      gradients: checkedGradients(where, gradients, this.parameters, step),
      inputGradients: [],
    }
  }

  #ruleName(): string {
    return `rule '${this.#definition.training.rule.name}' of ${this.#definition.vnode.id}`
  }
}

/** A copy of a tensor's elements. */
export function bytesOf(tensor: tf.Tensor): TensorBytes {
  const isInteger = tensor.dtype === 'int32'
  const { buffer } = (isInteger ? intViewOf(tensor) : viewOf(tensor)).slice()
  return { dtype: isInteger ? 'int32' : 'float32', shape: tensor.shape, bytes: new Uint8Array(buffer) }
}
