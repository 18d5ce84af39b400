/** Each measure of convergence against what its definition says, computed the long way. */
import test from 'ava'
import { addToSketch, cosine, deadShare, effectiveRank, SKETCH_SIZE } from '../../components/convergence-measures.js'
import { RandomStream } from '../../runtime/random.js'
import { numbers } from './numeric.js'

const stream = (...labels: readonly (string | number)[]) => new RandomStream(1, ...labels)

function sketchOf(values: Float32Array, label = 'a'): Float64Array {
  const sketch = new Float64Array(SKETCH_SIZE)
  addToSketch(sketch, values, stream(label))
  return sketch
}

test('the cosine of two arrays is their inner product over their norms', (t) => {
  const [a, b] = [numbers('a', 50), numbers('b', 50)].map((values) => Float64Array.from(values))
  const inner = (x: Float64Array, y: Float64Array) => x.reduce((sum, value, i) => sum + value * y[i], 0)
  t.true(Math.abs(cosine(a, b) - inner(a, b) / Math.sqrt(inner(a, a) * inner(b, b))) < 1e-12)
  t.true(Math.abs(cosine(a, a) - 1) < 1e-12)
  t.true(
    Math.abs(
      cosine(
        a,
        Float64Array.from(a, (x) => -3 * x),
      ) + 1,
    ) < 1e-12,
  )
  t.is(cosine(a, new Float64Array(50)), 0)
})

test('sketches have the cosine of what they are of, to a sixteenth or so, whatever its size', (t) => {
  for (const size of [300, 10_000, 100_003]) {
    const a = numbers(`a ${size}`, size)
    const other = numbers(`b ${size}`, size)
    for (const share of [0, 0.3, 1]) {
      const b = a.map((x, i) => (1 - share) * x + share * other[i])
      const exact = cosine(Float64Array.from(a), Float64Array.from(b))
      const sketched = cosine(sketchOf(a), sketchOf(b))
      t.true(Math.abs(exact - sketched) < 4 / 16, `${size} numbers: ${exact}, sketched ${sketched}`)
    }
  }
})

test('sketches are right on average, and add up', (t) => {
  const [a, b] = [numbers('p', 2000), numbers('q', 2000).map((x, i) => x + numbers('p', 2000)[i])]
  const inner = (x: ArrayLike<number>, y: ArrayLike<number>) => Array.from(x).reduce((sum, value, i) => sum + value * y[i], 0)
  const exact = inner(a, b)
  const draws = Array.from({ length: 200 }, (_, i) => inner(sketchOf(a, `s ${i}`), sketchOf(b, `s ${i}`)))
  const mean = draws.reduce((sum, x) => sum + x, 0) / draws.length
  // One draw is right to |a||b|/16.
  const deviation = Math.sqrt(inner(a, a) * inner(b, b)) / 16
  t.true(Math.abs(mean - exact) < (3 * deviation) / Math.sqrt(draws.length), `${mean}, exactly ${exact} ± ${deviation}`)
  const both = sketchOf(a.map((x, i) => x - b[i]))
  const [one, other] = [sketchOf(a), sketchOf(b)]
  t.true(both.every((x, i) => Math.abs(x - (one[i] - other[i])) < 1e-5))
})

/** (Σλ)²/Σλ² by the covariance matrix of the units itself. */
function participation(values: Float32Array, units: number): number {
  const rows = values.length / units
  const mean = Array.from({ length: units }, (_, k) => {
    let sum = 0
    for (let i = 0; i < rows; i++) sum += values[i * units + k]
    return sum / rows
  })
  let [trace, squares] = [0, 0]
  for (let k = 0; k < units; k++) {
    for (let l = 0; l < units; l++) {
      let covariance = 0
      for (let i = 0; i < rows; i++) covariance += (values[i * units + k] - mean[k]) * (values[i * units + l] - mean[l])
      if (k === l) trace += covariance
      squares += covariance * covariance
    }
  }
  return trace ** 2 / squares
}

test('the effective rank is the participation ratio of the covariance', (t) => {
  for (const [rows, units] of [
    [5, 3],
    [64, 40],
    [20, 100],
  ]) {
    const values = numbers(`h ${rows}`, rows * units)
    const rank = effectiveRank(values, units, stream('r'))
    t.true(Math.abs(rank - participation(values, units)) < 1e-8, `${rows} × ${units}: ${rank}, expected ${participation(values, units)}`)
  }
})

test('it counts directions: one, two alike, none', (t) => {
  const rank = (row: (i: number) => number[], rows = 8) =>
    effectiveRank(
      Float32Array.from({ length: rows }, (_, i) => i).reduce((all, i) => Float32Array.of(...all, ...row(i)), new Float32Array(0)),
      3,
      stream('r'),
    )
  t.is(
    rank((i) => [i, 2 * i, 5 - i]),
    1,
  )
  t.is(
    rank((i) => [i % 2, i % 4 < 2 ? 0 : 1, 7]),
    2,
  )
  t.is(
    rank(() => [3, 1, 2]),
    0,
  )
  t.is(
    rank(() => [3, 1, 2], 1),
    0,
  )
  // Outputs that overflow are no number for a state.
  t.is(
    rank((i) => [i * 1e38, Number.POSITIVE_INFINITY, 0]),
    0,
  )
})

test('of many rows it takes some of all parts, others in other steps, and comes close to the whole', (t) => {
  const [rows, units] = [3000, 6]
  const values = numbers('many', rows * units).map((x, i) => x * (1 + (i % units)))
  const whole = participation(values, units)
  const drawn = Array.from({ length: 20 }, (_, step) => effectiveRank(values, units, stream('r', step)))
  t.true(new Set(drawn).size === drawn.length)
  const mean = drawn.reduce((sum, x) => sum + x, 0) / drawn.length
  t.true(Math.abs(mean - whole) < 0.1 * whole, `${mean}, of all ${whole}`)
  // A position in a picture is not the same in all of them.
  const striped = Float32Array.from({ length: 128 * 4 }, (_, i) => (i % 4 === 0 ? 0 : numbers('s', 1024)[i]))
  t.true(effectiveRank(striped, 1, stream('r')) > 0)
})

test('dead units are those that are never above 0, and those that are always the same', (t) => {
  //                        alive, 0 throughout, below 0, constant, once above 0
  const rows = [
    [1, 0, -1, 3, -1],
    [-1, 0, -2, 3, 0.5],
    [2, 0, -0.5, 3, -1],
  ]
  t.is(deadShare(Float32Array.from(rows.flat()), 5), 3 / 5)
  t.is(deadShare(Float32Array.of(1, -1), 2), 1, 'in one row every unit is always the same')
  t.is(deadShare(numbers('u', 400), 4), 0)
})
