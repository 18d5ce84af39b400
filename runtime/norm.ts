/** How large a tensor is, and whether all of it is finite: one pass over its numbers says both. */

/**
 * Numbers that one call looks at. V8 compiles a loop that is long in its first call while it is still in it, without knowing what comes behind it, and
 * falls out of that code at the end of each later call: five times slower for as long as the process lives (seen in every second process).
 */
const BLOCK = 4096

/** Σ x², in double precision: not finite exactly where some x is not (2³² squares of the largest float32 are far below what a double holds). */
export function sumOfSquares(values: Float32Array): number {
  let sum = 0
  for (let from = 0; from < values.length; from += BLOCK) sum += squaresBetween(values, from, Math.min(values.length, from + BLOCK))
  return sum
}

/** Four sums side by side, since each addition waits for the one before it. */
function squaresBetween(values: Float32Array, from: number, to: number): number {
  const whole = to - ((to - from) % 4)
  let a = 0
  let b = 0
  let c = 0
  let d = 0
  for (let i = from; i < whole; i += 4) {
    a += values[i] * values[i]
    b += values[i + 1] * values[i + 1]
    c += values[i + 2] * values[i + 2]
    d += values[i + 3] * values[i + 3]
  }
  for (let i = whole; i < to; i++) a += values[i] * values[i]
  return a + b + c + d
}
