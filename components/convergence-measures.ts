/** What is measured of a VNode at the end of a window: its direction, and what its outputs are worth. Only + − × ÷ √ on float64. */
import type { RandomStream } from '../runtime/random.js'

/** Numbers of a sketch: the cosine of two is right to about 1/√256. */
export const SKETCH_SIZE = 256
/** Rows that the effective rank is measured on: what more would add is less than what they differ by chance. */
const RANK_ROWS = 64

/**
 * Adds numbers to a sketch: element i goes to place i mod 256 with a sign of its own (Charikar, Chen & Farach-Colton 2002, with places in turn). It
 * is linear, so the sketch of a difference is the difference of sketches; and inner products of sketches are those of what was sketched, on average.
 * @param random of the tensor: signs
 */
export function addToSketch(sketch: Float64Array, values: Float32Array, random: RandomStream): void {
  let bits = 0
  for (let i = 0; i < values.length; i++) {
    if ((i & 31) === 0) bits = random.bits()
    sketch[i & (SKETCH_SIZE - 1)] += values[i] * (1 - 2 * (bits & 1))
    bits >>>= 1
  }
}

/** a·b / (|a|·|b|), −1 to 1; 0 where one of them is zero. */
export function cosine(a: Float64Array, b: Float64Array): number {
  let product = 0
  let [squaresOfA, squaresOfB] = [0, 0]
  for (let i = 0; i < a.length; i++) {
    product += a[i] * b[i]
    squaresOfA += a[i] * a[i]
    squaresOfB += b[i] * b[i]
  }
  const size = Math.sqrt(squaresOfA) * Math.sqrt(squaresOfB)
  return size > 0 ? Math.max(-1, Math.min(1, finite(product / size))) : 0
}

/**
 * Effective rank as the participation ratio (Σλ)²/Σλ² of the eigenvalues λ of the covariance of units, from a Gram matrix, which has the same: trace² over
 * squared Frobenius norm. 0 where the outputs are all the same.
 * @param values row-major [rows, units]; of more than 64 rows one is drawn from each of 64 equal parts
 */
export function effectiveRank(values: Float32Array, units: number, random: RandomStream): number {
  const centred = sampleOf(values, units, random)
  const rows = centred.length / units
  let trace = 0
  let squares = 0
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j <= i; j++) {
      let product = 0
      for (let k = 0; k < units; k++) product += centred[i * units + k] * centred[j * units + k]
      if (i === j) trace += product
      squares += (i === j ? 1 : 2) * product * product
    }
  }
  return squares > 0 ? finite((trace / squares) * trace) : 0
}

/** Rows without the mean row. */
function sampleOf(values: Float32Array, units: number, random: RandomStream): Float64Array {
  const all = values.length / units
  const rows = Math.min(all, RANK_ROWS)
  const sample = new Float64Array(rows * units)
  const mean = new Float64Array(units)
  for (let i = 0; i < rows; i++) {
    const first = Math.floor((i * all) / rows)
    const row = first + random.below(Math.floor(((i + 1) * all) / rows) - first)
    for (let k = 0; k < units; k++) {
      const value = values[row * units + k]
      sample[i * units + k] = value
      mean[k] += value
    }
  }
  for (let i = 0; i < sample.length; i++) sample[i] -= mean[i % units] / rows
  return sample
}

/** Share of units that are in no row above 0, or in all rows the same. @param values row-major [rows, units] */
export function deadShare(values: Float32Array, units: number): number {
  const least = values.slice(0, units)
  const most = values.slice(0, units)
  for (let i = units; i < values.length; i += units) {
    for (let k = 0; k < units; k++) {
      const value = values[i + k]
      if (value < least[k]) least[k] = value
      if (value > most[k]) most[k] = value
    }
  }
  let dead = 0
  for (let k = 0; k < units; k++) if (most[k] <= 0 || most[k] === least[k]) dead++
  return dead / units
}

/** Outputs may be of any size, and no NaN enters a state (PROTOCOL.md rule 19). */
const finite = (value: number): number => (Number.isFinite(value) ? value : 0)
