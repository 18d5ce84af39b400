import test from 'ava'
import { type Pace, SLOW, slownessOf, type Speed, verdict, workOf } from '../../actors/placement/rating.js'
import type { DefinitionRef, TrainingDefinition, VNodeDefinition } from '../../components/definition.js'
import { RandomStream } from '../../runtime/random.js'

const honest = (said: number): Speed => ({ said, believed: said })
const pace = (pnode: string, kind: string, msPerStep: number, more: Partial<Pace> = {}): Pace => ({
  pnode,
  kind,
  msPerStep,
  steps: 100,
  ...more,
})
const rounded = (slowness: ReadonlyMap<string, number>) =>
  Object.fromEntries([...slowness].map(([pnode, value]) => [pnode, Number(value.toPrecision(2))]))

test('steps of the same kind elsewhere say what to expect, whatever the kind', (t) => {
  const speeds = new Map([
    ['a', honest(40)],
    ['b', honest(20)],
    ['liar', honest(40)],
  ])
  const paces = [pace('a', 'dense', 5), pace('b', 'dense', 10), pace('liar', 'dense', 50)]
  // a is compared with b (200) and the liar (2,000), until the liar is believed no more.
  t.deepEqual(rounded(slownessOf(paces, speeds)), { a: 0.18, b: 0.18, liar: 10 })
  speeds.set('liar', { said: 40, believed: 4 })
  t.deepEqual(rounded(slownessOf(paces, speeds)), { a: 1, b: 1, liar: 10 })
})

test('one that said too little does not make others look slow: nothing is faster than its own matrix products', (t) => {
  const speeds = new Map([
    ['modest', honest(2)],
    ['true', honest(40)],
  ])
  const paces = ['modest', 'true'].map((pnode) => pace(pnode, 'dense', 5, { expectedMs: 160 }))
  t.true(slownessOf(paces, speeds).get('true')! < SLOW)
})

test('one that has everything, because it says that it is the fastest, is measured by the work that its steps are', (t) => {
  const paces = [pace('liar', 'one', 5, { expectedMs: 160 }), pace('liar', 'two', 2.5, { expectedMs: 80 })]
  t.true(slownessOf(paces, new Map([['liar', honest(400)]])).get('liar')! > SLOW)
  t.true(slownessOf(paces, new Map([['liar', honest(40)]])).get('liar')! < 1)
  // An honest one on a machine whose cores others use for three quarters, with the least efficient of our layers, is not one of them.
  t.true(slownessOf([pace('a', 'conv', 40, { expectedMs: 160 })], new Map([['a', honest(40)]])).get('a')! < SLOW)
})

test('where nobody computes the same kind, it is compared with what it needed before, of users’ code too', (t) => {
  const speeds = new Map([['a', honest(40)]])
  t.is(slownessOf([pace('a', 'own', 30, { bestMs: 3 })], speeds).get('a'), 10)
  t.is(slownessOf([pace('a', 'own', 30)], speeds).get('a'), undefined)
  // Slow from the first step on: its own past says nothing good of it.
  t.true(slownessOf([pace('a', 'ours', 50, { expectedMs: 160, bestMs: 50 })], speeds).get('a')! > SLOW)
})

test('what slows everybody is nobody’s fault', (t) => {
  const speeds = new Map(['a', 'b', 'c'].map((pnode) => [pnode, honest(40)]))
  const paces = [pace('a', 'one', 50, { bestMs: 5 }), pace('b', 'two', 22, { bestMs: 2 }), pace('c', 'three', 9, { bestMs: 1 })]
  for (const slowness of slownessOf(paces, speeds).values()) t.true(slowness < 2, String(slowness))
  // Those who became faster make nobody slow.
  t.is(slownessOf([pace('a', 'one', 5, { bestMs: 5 }), pace('b', 'two', 1, { bestMs: 9 })], speeds).get('a'), 1)
})

test('what makes no sense is left out', (t) => {
  const speeds = new Map([
    ['none', honest(0)],
    ['lost', honest(Number.NaN)],
    ['a', honest(40)],
  ])
  const paces = [
    pace('none', 'k', 1),
    pace('lost', 'k', 1),
    pace('stranger', 'k', 1),
    pace('a', 'k', Number.NaN, { bestMs: 1 }),
    pace('a', 'k', 0, { bestMs: 1 }),
    pace('a', 'k', 2, { steps: 0, bestMs: 1 }),
  ]
  t.deepEqual([...slownessOf(paces, speeds)], [])
  t.deepEqual([...slownessOf([], new Map())], [])
})

