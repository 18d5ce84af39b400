import test from 'ava'
import type { Membership } from '../../actors/calls.js'
import type { RunDefinition } from '../../actors/run/run-definition.js'
import { RunMonitor } from '../../actors/run/run-monitor.js'
import { fakeClock } from '../support/fake-clock.js'

const DEFINITION = {
  network: { vnodes: [{ id: 'a' }, { id: 'b' }], output: 'b' },
  training: { epochs: 2, batchSize: 8 },
  timetable: { epochs: 2, stepsPerEpoch: 10, evaluationBatches: 1, finalBatches: 1 },
} as unknown as RunDefinition

function monitorOf(members: readonly Partial<Membership>[] = []) {
  const clock = fakeClock()
  const monitor = new RunMonitor('r1', DEFINITION, clock, () => members as Membership[])
  const terms = new Map<string, number>()
  const place = (vnode: string, pnode: string, term: number, step = 0, from?: string) => {
    terms.set(vnode, term)
    monitor.placed(vnode, pnode, term, step, from === undefined ? undefined : { from, lostAtMs: clock.now() })
  }
  const apply = (
    vnode: string,
    first: number,
    last = first,
    metrics: { readonly [name: string]: number } = {},
    term = terms.get(vnode)!,
  ) => {
    for (let step = first; step <= last; step++) {
      const entry = { position: step, step, evaluation: 0, marks: 0 }
      monitor.observe({ type: 'applied', run: 'r1', vnode, term, pnode: 'p', entry, busyMs: 1, metrics })
    }
  }
  place('a', 'p1', 1)
  place('b', 'p2', 2)
  return { monitor, clock, place, apply }
}

test('an undisturbed run counts nothing', (t) => {
  const { monitor, apply } = monitorOf()
  apply('a', 1, 20)
  apply('b', 1, 20)
  t.deepEqual(monitor.counters, { moves: 0, stepsReplayed: 0, stepsLost: 0, stepsDoubled: 0 })
  t.is(monitor.step, 20)
})

test('the run is where its slowest VNode is, and never goes back', (t) => {
  const { monitor, apply, place } = monitorOf()
  t.is(monitor.step, 0)
  apply('a', 1, 7)
  apply('b', 1, 4)
  t.is(monitor.step, 4)
  place('b', 'p1', 3, 0, 'p2')
  t.is(monitor.step, 4)
  apply('b', 1, 5)
  t.is(monitor.step, 5)
})

test('steps from the checkpoint up to where the VNode was are replays, each counted once', (t) => {
  const { monitor, apply, place } = monitorOf()
  apply('a', 1, 9)
  apply('b', 1, 9)
  place('b', 'p3', 3, 5, 'p2')
  apply('b', 6, 8)
  t.deepEqual(monitor.counters, { moves: 1, stepsReplayed: 3, stepsLost: 0, stepsDoubled: 0 })
  // Lost again before it has caught up.
  place('b', 'p4', 4, 5, 'p3')
  apply('b', 6, 12)
  t.deepEqual(monitor.counters, { moves: 2, stepsReplayed: 7, stepsLost: 0, stepsDoubled: 0 })
})

test('a place that is told again, by an owner that has just begun, changes no count', (t) => {
  const { monitor, apply, place } = monitorOf()
  apply('a', 1, 9)
  place('a', 'p1', 1, 7)
  apply('a', 10)
  t.deepEqual(monitor.counters, { moves: 0, stepsReplayed: 0, stepsLost: 0, stepsDoubled: 0 })
  t.is(monitor.stepOf('a'), 10)
})

test('steps that are skipped or applied twice under one term are seen', (t) => {
  const { monitor, apply } = monitorOf()
  apply('a', 1, 3)
  apply('a', 6)
  t.is(monitor.counters.stepsLost, 2)
  apply('a', 6)
  apply('a', 4)
  t.is(monitor.counters.stepsDoubled, 2)
})

test('an owner under an old term, and a VNode that nobody placed, count for nothing', (t) => {
  const { monitor, apply, place } = monitorOf()
  apply('b', 1, 3)
  place('b', 'p3', 3, 0, 'p2')
  apply('b', 4, 9, {}, 2)
  apply('unknown', 1, 3, {}, 1)
  t.deepEqual(
    monitor.vnodes().find(({ vnode }) => vnode === 'b'),
    { vnode: 'b', pnode: 'p3', term: 3, step: 0, state: 'restoring' },
  )
  t.deepEqual(monitor.counters, { moves: 1, stepsReplayed: 0, stepsLost: 0, stepsDoubled: 0 })
})

test('evaluation entries are not steps, and neither is what the source does; its moves count', (t) => {
  const { monitor, place } = monitorOf()
  const entry = { position: 11, step: 10, evaluation: 1, marks: 0 }
  monitor.observe({ type: 'applied', run: 'r1', vnode: 'a', term: 1, pnode: 'p1', entry, busyMs: 1, metrics: {} })
  place('source', 'control', 9, 0, 'control')
  t.deepEqual(monitor.counters, { moves: 1, stepsReplayed: 0, stepsLost: 0, stepsDoubled: 0 })
  t.is(monitor.vnodes().length, 2)
})

