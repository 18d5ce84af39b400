/** How large a tensor is, and whether all of it is finite: one pass over its numbers says both. */

/**
 * Σ x², in double precision: not finite exactly where some x is not (2³² squares of the largest float32 are far below what a double holds). Four sums side by side,
 * since each addition waits for the one before it.
 */
export function sumOfSquares(values: Float32Array): number {
  const { length } = values
  const whole = length - (length % 4)
  let a = 0
  let b = 0
  let c = 0
  let d = 0
  for (let i = 0; i < whole; i += 4) {
    a += values[i] * values[i]
    b += values[i + 1] * values[i + 1]
    c += values[i + 2] * values[i + 2]
    d += values[i + 3] * values[i + 3]
  }
  for (let i = whole; i < length; i++) a += values[i] * values[i]
  return a + b + c + d
}
