/** Sources that send something else than the data set: somebody else makes all that they have sent again, and the run goes back before it. */
import test, { type ExecutionContext } from 'ava'
import type { Commit } from '../../actors/reports.js'
import type { Adversary } from '../../adversaries/adversaries.js'
import { SOURCE } from '../../components/definition.js'
import type { Json } from '../../runtime/actor-system/actor-system.js'
import { batchDigest } from '../../runtime/batch-digest.js'
import { decodeFrame, encodeFrame } from '../../runtime/frame.js'
import { LogRoot } from '../../runtime/log-root.js'
import type { TensorBus } from '../../runtime/tensor-bus/tensor-bus.js'
import { wrapBus } from '../support/broken-buses.js'
import { openPools } from '../support/chaos-run.js'
import { type Arrangement, ended as endedBeside } from './beside-liars.js'

const pools = openPools()
test.after.always(() => pools.close())
const ended = (arrangement: Arrangement) => endedBeside(pools, { ...arrangement, options: { audits: 1, ...arrangement.options } })

/** On probation all segments are audited. */
const PROVEN = Array.from({ length: 6 }, (_, i) => `pnode-${i + 1}`)
const FEW = { audits: 0.03 }

let honest: string | undefined
test.before(async () => {
  honest = (await ended({ pnodes: 2, options: { audits: 0 } })).hash
})

/** Where the source is if nobody lies, who has made again what it has sent, and how many checkpoints there were. */
async function ofSource(t: ExecutionContext, arrangement: Arrangement) {
  const { hash, head, events } = await ended(arrangement)
  t.is(hash, honest)
  t.is(head.excluded, undefined)
  t.is(head.audits, undefined)
  const seen = events.flatMap((event) => (event.type === 'audited' && event.vnode === SOURCE ? [event] : []))
  return { pnode: head.directory[SOURCE].pnode, seen, checkpoints: events.filter(({ type }) => type === 'checkpoint').length }
}

async function isConvicted(t: ExecutionContext, arrangement: Arrangement, by: 'arbiter' | 'panel') {
  const { pnode } = await ofSource(t, arrangement)
  t.false(arrangement.trusted?.includes(pnode) ?? false)
  const { hash, head, events, evidence } = await ended({ ...arrangement, liars: { [pnode]: 'poisoned-source' } })
  t.is(hash, honest)
  t.deepEqual(head.excluded, [pnode])
  t.is(head.audits, undefined)
  const convictions = events.flatMap((event) => (event.type === 'convicted' ? [event] : []))
  t.deepEqual(
    convictions.map((event) => [event.vnode, event.pnode, event.for, event.by]),
    [[SOURCE, pnode, 'claim', by]],
  )
  t.is(evidence.length, 1)
  // Its first segment was the first one.
  const back = events.find((event) => event.type === 'rolledBack')
  t.is(back?.type === 'rolledBack' && back.step, 0)
}

test.serial('a poisoned source is out by the word of an arbiter, and the same hash', (t) =>
  isConvicted(t, { pnodes: 5, trusted: ['pnode-5'] }, 'arbiter'),
)

test.serial('so it is where hardly anything else is audited', (t) =>
  isConvicted(t, { pnodes: 5, trusted: ['pnode-5'], proven: PROVEN, options: FEW }, 'arbiter'),
)

test.serial('so it is by a panel, where nobody is trusted', (t) => isConvicted(t, { pnodes: 6, proven: PROVEN, options: FEW }, 'panel'))

test.serial('so it is where all who follow have agreed on what it has sent', (t) =>
  isConvicted(t, { pnodes: 6, trusted: ['pnode-6'], proven: PROVEN, options: { ...FEW, redundancy: 2 } }, 'arbiter'),
)

