import test from 'ava'
import type { Calls, Membership } from '../../actors/calls.js'
import { StepRatings } from '../../actors/control/step-ratings.js'
import type { DefinitionRef, NetworkDefinition, TrainingDefinition } from '../../components/definition.js'
import { fakeClock } from '../support/fake-clock.js'

const EVERY_MS = 1_000
const ref = (name: string): DefinitionRef => ({ name, options: {} })
const vnodes = ['v1', 'v2', 'v3'].map((id) => ({
  id,
  inputs: ['source'],
  inputShapes: [[64]],
  outputShape: [64],
  layers: [{ id: `${id}/dense`, layer: ref('dense'), inputs: [-1], inputShapes: [[64]], outputShape: [64] }],
  hasHead: true,
  parameters: 4096,
  cost: 4096,
}))
const definition = {
  network: { vnodes } as unknown as NetworkDefinition,
  training: { rule: ref('pred'), optimizer: ref('adam'), batchSize: 32 } as TrainingDefinition,
}

/** Three hosts of the same speed, each with a VNode, and what is said of them. */
function ratings() {
  const clock = fakeClock()
  const told: Calls['Placement']['rate'][0][] = []
  const errors: unknown[] = []
  const believed = new Map(['a', 'b', 'c'].map((pnode) => [pnode, 40]))
  const member = (pnode: string, gflops: number) => ({ pnode, gflops, ...(gflops < 40 && { saidGflops: 40 }) }) as Membership
  const steps = new StepRatings({
    clock,
    everyMs: EVERY_MS,
    members: async () => [...believed].map(([pnode, gflops]) => member(pnode, gflops)),
    rate: async (rating) => {
      told.push(rating)
      believed.set(rating.pnode, rating.gflops ?? 40)
    },
    onError: (error) => errors.push(error),
  })
  steps.watch('r', definition)
  /** A second in which each made so many steps of so many ms. */
  const second = async (ms: { readonly a: number; readonly b: number; readonly c: number }, count = 10) => {
    for (const [i, pnode] of (['a', 'b', 'c'] as const).entries())
      steps.observe('r', `v${i + 1}`, pnode, { busyMs: ms[pnode] * count, steps: count })
    await clock.advance(EVERY_MS)
  }
  return { clock, steps, told, errors, second }
}

const EQUAL = { a: 1, b: 1, c: 1 }
const SLOW = { a: 1, b: 1, c: 10 }

test('who is slow twice in a row is told of once, with its speed and the reason; who is fast again twice, too', async (t) => {
  const { told, second } = ratings()
  await second(SLOW)
  t.deepEqual(told, [])
  await second(SLOW)
  t.deepEqual(told, [{ pnode: 'c', gflops: 4, reason: 'its steps take 10.0 times as long as they should' }])
  for (let i = 0; i < 5; i++) await second(SLOW)
  await second(EQUAL)
  await second(SLOW)
  t.is(told.length, 1)
  await second(EQUAL)
  await second(EQUAL)
  t.deepEqual(told.slice(1), [{ pnode: 'c', gflops: null, reason: 'its steps take no longer than they should' }])
})

test('one slow moment between others is nothing', async (t) => {
  const { told, second } = ratings()
  for (let i = 0; i < 10; i++) await second(i % 2 === 0 ? SLOW : EQUAL)
  t.deepEqual(told, [])
})

test('all slow at once is the network, not a host; a host that is slow by what it did before is told of', async (t) => {
  const { told, second, steps, clock } = ratings()
  await second(EQUAL)
  for (let i = 0; i < 4; i++) await second({ a: 10, b: 10, c: 10 })
  t.deepEqual(told, [])
  // Alone with its VNode: nobody else does the same.
  const alone = async (ms: number) => {
    steps.observe('r', 'v1', 'a', { busyMs: ms * 10, steps: 10 })
    await clock.advance(EVERY_MS)
  }
  for (let i = 0; i < 3; i++) await alone(1)
  for (let i = 0; i < 2; i++) await alone(10)
  t.like(told, [{ pnode: 'a', gflops: 4 }] as never)
})

test('too few steps wait for more; what makes no sense, and runs that nobody watches, are left out', async (t) => {
  const { told, second, steps, clock } = ratings()
  for (let i = 0; i < 3; i++) await second(SLOW, 2)
  t.deepEqual(told, [])
  await second(SLOW, 2)
  for (let i = 0; i < 4; i++) await second(SLOW, 2)
  t.is(told.length, 1, 'eight steps, twice')
  for (const wrong of [
    { busyMs: -1, steps: 1 },
    { busyMs: Number.NaN, steps: 1 },
    { busyMs: 1, steps: 0 },
  ])
    steps.observe('r', 'v1', 'a', wrong)
  steps.observe('other', 'v1', 'a', { busyMs: 1e6, steps: 10 })
  steps.observe('r', 'stranger', 'a', { busyMs: 1e6, steps: 10 })
  t.is(clock.pending, 0, 'nothing to be judged')
})

test('a run that has ended is forgotten, and after the end nothing is judged', async (t) => {
  const { told, second, steps, clock, errors } = ratings()
  await second(SLOW)
  steps.forget('r')
  await second(SLOW)
  t.deepEqual(told, [])
  steps.watch('r', definition)
  steps.observe('r', 'v1', 'a', { busyMs: 1, steps: 10 })
  steps.close()
  t.is(clock.pending, 0)
  t.deepEqual(errors, [])
})
