import test from 'ava'
import type { Heartbeat } from '../../actors/calls.js'
import { type Channel, channel, controlLine, decodeHeartbeat, encodeHeartbeat } from '../../actors/control/channels.js'
import { CONTENT_REASONS, SUSPICION_REASONS } from '../../actors/pnode/frame-checks.js'
import { decodeReports, encodeReports, ObservationSender, type Report } from '../../actors/pnode/observations.js'
import type { Observation } from '../../actors/reports.js'
import { memoryBroker } from '../../runtime/tensor-bus/memory-bus.js'
import type { Delivery } from '../../runtime/tensor-bus/tensor-bus.js'
import { fakeClock } from '../support/fake-clock.js'

const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes)
const bytesOf = (value: unknown) => new TextEncoder().encode(typeof value === 'string' ? value : JSON.stringify(value))

const BEAT: Heartbeat = { pnode: 'ann', busyShare: 0.5, vnodes: ['r/dense-1'] }

test('a heartbeat is these bytes', (t) => {
  t.is(text(encodeHeartbeat(BEAT)), '{"v":1,"pnode":"ann","busyShare":0.5,"vnodes":["r/dense-1"]}')
  t.deepEqual(decodeHeartbeat(encodeHeartbeat(BEAT), 'ann'), BEAT)
  const full = { ...BEAT, placedBytes: { r: 12 } }
  t.deepEqual(decodeHeartbeat(encodeHeartbeat(full), 'ann'), full)
  for (const placedBytes of [null, 'much', { r: -1 }, { r: '12' }])
    t.throws(() => decodeHeartbeat(bytesOf({ v: 1, ...BEAT, placedBytes }), 'ann'), { code: 'frame.damaged' }, JSON.stringify(placedBytes))
})

test('nobody’s heart beats under another name, and garbage is told from another version', (t) => {
  t.throws(() => decodeHeartbeat(encodeHeartbeat(BEAT), 'bob'), { code: 'frame.damaged' })
  for (const bad of ['', '{']) t.throws(() => decodeHeartbeat(bytesOf(bad), 'ann'), { code: 'frame.damaged' }, bad)
  for (const bad of ['null', '[]', '"x"', '{}']) t.throws(() => decodeHeartbeat(bytesOf(bad), 'ann'), { code: 'frame.version' }, bad)
  t.throws(() => decodeHeartbeat(bytesOf({ ...BEAT, v: 2 }), 'ann'), { code: 'frame.version' })
  for (const wrong of [{ busyShare: 'much' }, { busyShare: null }, { vnodes: 'r/a' }, { vnodes: [1] }, { vnodes: undefined }]) {
    t.throws(() => decodeHeartbeat(bytesOf({ v: 1, ...BEAT, ...wrong }), 'ann'), { code: 'frame.damaged' }, JSON.stringify(wrong))
  }
})

const applied = (step: number, metrics: { [name: string]: number } = { loss: step }, term = 1): Observation => ({
  type: 'applied',
  run: 'r',
  vnode: 'a',
  term,
  pnode: 'ann',
  entry: { position: step, step, evaluation: 0, marks: 0 },
  busyMs: 2,
  metrics,
})
const SPAN: Report = { type: 'span', run: 'r', vnode: 'a', term: 1, firstStep: 1, lastStep: 4, busyMs: 8, metrics: { loss: 2.5 } }

test('reports are these bytes', (t) => {
  const bytes = encodeReports([SPAN])
  t.is(
    text(bytes),
    '{"v":1,"reports":[{"type":"span","run":"r","vnode":"a","term":1,"firstStep":1,"lastStep":4,"busyMs":8,"metrics":{"loss":2.5}}]}',
  )
  t.deepEqual(decodeReports(bytes), [SPAN])
})

test('steps are gathered into one span; the first after a restore goes at once', async (t) => {
  const clock = fakeClock()
  const sent: (readonly Report[])[] = []
  const sender = new ObservationSender(clock, (bytes) => sent.push(decodeReports(bytes)))
  for (let step = 1; step <= 4; step++) sender.observe(applied(step))
  sender.observe({ ...applied(5), entry: { position: 5, step: 4, evaluation: 1, marks: 0 } } as Observation)
  t.deepEqual(sent, [])
  await clock.advance(100)
  t.deepEqual(sent, [[SPAN]])
  sender.observe({ type: 'restored', run: 'r', vnode: 'a', term: 2, step: 4, pnode: 'ann' })
  sender.observe(applied(5, { loss: 1 }, 2))
  t.deepEqual(
    sent[1].map(({ type }) => type),
    ['restored', 'span'],
  )
  t.is(clock.pending, 0)
  sender.flush()
  t.is(sent.length, 2, 'nothing is sent where nothing happened')
})

