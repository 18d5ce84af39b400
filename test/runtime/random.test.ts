import test from 'ava'
import { numberAt, RandomStream } from '../../runtime/random.js'

const draw = <T>(count: number, next: () => T): T[] => Array.from({ length: count }, next)

test('the numbers have not changed', (t) => {
  const stream = new RandomStream(42, 'init', 'dense', 0)
  t.deepEqual(
    draw(4, () => stream.bits()),
    [2587480604, 4160688259, 2855736082, 4294378448],
  )
  t.deepEqual(
    draw(2, () => stream.uniform()),
    [0.9846411943435669, 0.7959139943122864],
  )
  t.deepEqual(
    draw(2, () => stream.normal()),
    [1.0124982595443726, 0.29944944381713867],
  )
  t.deepEqual([...new RandomStream(-1).permutation(8)], [1, 4, 5, 3, 6, 7, 0, 2])
  t.is(new RandomStream(Number.MAX_SAFE_INTEGER).bits(), 3562387196)
})

test('numbers that are taken are those that would have been drawn, and what follows goes on behind them', (t) => {
  const [one, other] = [new RandomStream(5, 'a'), new RandomStream(5, 'a')]
  for (const count of [3, 0, 1000, 1]) {
    const { key, tweak, start } = other.take(count)
    const numbers = Array.from({ length: count }, (_, i) => numberAt(key, tweak, start + i))
    t.deepEqual(
      numbers,
      Array.from({ length: count }, () => one.bits()),
    )
  }
  t.is(other.uniform(), one.uniform())
})

test('other seeds and other labels give other numbers', (t) => {
  const seeds = [0, 1, -1, 2 ** 31, 2 ** 32, -(2 ** 32), 2 ** 32 + 1, Number.MAX_SAFE_INTEGER, Number.MIN_SAFE_INTEGER]
  const labels = [[], ['a'], ['b'], ['ab'], ['a', 'b'], ['b', 'a'], ['', 'ab'], [1], ['1'], [1, 2], [12], ['astring:b'], ['a', '']]
  const streams = seeds.flatMap((seed) => labels.map((names) => new RandomStream(seed, ...names)))
  const firsts = streams.map((stream) => draw(3, () => stream.bits()).join())
  t.is(new Set(firsts).size, seeds.length * labels.length)
})

test('the streams of neighbouring seeds and labels are not correlated', (t) => {
  const pairs = [
    ...[1, 2, 3].map((seed) => [new RandomStream(seed), new RandomStream(seed + 1)]),
    ...[1, 2, 3].map((step) => [new RandomStream(7, 'dropout', step), new RandomStream(7, 'dropout', step + 1)]),
  ]
  for (const [a, b] of pairs) {
    const products = draw(20_000, () => (a.uniform() - 0.5) * (b.uniform() - 0.5))
    // Six standard deviations of the mean of such products.
    t.true(Math.abs(mean(products)) < 6 / 12 / Math.sqrt(20_000))
  }
})

test('uniform numbers fill [0, 1) evenly, in every bit and one after another', (t) => {
  const stream = new RandomStream(3, 'uniform')
  const numbers = draw(100_000, () => stream.uniform())
  t.true(numbers.every((number) => number >= 0 && number < 1 && Number.isInteger(number * 2 ** 24)))
  t.true(
    chiSquare(
      numbers.map((number) => Math.floor(number * 100)),
      100,
    ) < 180,
  )
  const pairs = numbers.slice(1).map((number, i) => Math.floor(number * 10) * 10 + Math.floor(numbers[i] * 10))
  t.true(chiSquare(pairs, 100) < 180)
  for (let bit = 0; bit < 32; bit++) {
    const ones = draw(10_000, () => (stream.bits() >>> bit) & 1)
    t.true(Math.abs(mean(ones) - 0.5) < 0.03, `bit ${bit}`)
  }
})

test('normal numbers have mean 0 and variance 1, within ±6', (t) => {
  const stream = new RandomStream(4, 'normal')
  const numbers = draw(50_000, () => stream.normal())
  t.true(Math.abs(mean(numbers)) < 0.03)
  t.true(Math.abs(mean(numbers.map((number) => number ** 2)) - 1) < 0.04)
  t.true(numbers.every((number) => Math.abs(number) <= 6))
  t.true(Math.abs(mean(numbers.map((number) => (Math.abs(number) < 1 ? 1 : 0))) - 0.68) < 0.02)
})

test('below(n) reaches every number under n and no other', (t) => {
  const stream = new RandomStream(5)
  t.true(
    chiSquare(
      draw(20_000, () => stream.below(7)),
      7,
    ) < 30,
  )
  t.deepEqual(new Set(draw(10, () => stream.below(1))), new Set([0]))
  const large = draw(2_000, () => stream.below(2 ** 32))
  t.true(large.every((number) => Number.isSafeInteger(number) && number >= 0 && number < 2 ** 32))
  t.true(Math.max(...large) > 2 ** 31)
})

test('permutations hold every number once, and every order is as likely', (t) => {
  const stream = new RandomStream(6)
  for (const n of [0, 1, 2, 1_000])
    t.deepEqual(
      [...stream.permutation(n)].sort((a, b) => a - b),
      Array.from({ length: n }, (_, i) => i),
    )
  const orders = draw(24_000, () => stream.permutation(4).reduce((code, i) => code * 4 + i, 0))
  const known = [...new Set(orders)]
  t.is(known.length, 24)
  t.true(
    chiSquare(
      orders.map((order) => known.indexOf(order)),
      24,
    ) < 65,
  )
})

const mean = (numbers: readonly number[]): number => numbers.reduce((a, b) => a + b, 0) / numbers.length

/** Of counts over `bins` equally likely bins; its mean is bins − 1, its standard deviation √(2·bins). */
function chiSquare(values: readonly number[], bins: number): number {
  const counts = Array.from({ length: bins }, () => 0)
  for (const value of values) counts[value]++
  const expected = values.length / bins
  return counts.reduce((sum, count) => sum + (count - expected) ** 2 / expected, 0)
}
