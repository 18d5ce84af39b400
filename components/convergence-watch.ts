/** A VNode's watch over itself: what `convergence.ts` decides by and has decided, kept in the VNode's state, and what it does to the VNode. */
import type { MachineOutput } from '../runtime/compute/machine.js'
import { SwarmError } from '../runtime/errors.js'
import { RandomStream } from '../runtime/random.js'
import type { StateTensor } from '../runtime/state.js'
import { ACTIONS, CONVERGENCE_FORM, FIRST_PROGRESS, isConvergence, judge, MEASURES, metricsOfStall } from './convergence.js'
import type { Action, Measures, Progress } from './convergence.js'
import { addToSketch, cosine, deadShare, effectiveRank, SKETCH_SIZE } from './convergence-measures.js'
import { describe } from './define.js'
import type { Convergence, VNodeMachineDefinition } from './definition.js'
import { resetHead } from './head-reset.js'
import type { Learner } from './learner.js'
import type { LoadedRule } from './program.js'
import { viewOf } from './tf.js'
import type { StatePart } from './vnode-state.js'

/** Tensor names of the watch begin with this. */
const WATCHED = 'convergence/'

/** Decisions that the state keeps, the newest: none are more than 16 KB of it. */
const KEPT_DECISIONS = 1024

/** Numbers of the state, in their order there: of the window under way, of all windows so far, and the measures of the newest. */
const COUNTS = ['steps', 'lossSum', 'windows'] as const
const PROGRESS = Object.keys(FIRST_PROGRESS) as (keyof Progress)[]
const NUMBERS = COUNTS.length + PROGRESS.length + MEASURES.length

/** The tensors of the VNode that it looks at, and changes. */
export interface WatchedVNode {
  readonly definition: VNodeMachineDefinition
  readonly rule: LoadedRule
  readonly learner: Pick<Learner, 'parameters' | 'slots'>
}

export class ConvergenceWatch implements StatePart {
  readonly #vnode: WatchedVNode
  readonly #options: Convergence
  #counts = { steps: 0, lossSum: 0, windows: 0 }
  #progress = FIRST_PROGRESS
  #measures: Measures = { averageLoss: 0, bestLoss: 0, trend: 0, stability: 0, novelty: 0, deadUnits: 0, rate: 1 }
  /** Of the parameters after the window before, and of what they had changed by in it. */
  #sketch = new Float64Array(SKETCH_SIZE)
  #change = new Float64Array(SKETCH_SIZE)
  /** Step and number of the action, one after another. */
  #decisions: number[] = []

  /** @throws `definition.invalid` the run asks for what this version does not know */
  constructor(vnode: WatchedVNode) {
    this.#vnode = vnode
    const { convergence } = vnode.definition.training
    if (!isConvergence(convergence))
      throw new SwarmError('definition.invalid', { what: "'convergence'", expected: CONVERGENCE_FORM, got: describe(convergence) })
    const isHeadless = Object.keys(vnode.rule.parameters).length === 0
    this.#options = isHeadless && convergence.policy === 'resetHead' ? { ...convergence, policy: 'alert' } : convergence
  }

  /** What the learning rate of the run is multiplied by. */
  get rate(): number {
    return this.#progress.rate
  }

  /** Of the newest window; none before the first has ended. */
  get measures(): Measures | undefined {
    return this.#counts.windows > 0 ? this.#measures : undefined
  }

  /** Looks at a training step that has been applied, and may change the VNode. Returns what it gave, with the measures among its metrics. */
  see(step: number, given: MachineOutput): MachineOutput {
    const { steps, lossSum, windows } = this.#counts
    // Changes are measured from the first step on: where it began is not kept.
    if (steps === 0 && windows === 0) this.#sketch = this.#sketchOf()
    this.#counts = { steps: steps + 1, lossSum: lossSum + given.metrics.loss, windows }
    const action = this.#counts.steps < this.#options.everySteps ? undefined : this.#endWindow(step, given.output)
    return { ...given, metrics: { ...given.metrics, ...this.measures, ...(action && metricsOfStall(action)) } }
  }