test('the verdict has a band on each side: nobody goes up and down with the noise', (t) => {
  t.is(verdict(honest(40), 3.9), undefined)
  t.is(verdict(honest(40), 4), 10)
  const rated = { said: 40, believed: 10 }
  t.is(verdict(rated, 3.5), undefined)
  t.is(verdict(rated, 2.1), 40 / 2.1)
  t.is(verdict(rated, 2), null)
  t.is(verdict(rated, 5), undefined)
  t.is(verdict(rated, 10), 4)
  t.is(verdict(honest(40), 1), undefined)
})

/** Hosts of all speeds, VNodes of some kinds, each with an efficiency of its own, spread over the hosts. */
function draw(random: RandomStream, lie: number) {
  const speeds = new Map<string, Speed>()
  const real = new Map<string, number>()
  const hosts = 2 + random.below(6)
  for (let i = 0; i < hosts; i++) {
    const gflops = 1 + random.below(100)
    real.set(`p${i}`, gflops)
    speeds.set(`p${i}`, honest(i === 0 ? gflops * lie : gflops))
  }
  const kinds = Array.from({ length: 1 + random.below(3) }, (_, k) => {
    const expectedMs = 30 + random.below(3_000)
    // What was measured lies between (workOf): the extremes are there as often as all between them.
    const efficiency = [0.4, 1.3, 0.4 + 0.9 * random.uniform(), 0.4 + 0.9 * random.uniform()][random.below(4)]
    return { kind: `k${k}`, expectedMs, needsMs: expectedMs / efficiency }
  })
  const paces: Pace[] = Array.from({ length: hosts + random.below(6) }, (_, i) => {
    const pnode = `p${i % hosts}`
    const { kind, expectedMs, needsMs } = kinds[random.below(kinds.length)]
    const noise = 0.8 + 0.6 * random.uniform()
    return { pnode, kind, expectedMs, msPerStep: (needsMs / real.get(pnode)!) * noise, steps: 8 + random.below(100) }
  })
  return { speeds, paces }
}

test('no honest host is taken for slow, and of those that lie tenfold nearly all are', (t) => {
  const random = new RandomStream(5, 'rating')
  let [found, wronged] = [0, 0]
  for (let i = 0; i < 500; i++) {
    const { speeds, paces } = draw(random, 1)
    const slow = [...slownessOf(paces, speeds)].filter(([pnode, slowness]) => verdict(speeds.get(pnode)!, slowness) !== undefined)
    t.deepEqual(slow, [], `draw ${i}`)
    const lying = draw(random, 10)
    for (const [pnode, slowness] of slownessOf(lying.paces, lying.speeds)) {
      if (typeof verdict(lying.speeds.get(pnode)!, slowness) !== 'number') continue
      if (pnode === 'p0') found++
      else wronged++
    }
  }
  t.log(`${found} of 500 liars found at the first look, ${wronged} others taken for slow`)
  t.true(found >= 450)
  t.is(wronged, 0)
})

const ref = (name: string, bundle?: string): DefinitionRef => ({ name, options: {}, ...(bundle !== undefined && { bundle }) })
const vnode = (id: string, layer: DefinitionRef, units: number): VNodeDefinition => ({
  id,
  inputs: ['source'],
  inputShapes: [[784]],
  outputShape: [units],
  layers: [{ id: `${id}/layer`, layer, inputs: [-1], inputShapes: [[784]], outputShape: [units] }],
  hasHead: true,
  parameters: 784 * units,
  cost: 784 * units,
})
const training = { rule: ref('pred'), optimizer: ref('adam'), batchSize: 128 } as TrainingDefinition

test('VNodes that do the same are of one kind, whatever they are called; shapes, rules and samples make others', (t) => {
  const kind = (definition: VNodeDefinition, more: Partial<TrainingDefinition> = {}) => workOf(definition, { ...training, ...more }).kind
  const one = kind(vnode('a', ref('dense'), 256))
  t.is(kind(vnode('b', ref('dense'), 256)), one)
  t.not(kind(vnode('a', ref('dense'), 255)), one)
  t.not(kind(vnode('a', ref('other'), 256)), one)
  t.not(kind(vnode('a', ref('dense'), 256), { batchSize: 64 }), one)
  t.not(kind(vnode('a', ref('dense'), 256), { rule: ref('predsim') }), one)
})

test('the work of our own layers is known, that of users’ code is not', (t) => {
  // 154 MFLOP of products, 20 for the optimizer, 33 for the outputs, 30 for a step: measured 5.9 ms at 43 GFLOP/s, which are 254.
  const { expectedMs } = workOf(vnode('a', ref('dense'), 256), training)
  t.true(expectedMs! > 230 && expectedMs! < 245, String(expectedMs))
  t.is(workOf(vnode('a', ref('gated', 'f00d'), 256), training).expectedMs, undefined)
  t.is(workOf(vnode('a', ref('dense'), 256), { ...training, rule: ref('smooth', 'f00d') }).expectedMs, undefined)
})