/** It sends its readers something else than it says, and the first of them, which it is itself, says that it has read what is right. */
function twoFaced(pnode: string) {
  const right = new LogRoot({ producer: SOURCE, kind: 'output', isOfSource: true }, 0)
  let next = 1
  const publish = (bus: TensorBus, subject: string, bytes: Uint8Array) => {
    if (!subject.endsWith('.frame')) return bus.publish(subject, bytes)
    const frame = decodeFrame(bytes)
    const { vnode, position } = frame.header
    if (vnode !== SOURCE) return bus.publish(subject, bytes)
    if (position === next) right.add(next++, bytes)
    const labels = { ...frame.labels, bytes: frame.labels.bytes.slice() }
    const values = new Int32Array(labels.bytes.buffer)
    for (let i = 0; i < values.length; i++) values[i] = (values[i] + 1) % 10
    bus.publish(subject, encodeFrame({ ...frame, labels, batch: batchDigest(frame.output, labels.bytes) }, true))
  }
  const disguise: Adversary = (honest) => ({
    ...honest,
    bus: { ...wrapBus(honest.bus), publish: (subject, bytes) => publish(honest.bus, subject, bytes) },
  })
  const speech: Arrangement['speech'] = (who, honest) => ({
    register: (definition) => honest.register(definition),
    unregister: (type) => honest.unregister(type),
    deactivate: (target) => honest.deactivate(target),
    start: () => honest.start(),
    close: () => honest.close(),
    call(target, method, argument, options) {
      const commit = argument as unknown as Commit
      const root = who === pnode && method === 'committed' && commit.roots && SOURCE in commit.roots.inputs && right.at(commit.position)
      const roots = root && { ...commit.roots, inputs: { ...commit.roots?.inputs, [SOURCE]: root } }
      return honest.call(target, method, (roots ? { ...commit, roots } : argument) as Json, options)
    },
  })
  return { disguised: { [pnode]: disguise }, speech }
}

test.serial('what it sends and what its first reader says that it was differ: an arbiter that reads it knows', async (t) => {
  const arrangement = { pnodes: 5, trusted: ['pnode-5'] }
  const { pnode } = await ofSource(t, arrangement)
  const { hash, head, events } = await ended({ ...arrangement, ...twoFaced(pnode) })
  t.is(hash, honest)
  t.deepEqual(head.excluded, [pnode])
  t.true(events.some((event) => event.type === 'convicted' && event.pnode === pnode && event.vnode !== SOURCE && event.by === 'arbiter'))
})

test.serial('all that an honest source sends is made again by somebody else, a trusted one if there is one', async (t) => {
  const options = { pnodes: 4, proven: PROVEN, options: FEW }
  const { pnode, seen, checkpoints } = await ofSource(t, options)
  t.is(seen.length, checkpoints)
  for (const { by } of seen) t.false(by.length === 0 || by.includes(pnode))
  const beside = await ofSource(t, { ...options, trusted: ['pnode-4'] })
  // While it is still at the one before, somebody else is asked.
  const [first] = beside.seen.toSorted((a, b) => a.step - b.step)
  t.deepEqual(first.by, ['pnode-4'])
  for (const { by } of beside.seen) t.false(by.length === 0 || by.includes(beside.pnode))
  t.is(beside.seen.length, beside.checkpoints)
})

test.serial('a source on a trusted host is believed', async (t) => {
  const { pnode, seen, checkpoints } = await ofSource(t, { pnodes: 4, trusted: ['pnode-1'], proven: PROVEN, options: FEW })
  t.is(pnode, 'pnode-1')
  t.true(checkpoints > 0)
  t.deepEqual(seen, [])
})

test.serial('who says of an honest source that it lies is out by a panel', async (t) => {
  const arrangement = { pnodes: 4, proven: PROVEN, options: { ...FEW, checkpoint: { everySteps: 3 } } }
  const { pnode } = await ofSource(t, arrangement)
  const liar = PROVEN.slice(0, 4).findLast((each) => each !== pnode)!
  // Of twenty segments it is asked about none once in three thousand runs.
  for (let tries = 1; tries <= 3; tries++) {
    const { hash, head, events } = await ended({ ...arrangement, liars: { [liar]: 'poisoned-source' } })
    t.is(hash, honest)
    if (!head.excluded) continue
    t.deepEqual(head.excluded, [liar])
    t.true(events.some((event) => event.type === 'convicted' && event.pnode === liar && event.for === 'slander' && event.by === 'panel'))
    return
  }
  t.fail('it was never asked')
})

test.serial('one PNode alone can have its source audited by nobody: it is said, and the run ends', async (t) => {
  const { hash, head, events } = await ended({ pnodes: 1, proven: PROVEN, options: { audits: 1e-9 } })
  t.is(hash, honest)
  t.deepEqual(head.unverified, { 'pnode-1': 0 })
  t.true(events.some((event) => event.type === 'unaudited' && event.vnode === SOURCE))
})
