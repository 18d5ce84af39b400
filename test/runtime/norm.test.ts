/** How large a tensor is, block by block. */
import test from 'ava'
import { sumOfSquares } from '../../runtime/norm.js'

const LENGTHS = [0, 1, 3, 4, 5, 4_095, 4_096, 4_097, 4_099, 8_192, 10_001]

test('each number counts once, wherever blocks end', (t) => {
  for (const length of LENGTHS) {
    t.is(sumOfSquares(new Float32Array(length).fill(2)), 4 * length, `${length} numbers`)
    for (const at of new Set([0, 4_095, 4_096, length - 1].filter((i) => i >= 0 && i < length))) {
      t.is(sumOfSquares(new Float32Array(length).fill(3, at, at + 1)), 9, `number ${at} of ${length}`)
    }
  }
})

test('it is not finite exactly where some number is not', (t) => {
  for (const length of LENGTHS.filter((n) => n > 0)) {
    t.true(Number.isFinite(sumOfSquares(new Float32Array(length).fill(3.4e38))))
    for (const wrong of [Number.NaN, Infinity, -Infinity]) {
      t.false(Number.isFinite(sumOfSquares(new Float32Array(length).fill(wrong, length - 1))), `${wrong} at the end of ${length}`)
    }
  }
})
