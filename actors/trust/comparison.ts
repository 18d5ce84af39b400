/**
 * Whether two states are the same for people: hosts of different compute classes apply the same segment to nearly the same state. What is compared is the
 * update, after − before, since it is small beside the weights and a lie in it is not. Where one class promises equal bits, hashes are compared, and nothing here is needed.
 */
import type { StateTensor } from '../../runtime/state.js'

/** What two honest hosts may differ by. All are inclusive. */
export interface Tolerance {
  /** ‖a − b‖ / min(‖a‖, ‖b‖) of two updates, L2. Above 0. */
  readonly relative: number
  /** a·b / (‖a‖‖b‖), at least. 0 to 1. */
  readonly cosine: number
  /** |a − b| / min(|a|, |b|) of the mean losses of the segment. */
  readonly loss: number
}

/** Adam divides by the root of what it knows of a gradient, and so makes noise larger where there is hardly any gradient. */
export const TOLERANCES = {
  adam: { relative: 1e-3, cosine: 0.99999, loss: 1e-4 },
  sgd: { relative: 1e-4, cosine: 0.99999, loss: 1e-4 },
} as const satisfies { readonly [optimizer: string]: Tolerance }

/** Something of an update that is compared as one vector. */
export interface Measured {
  /** `weights`, `state`, `optimizer/m`, … */
  readonly group: string
  /** ‖a − b‖ / min(‖a‖, ‖b‖): 0 for equal updates, infinite where only one of them is zero. NaN: something is not finite. */
  readonly relative: number
  /** −1 to 1; 1 for equal updates. */
  readonly cosine: number
}

/** Why two states are not the same: the first thing that was found. Undefined: they are. */
export interface Comparison {
  readonly isSame: boolean
  readonly why?: string
  readonly groups: readonly Measured[]
}

/** The states of a segment. */
export interface Compared {
  readonly before: readonly StateTensor[]
  readonly a: readonly StateTensor[]
  readonly b: readonly StateTensor[]
  /** Mean losses over the segment, where both are known. */
  readonly losses?: readonly [a: number, b: number]
}

/**
 * Compares what two hosts say that a segment ends with. Symmetric in a and b. Tensors of integers have to be equal; those of floats are compared by group:
 * weights together, since the gradient of a single one may be zero but for noise (a bias before a batch norm), and apart from them each kind
 * of slot of the optimizer, and the layers' own state, since all of these have other magnitudes.
 */
export function compareStates({ before, a, b, losses }: Compared, tolerance: Tolerance): Comparison {
  const differs = (why: string, groups: readonly Measured[] = []): Comparison => ({ isSame: false, why, groups })
  const [byName, others] = [new Map(a.map((tensor) => [tensor.name, tensor])), new Map(b.map((tensor) => [tensor.name, tensor]))]
  if (byName.size !== a.length || others.size !== b.length) return differs('a tensor is there twice')
  const names = [...byName.keys()].toSorted()
  const odd = names.find((name) => !others.has(name)) ?? [...others.keys()].find((name) => !byName.has(name))
  if (odd !== undefined) return differs(`tensor '${odd}' is only in one`)
  const earlier = new Map(before.map((tensor) => [tensor.name, tensor]))
  const sums = new Map<string, Sums>()
  for (const name of names) {
    const [ours, theirs] = [byName.get(name)!, others.get(name)!]
    if (!isAlike(ours, theirs)) return differs(`tensor '${name}' has another type or shape`)
    if (ours.dtype === 'int32') {
      if (ours.values.some((value, i) => value !== theirs.values[i])) return differs(`integers of tensor '${name}'`)
      continue
    }
    const from = earlier.get(name)
    const group = groupOf(name)
    const sum = sums.get(group) ?? { aa: 0, bb: 0, ab: 0, apart: 0 }
    // A tensor that was not there before, or had another shape, is an update as a whole.
    addUpdates(sum, from && isAlike(from, ours) ? from.values : undefined, ours.values, theirs.values)
    sums.set(group, sum)
  }
  const groups = [...sums].map(([group, sum]) => ({ group, ...measuresOf(sum) }))
  for (const { group, relative, cosine } of groups) {
    // Written so that NaN fails.
    if (!(relative <= tolerance.relative)) return differs(`update of ${group}: off by ${relative}, at most ${tolerance.relative}`, groups)
    if (!(cosine >= tolerance.cosine)) return differs(`update of ${group}: cosine ${cosine}, at least ${tolerance.cosine}`, groups)
  }
  const loss = losses === undefined ? 0 : relativeOf(Math.abs(losses[0] - losses[1]), Math.abs(losses[0]), Math.abs(losses[1]))
  if (!(loss <= tolerance.loss)) return differs(`loss: off by ${loss}, at most ${tolerance.loss}`, groups)
  return { isSame: true, groups }
}

/** Sums over the elements of a group. */
interface Sums {
  aa: number
  bb: number
  ab: number
  /** Of the squares of a − b. */
  apart: number
}

function addUpdates(sum: Sums, before: StateTensor['values'] | undefined, a: StateTensor['values'], b: StateTensor['values']): void {
  for (let i = 0; i < a.length; i++) {
    const from = before?.[i] ?? 0
    const [x, y, apart] = [a[i] - from, b[i] - from, a[i] - b[i]]
    sum.aa += x * x
    sum.bb += y * y
    sum.ab += x * y
    sum.apart += apart * apart
  }
}

/** Sums that are not finite give NaN, which nothing is within a tolerance of. */
function measuresOf({ aa, bb, ab, apart }: Sums): Omit<Measured, 'group'> {
  if (!Number.isFinite(aa + bb + apart)) return { relative: Number.NaN, cosine: Number.NaN }
  const relative = relativeOf(Math.sqrt(apart), Math.sqrt(aa), Math.sqrt(bb))
  return { relative, cosine: apart === 0 ? 1 : ab / (Math.sqrt(aa) * Math.sqrt(bb)) }
}

/** A difference over the smaller of two lengths: symmetric, and who makes its update large wins nothing. */
function relativeOf(difference: number, a: number, b: number): number {
  return difference === 0 ? 0 : difference / Math.min(a, b)
}

/** What a tensor is compared together with. */
function groupOf(name: string): string {
  const [first, second] = name.split('/')
  if (first === 'layers' || first === 'head') return 'weights'
  return first === 'optimizer' && second !== undefined ? `${first}/${second}` : first
}

function isAlike(a: StateTensor, b: StateTensor): boolean {
  return a.dtype === b.dtype && a.shape.length === b.shape.length && a.shape.every((size, i) => size === b.shape[i])
}
