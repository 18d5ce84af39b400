import test from 'ava'
import * as fc from 'fast-check'
import { compareStates, TOLERANCES } from '../../actors/trust/comparison.js'
import { decodeState, encodeState, type StateTensor } from '../../runtime/state.js'
import { readClassDifferences, samplesOf } from '../support/measured-noise.js'

const { adam, sgd } = TOLERANCES
const float = (name: string, ...values: number[]): StateTensor => ({
  name,
  dtype: 'float32',
  shape: [values.length],
  values: Float32Array.from(values),
})
const step = (value: number): StateTensor => ({ name: 'step', dtype: 'int32', shape: [], values: Int32Array.of(value) })
const BEFORE = [float('layers/w', 0, 0, 0, 0), float('optimizer/m/layers/w', 0, 0, 0, 0), step(1)]
const state = (w: readonly number[], m: readonly number[] = [0, 0, 0, 0], at = 2): StateTensor[] => [
  float('layers/w', ...w),
  float('optimizer/m/layers/w', ...m),
  step(at),
]
const compare = (a: readonly StateTensor[], b: readonly StateTensor[], tolerance: typeof adam | typeof sgd = adam) => {
  const [one, other] = [compareStates({ before: BEFORE, a, b }, tolerance), compareStates({ before: BEFORE, a: b, b: a }, tolerance)]
  const relative = ({ groups }: typeof one): string => groups.map((group) => group.relative).join(', ')
  if (one.isSame !== other.isSame || relative(one) !== relative(other)) throw new Error(`not symmetric: ${one.why} and ${other.why}`)
  return one
}

test('equal states are the same, through a blob as well', (t) => {
  const a = decodeState(encodeState(state([1, 2, 3, 4])))
  t.true(compare(a, state([1, 2, 3, 4])).isSame)
  t.true(compare(BEFORE, BEFORE).isSame, 'no update at all')
})

test('an update that is off by less than the tolerance is the same, by more is not', (t) => {
  const by = (relative: number) => state([1, 1, 1, 1 + 2 * relative])
  t.true(compare(state([1, 1, 1, 1]), by(0.9e-3)).isSame)
  t.regex(compare(state([1, 1, 1, 1]), by(1.1e-3)).why!, /update of weights: off by 0\.0011/)
  t.true(compare(state([1, 1, 1, 1]), by(0.9e-4), sgd).isSame)
  t.false(compare(state([1, 1, 1, 1]), by(1.1e-4), sgd).isSame)
})

test('it is the update that counts, not the weights beside which it is small', (t) => {
  const before = [float('layers/w', 100, 100)]
  const [a, b] = [[float('layers/w', 100.01, 100)], [float('layers/w', 100.0101, 100)]]
  t.false(compareStates({ before, a, b }, adam).isSame)
  t.true(compareStates({ before: [float('layers/w', 0, 0)], a, b }, adam).isSame)
})

test('the direction counts too', (t) => {
  const wide = { ...adam, relative: 0.1 }
  const { why } = compareStates({ before: BEFORE, a: state([1, 0, 0, 0]), b: state([1, 0.01, 0, 0]) }, wide)
  t.regex(why!, /cosine 0\.99995/)
  t.true(compareStates({ before: BEFORE, a: state([1, 0, 0, 0]), b: state([1.05, 0, 0, 0]) }, wide).isSame, 'along the same line')
})

test('a sign that was turned, nothing learnt, and a larger update are not the same', (t) => {
  const a = state([1, 2, 3, 4])
  for (const lie of [
    [-1, -2, -3, -4],
    [0, 0, 0, 0],
    [2, 4, 6, 8],
    [1.002, 2.004, 3.006, 4.008],
  ])
    t.false(compare(a, state(lie)).isSame, lie.join(', '))
})

test('slots of the optimizer are compared apart from the weights: a lie there is not small beside them', (t) => {
  const { why } = compare(state([1, 1, 1, 1], [1e-6, 0, 0, 0]), state([1, 1, 1, 1], [2e-6, 0, 0, 0]))
  t.regex(why!, /update of optimizer\/m: off by 1,/)
  t.true(compare(state([1, 1, 1, 1], [1e-6, 0, 0, 0]), state([1, 1, 1, 1], [1.0005e-6, 0, 0, 0])).isSame)
})