  #endWindow(step: number, output: MachineOutput['output']): Action | undefined {
    const { steps, lossSum, windows } = this.#counts
    const averageLoss = lossSum / steps
    const { after, action } = judge(this.#progress, averageLoss, this.#options)
    const { averageLoss: last } = this.#measures
    const bestLoss = after.hasBest ? after.best : this.#progress.best
    const trend = windows > 0 && last !== 0 ? (last - averageLoss) / (last < 0 ? -last : last) : 0
    const stability = this.#turn(windows)
    this.#measures = { averageLoss, bestLoss, trend, stability, ...this.#measuresOf(step, output), rate: after.rate }
    this.#counts = { steps: 0, lossSum: 0, windows: windows + 1 }
    this.#progress = after
    if (!action) return undefined
    this.#decisions = [...this.#decisions, step, ACTIONS.indexOf(action)].slice(-2 * KEPT_DECISIONS)
    if (action === 'resetHead') {
      const { rule, definition, learner } = this.#vnode
      resetHead(rule, definition, learner.slots, step)
      // What it has lost is no change that it has learnt.
      this.#sketch = this.#sketchOf()
    }
    return action
  }

  /** Cosine of what the parameters have changed by in this window and in the one before. */
  #turn(windows: number): number {
    const sketch = this.#sketchOf()
    const change = sketch.map((value, i) => value - this.#sketch[i])
    const turn = windows > 0 ? cosine(change, this.#change) : 0
    this.#sketch = sketch
    this.#change = change
    return turn
  }

  #sketchOf(): Float64Array<ArrayBuffer> {
    const sketch = new Float64Array(SKETCH_SIZE)
    for (const [name, tensor] of this.#vnode.learner.parameters)
      if (tensor.dtype === 'float32') addToSketch(sketch, viewOf(tensor), this.#random('sketch', name))
    return sketch
  }

  #measuresOf(step: number, { shape, bytes }: MachineOutput['output']): Pick<Measures, 'novelty' | 'deadUnits'> {
    const values = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4)
    const units = shape[shape.length - 1]
    return { novelty: effectiveRank(values, units, this.#random('rows', step)), deadUnits: deadShare(values, units) }
  }

  #random(...labels: readonly (string | number)[]): RandomStream {
    const { training, vnode } = this.#vnode.definition
    return new RandomStream(training.seed, 'convergence', vnode.id, ...labels)
  }

  /** As part of the state: float64 as two int32 words each; decisions as step and number of the action. */
  tensors(): StateTensor[] {
    const numbers = [
      ...COUNTS.map((name) => this.#counts[name]),
      ...PROGRESS.map((name) => this.#progress[name]),
      ...MEASURES.map((name) => this.#measures[name]),
    ]
    const decisions: StateTensor = {
      name: `${WATCHED}decisions`,
      dtype: 'int32',
      shape: [this.#decisions.length / 2, 2],
      values: Int32Array.from(this.#decisions),
    }
    return [words('numbers', Float64Array.from(numbers)), words('sketch', this.#sketch), words('change', this.#change), decisions]
  }

  /** @throws `checkpoint.damaged` */
  restore(found: Map<string, StateTensor>): void {
    const take = (name: string, size?: number): ArrayBuffer => {
      const tensor = found.get(`${WATCHED}${name}`)
      if (
        tensor?.dtype !== 'int32' ||
        tensor.shape.length !== 2 ||
        tensor.shape[1] !== 2 ||
        (size ?? tensor.shape[0]) !== tensor.shape[0]
      ) {
        const expected = `int32 [${size ?? 'any'}, 2]`
        const got = tensor ? `${tensor.dtype} [${tensor.shape.join(', ')}]` : 'no such tensor'
        throw new SwarmError('checkpoint.damaged', { what: `what a VNode watches itself by, tensor '${name}'`, expected, got })
      }
      found.delete(`${WATCHED}${name}`)
      return tensor.values.buffer as ArrayBuffer
    }
    const read = (name: string, size: number) => new Float64Array(take(name, size))
    const numbers = [...read('numbers', NUMBERS)]
    const named = <Name extends string>(names: readonly Name[]) =>
      Object.fromEntries(names.map((name) => [name, numbers.shift()!])) as { [name in Name]: number }
    this.#counts = named(COUNTS)
    this.#progress = named(PROGRESS)
    this.#measures = named(MEASURES)
    this.#sketch = read('sketch', SKETCH_SIZE)
    this.#change = read('change', SKETCH_SIZE)
    this.#decisions = [...new Int32Array(take('decisions'))]
  }
}

function words(name: string, values: Float64Array<ArrayBuffer>): StateTensor {
  return { name: `${WATCHED}${name}`, dtype: 'int32', shape: [values.length, 2], values: new Int32Array(values.buffer) }
}