test('however many messages are dropped, what is told of them is a line for each reason', async (t) => {
  const clock = fakeClock()
  const sent: Uint8Array[] = []
  const sender = new ObservationSender(clock, (bytes) => sent.push(bytes))
  for (let i = 0; i < 1_000; i++) sender.observe({ type: 'dropped', run: 'r', vnode: i % 4 === 0 ? 'a' : 'b', reason: 'duplicate' })
  await clock.advance(100)
  t.is(
    text(sent[0]),
    '{"v":1,"reports":[{"type":"dropped","run":"r","vnode":"a","reason":"duplicate","count":250},{"type":"dropped","run":"r","vnode":"b","reason":"duplicate","count":750}]}',
  )
  t.is(decodeReports(sent[0]).length, 2)
  sender.flush()
  t.is(sent.length, 1)
})

test('what is no report harms nobody', (t) => {
  t.throws(() => decodeReports(bytesOf('{')), { code: 'frame.damaged' })
  t.throws(() => decodeReports(bytesOf('null')), { code: 'frame.version' })
  t.throws(() => decodeReports(bytesOf({ v: 2, reports: [] })), { code: 'frame.version' })
  t.throws(() => decodeReports(bytesOf({ v: 1, reports: {} })), { code: 'frame.damaged' })
  const wrong = [
    null,
    3,
    {},
    { ...SPAN, run: 1 },
    { ...SPAN, firstStep: 0.5 },
    { ...SPAN, lastStep: null },
    { ...SPAN, metrics: null },
    { ...SPAN, metrics: { loss: 'low' } },
    { ...SPAN, busyMs: undefined },
    { ...SPAN, type: 'applied' },
    { type: 'restored', run: 'r', vnode: 'a' },
    { type: 'dropped', run: 'r', vnode: 'a', reason: 'x'.repeat(10_000) },
    ...[0, -1, 0.5, '9'].map((count) => ({ type: 'dropped', run: 'r', vnode: 'a', reason: 'duplicate', count })),
  ]
  t.deepEqual(decodeReports(bytesOf({ v: 1, reports: [...wrong, SPAN] })), [SPAN])
  const diverged = bytesOf({ v: 1, reports: [{ ...SPAN, metrics: { loss: Number.NaN } }] })
  t.is(decodeReports(diverged).length, 1)
})

test('every reason for which a frame is refused is told, and so is every suspicion; others are nobody’s', (t) => {
  const dropped = CONTENT_REASONS.map((reason): Report => ({ type: 'dropped', run: 'r', vnode: 'b', reason }))
  const suspected = SUSPICION_REASONS.map((reason): Report => ({
    type: 'suspected',
    run: 'r',
    vnode: 'b',
    producer: 'a',
    pnode: 'ann',
    term: 3,
    step: 7,
    reason,
  }))
  const told = [...dropped, ...suspected]
  t.deepEqual(decodeReports(encodeReports(told)), told)
  const wrong = { reason: 'mood', producer: 1, pnode: null, term: 0.5, step: '7' }
  const broken = Object.entries(wrong).map(([name, value]) => ({ ...suspected[0], [name]: value }))
  t.deepEqual(decodeReports(bytesOf({ v: 1, reports: broken })), [])
})

test('a PNode’s line carries both, each on its channel, until it is closed', async (t) => {
  const { connect } = memoryBroker()
  const [control, ann] = [await connect('control'), await connect('ann')]
  const next = (name: Channel) => {
    const heard = control.subscribe(channel(name), { capacity: 8 })[Symbol.asyncIterator]()
    return async () => (await heard.next()).value as Delivery & { type: 'message' }
  }
  const [nextBeat, nextReport] = [next('heartbeats'), next('metrics')]
  const line = controlLine(ann, fakeClock())
  t.true(await line.heartbeat(BEAT))
  const beat = await nextBeat()
  t.deepEqual(decodeHeartbeat(beat.bytes, beat.from), BEAT)
  line.observe(applied(1))
  line.close()
  const { bytes, from } = await nextReport()
  t.is(from, 'ann')
  t.is(decodeReports(bytes).length, 1, 'what was gathered goes before the end')
  await line.heartbeat(BEAT)
  ann.publish(channel('heartbeats'), bytesOf('last'))
  t.is(text((await nextBeat()).bytes), 'last')
})