test('the bias whose gradient is nothing but noise is compared together with its weights', (t) => {
  const before = [float('layers/w', 0, 0), float('layers/b', 0)]
  const [a, b] = [
    [...before.slice(0, 0), float('layers/w', 1, 1), float('layers/b', 1e-5)],
    [float('layers/w', 1, 1), float('layers/b', -1e-5)],
  ]
  t.true(compareStates({ before, a, b }, adam).isSame)
})

test('integers have to be equal', (t) => {
  t.regex(compare(state([1, 1, 1, 1]), state([1, 1, 1, 1], undefined, 3)).why!, /integers of tensor 'step'/)
})

test('another tensor, shape or type, or one twice, is not the same', (t) => {
  const a = state([1, 2, 3, 4])
  const more = [...a, float('head/b', 1)]
  t.regex(compare(a, more).why!, /'head\/b' is only in one/)
  t.regex(compare(a, [...a, a[0]]).why!, /twice/)
  const square: StateTensor = { ...a[0], shape: [2, 2] }
  t.regex(compare(a, [square, a[1], a[2]]).why!, /another type or shape/)
  const whole: StateTensor = { name: 'layers/w', dtype: 'int32', shape: [4], values: Int32Array.of(1, 2, 3, 4) }
  t.false(compare(a, [whole, a[1], a[2]]).isSame)
})

test('a tensor that was not there before is an update as a whole', (t) => {
  const before: StateTensor[] = []
  t.true(compareStates({ before, a: [float('kept/x', 1, 2)], b: [float('kept/x', 1, 2.0001)] }, adam).isSame)
  t.false(compareStates({ before, a: [float('kept/x', 1, 2)], b: [float('kept/x', 1, 2.01)] }, adam).isSame)
})

test('nothing is the same as what is not finite, not even itself', (t) => {
  for (const odd of [Number.NaN, Infinity, -Infinity]) {
    const a = state([1, odd, 1, 1])
    t.false(compare(a, a).isSame)
    t.false(compare(a, state([1, 1, 1, 1])).isSame)
    const before = state([odd, 0, 0, 0])
    t.false(compareStates({ before, a: state([1, 1, 1, 1]), b: state([1, 1, 1, 1]) }, adam).isSame)
    t.false(compareStates({ before: BEFORE, a: BEFORE, b: BEFORE, losses: [odd, odd] }, adam).isSame)
  }
})

test('losses have to be near each other', (t) => {
  const with_ = (x: number, y: number) => compareStates({ before: BEFORE, a: BEFORE, b: BEFORE, losses: [x, y] }, adam)
  t.true(with_(2, 2.0001).isSame)
  t.true(with_(0, 0).isSame)
  t.regex(with_(2, 2.0003).why!, /loss: off by/)
  t.false(with_(2, -2).isSame)
  t.false(with_(0, 1e-9).isSame)
})

test('whatever the states are, comparing them does not depend on their order, nor on that of their tensors', (t) => {
  const values = fc.array(fc.float({ min: -1, max: 1, noNaN: true }), { minLength: 4, maxLength: 4 })
  fc.assert(
    fc.property(values, values, fc.double({ min: 0, max: 2e-3, noNaN: true }), (w, away, by) => {
      const [a, b] = [state(w), state(w.map((value, i) => value + by * away[i]))]
      const { isSame } = compare(a, b)
      t.is(compare(a.toReversed(), b).isSame, isSame)
    }),
  )
})

test('what honest hosts of other classes were measured to differ by is a fifth of the tolerance at most', async (t) => {
  const differences = await readClassDifferences()
  for (const pair of ['wasm blocked', 'wasm native', 'blocked native'])
    for (const optimizer of ['adam', 'sgd'] as const) {
      const samples = samplesOf(differences, pair, optimizer)
      t.true(samples.length >= 90)
      const most = (at: 0 | 1 | 2) => Math.max(...samples.map((sample) => sample[at]))
      const { relative, cosine, loss } = TOLERANCES[optimizer]
      t.true(most(0) > 0 && most(0) < relative / 5, `${pair}, ${optimizer}: ${most(0)}`)
      t.true(most(1) < (1 - cosine) / 5)
      t.true(most(2) < loss / 5)
    }
})