test('a move ends when the VNode is ahead of where it was: one event with its cost', async (t) => {
  const { monitor, apply, place, clock } = monitorOf()
  const events: object[] = []
  monitor.feed.listen((event) => event.type === 'relocated' && events.push(event))
  apply('b', 1, 4)
  place('b', 'p3', 3, 2, 'p2')
  await clock.advance(300)
  apply('b', 3, 4)
  await clock.advance(200)
  t.deepEqual(events, [])
  apply('b', 5, 6)
  t.is(events.length, 1)
  t.like(events[0], { vnode: 'b', from: 'p2', to: 'p3', term: 3, fromStep: 2, stepsReplayed: 2, firstStepMs: 300, caughtUpMs: 500 })
})

test('a wait is told once for each reason, and again after somebody was found', (t) => {
  const { monitor, place } = monitorOf()
  const told: string[] = []
  monitor.feed.listen((event) => event.type === 'waiting' && told.push(`${event.vnodes.join()}: ${event.reason}`))
  for (const reason of ['p3 is full', 'p3 is full', 'p3 is lost']) monitor.waits(['b'], reason)
  place('b', 'p1', 3)
  monitor.waits(['b'], 'p3 is lost')
  t.deepEqual(told, ['b: p3 is full', 'b: p3 is lost', 'b: p3 is lost'])
})

test('dropped messages are counted by reason', (t) => {
  const { monitor } = monitorOf()
  for (const reason of ['term', 'duplicate', 'term']) monitor.observe({ type: 'dropped', run: 'r1', vnode: 'a', reason })
  t.deepEqual(
    [...monitor.dropped],
    [
      ['term', 2],
      ['duplicate', 1],
    ],
  )
})

test('loss and accuracy are running averages that start at the first value', (t) => {
  const { monitor, apply } = monitorOf()
  apply('a', 1, 1, { loss: 2, correct: 4, count: 8 })
  t.like(monitor.vnodes()[0], { loss: 2, accuracy: 0.5, state: 'running' })
  apply('a', 2, 2, { loss: 1, correct: 8, count: 8 })
  const { loss, accuracy } = monitor.vnodes()[0]
  t.true(Math.abs(loss! - 1.95) < 1e-12 && Math.abs(accuracy! - 0.525) < 1e-12)
  apply('b', 1)
  t.false('loss' in monitor.vnodes()[1])
})

test('progress is told four times a second at most, and at the end', async (t) => {
  const { monitor, apply, clock } = monitorOf()
  let told = 0
  monitor.feed.listen(({ type }) => type === 'progress' && told++)
  apply('a', 1, 5)
  const first = told
  t.true(first <= 1)
  apply('b', 1, 5)
  t.is(told, first)
  await clock.advance(250)
  apply('a', 6)
  t.is(told, first + 1)
  monitor.emit({ type: 'done', steps: 20, hash: 'ab', metrics: {} })
  t.is(told, first + 2)
  t.is(monitor.snapshot().status, 'done')
})

test('a span that claims steps which the run does not have is taken for what there is', (t) => {
  const { monitor } = monitorOf()
  const span = { type: 'span', run: 'r1', vnode: 'a', term: 1, busyMs: 0, metrics: {} } as const
  monitor.observeSpan({ ...span, firstStep: Number.MIN_SAFE_INTEGER, lastStep: Number.MAX_SAFE_INTEGER })
  t.is(monitor.stepOf('a'), 20)
})

test('nothing comes after the end of the story: no steps that are told of late, nobody who joins or is rated', async (t) => {
  const { monitor, apply, clock } = monitorOf()
  const types: string[] = []
  monitor.feed.listen(({ type }) => types.push(type))
  const member = { pnode: 'p3', gflops: 4, saidGflops: 40, state: 'ready', ratedBecause: 'its steps are slow' } as Membership
  monitor.member(member, 'joined')
  monitor.member(member, 'rated')
  monitor.member(member, 'heartbeat')
  await clock.advance(1_000)
  apply('a', 1)
  t.deepEqual(types, ['joined', 'rated', 'progress'])
  monitor.emit({ type: 'paused', step: 1 })
  t.is(types.at(-1), 'paused')
  await clock.advance(1_000)
  apply('b', 1)
  monitor.member(member, 'joined')
  monitor.member(member, 'rated')
  t.is(types.at(-1), 'paused')
})

for (const [computeClass, isDivergence] of [
  ['4.22.0 | wasm | simd | 0', undefined],
  ['4.22.0 | native | tensorflow 2.18.0, processor | 0', undefined],
  ['4.22.0 | gpu | tensorflow 2.18.0, gpu | 0', true],
] as const) {
  test(`a move is ${isDivergence ? 'recorded as a divergence' : 'exact'} in the class ${computeClass}`, (t) => {
    const { monitor, apply, place } = monitorOf([{ pnode: 'p3', computeClass }])
    const found: unknown[] = []
    monitor.feed.listen((event) => event.type === 'relocated' && found.push(event.isDivergence))
    apply('b', 1, 9)
    place('b', 'p3', 3, 5, 'p2')
    apply('b', 6, 10)
    t.deepEqual(found, [isDivergence])
  })
}
