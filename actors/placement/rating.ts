/** What steps say about the speed of PNodes: pure functions of how long they took (M9). */
import type { TrainingDefinition, VNodeDefinition } from '../../components/definition.js'
import { canonicalJson } from '../../runtime/canonical-json.js'

/** What a step of a VNode is. */
export interface Work {
  /** Equal for VNodes that do the same: layers, shapes, rule, optimizer, samples. */
  readonly kind: string
  /** What a step of it takes on a machine of 1 GFLOP/s, in ms, roughly; undefined for users' code, of which nobody knows. */
  readonly expectedMs?: number
}

/** How fast one PNode applied the steps of one VNode of late. */
export interface Pace extends Work {
  readonly pnode: string
  /** Mean of a step, above 0. */
  readonly msPerStep: number
  readonly steps: number
  /** The least that `msPerStep` has been there before, of the same VNode; undefined: this is the first time. */
  readonly bestMs?: number
}

/** What a PNode says of its speed, and what is believed of it, in GFLOP/s. */
export interface Speed {
  readonly said: number
  readonly believed: number
}

/**
 * A step, in FLOPs: the products of the forward pass and of two passes for the gradients; the optimizer's way through the parameters; what is done to
 * each output (activation, normalisation, head); and what every step costs, however small. On the layers that swarmgrad brings along, with
 * batches of 8 and 128, the speed that this gives is between 0.4 and 1.3 of that of plain matrix products (measured; a test has some).
 */
const FLOPS_PER_MULTIPLY_ADD = 6
const FLOPS_PER_PARAMETER = 100
const FLOPS_PER_OUTPUT = 1_000
const FLOPS_PER_STEP = 30e6

export function workOf(vnode: VNodeDefinition, { rule, optimizer, batchSize }: TrainingDefinition): Work {
  const { layers, inputShapes, outputShape, hasHead, parameters, cost } = vnode
  const program = layers.map(({ layer, inputs, outputShape: shape }) => ({ layer, inputs, shape }))
  const kind = canonicalJson({ program, inputShapes, hasHead, rule, optimizer, batchSize })
  const isOurs = [rule, optimizer, ...layers.map(({ layer }) => layer)].every(({ bundle }) => bundle === undefined)
  if (!isOurs) return { kind }
  const outputs = batchSize * outputShape.reduce((a, b) => a * b, 1)
  const products = FLOPS_PER_MULTIPLY_ADD * cost * batchSize
  return { kind, expectedMs: (products + FLOPS_PER_PARAMETER * parameters + FLOPS_PER_OUTPUT * outputs + FLOPS_PER_STEP) / 1e6 }
}

/** Faster than by this factor than a machine's matrix products nothing is: who seems so is faster than it says. */
const MOST_EFFICIENT = 1.5
/** What is expected where nobody else computes. */
const USUAL_EFFICIENCY = 0.7
/** How much later a step may be where only other kinds of steps tell what to expect. */
const BENEFIT_OF_DOUBT = 1.5
/** The same where nobody else computes at all: then it cannot be told from other work on its machine. */
const DOUBT_OF_ONE = 2

/**
 * How many times longer each PNode took than one of the speed that it says, by PNode. What to expect comes from steps of the same kind on other
 * PNodes; where there are none, from the work of other kinds of steps, or from what it needed itself for the same VNode before (and how much longer
 * than before the others need), whichever is less.
 * PNodes of which nothing can be said are absent: those that host users' code that is nowhere else, for the first time.
 */
export function slownessOf(paces: readonly Pace[], speeds: ReadonlyMap<string, Speed>): Map<string, number> {
  const known = paces.filter(({ pnode, msPerStep, steps }) => (speeds.get(pnode)?.said ?? 0) > 0 && msPerStep > 0 && steps > 0)
  const sums = new Map<string, { tookMs: number; expectedMs: number }>()
  for (const pace of known) {
    const { pnode, steps, msPerStep } = pace
    const expectedMs = expectation(pace, known, speeds)
    if (expectedMs === undefined) continue
    const before = sums.get(pnode) ?? { tookMs: 0, expectedMs: 0 }
    sums.set(pnode, { tookMs: before.tookMs + steps * msPerStep, expectedMs: before.expectedMs + steps * expectedMs })
  }
  const sorted = [...sums].toSorted(([a], [b]) => (a < b ? -1 : 1))
  return new Map(sorted.map(([pnode, { tookMs, expectedMs }]) => [pnode, tookMs / expectedMs]))
}

/** Of one step, in ms, if the PNode is as fast as it says. */
function expectation(pace: Pace, paces: readonly Pace[], speeds: ReadonlyMap<string, Speed>): number | undefined {
  const { said } = speeds.get(pace.pnode)!
  const others = paces.filter(({ pnode }) => pnode !== pace.pnode)
  /** What a step took there, as if on 1 GFLOP/s; never less than it can be: a speed that was told too low would make everybody else look slow. */
  const scaled = ({ pnode, msPerStep, expectedMs = 0 }: Pace) =>
    Math.max(msPerStep * speeds.get(pnode)!.believed, expectedMs / MOST_EFFICIENT)
  const same = others.filter(({ kind }) => kind === pace.kind)
  if (same.length > 0) return median(same.map(scaled)) / said
  const { expectedMs, bestMs } = pace
  // What has slowed everybody else as well is not this one's doing: other work on a machine that they share, say.
  const weather = others.flatMap((other) => (other.bestMs === undefined ? [] : [other.msPerStep / other.bestMs]))
  const usualMs = bestMs === undefined ? undefined : bestMs * Math.max(1, weather.length > 0 ? median(weather) : 1)
  if (expectedMs === undefined) return usualMs
  const efficiencies = others.flatMap((other) => (other.expectedMs === undefined ? [] : [other.expectedMs / scaled(other)]))
  const [efficiency, doubt] = efficiencies.length > 0 ? [median(efficiencies), BENEFIT_OF_DOUBT] : [USUAL_EFFICIENCY, DOUBT_OF_ONE]
  // Whoever was always slow has needed as long before, too.
  return Math.min(usualMs ?? Infinity, (expectedMs / (efficiency * said)) * doubt)
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
}

/** From here on a PNode is taken for slower than it says: less may be its owner, who works, or a measurement on a busy machine. */
export const SLOW = 4
/** From here on it is as fast as it says again. */
const FAST = 2
/** A rating is changed where it is off by this factor. */
const BAND = 1.5

/** The speed that counts from now on, in GFLOP/s; null: what it says; undefined: no change. */
export function verdict({ said, believed }: Speed, slowness: number): number | null | undefined {
  const isRated = believed < said
  if (slowness <= FAST) return isRated ? null : undefined
  if (!isRated && slowness < SLOW) return undefined
  const shown = said / slowness
  const isOff = shown * BAND < believed || shown > believed * BAND
  return isOff ? shown : undefined
}
