/** Hosts that lie in what they report: they gain nothing by it, no honest host is convicted, and the run ends with the hash of an honest one. */
import test from 'ava'
import type { RunEvent } from '../../actors/events.js'
import type { Seams } from '../../actors/pnode/seams.js'
import { local, type RunOptions, train } from '../../actors/train.js'
import type { Network } from '../../components/network.js'
import { readHead } from '../../runtime/head-store.js'
import type { ObjectStore } from '../../runtime/object-store/object-store.js'
import { decodeFrame, encodeFrame, MARK } from '../../runtime/frame.js'
import type { TensorBus } from '../../runtime/tensor-bus/tensor-bus.js'
import { wrapBus } from '../support/broken-buses.js'
import { openPools, renamed } from '../support/chaos-run.js'
import { branching, chain, openObjects, TRAINING } from '../support/small-runs.js'
import { type Adversary, ADVERSARIES } from '../../adversaries/adversaries.js'
import { measuredAlike } from './measured-alike.js'
import { FALSE_REPORTS, type FalseReport } from './false-reports.js'

const pools = openPools()
test.after.always(() => pools.close())
let names = 0
const EVERY_STEPS = 10
const OTHERS: readonly string[] = ['pnode-3', 'pnode-4', 'pnode-5', 'pnode-6']

interface Arrangement {
  readonly net?: Network
  readonly pnodes: number
  /** What they report. */
  readonly liars?: { readonly [pnode: string]: FalseReport }
  /** What their seams are. */
  readonly disguised?: { readonly [pnode: string]: Adversary }
  /** PNodes whose word settles disputes. */
  readonly trusted?: readonly string[]
  readonly options?: RunOptions
}

async function ended({ net = branching, pnodes, liars = {}, disguised = {}, trusted = [], options }: Arrangement) {
  const { store } = openObjects()
  const id = `reported-${++names}`
  const on = local({
    pnodes,
    membership: { rateMs: 1e9, standstillMs: 1_000, isTrusted: (pnode) => trusted.includes(pnode) },
  })
  let droppedBy: ReadonlyMap<string, number> = new Map()
  const run = train(
    net,
    TRAINING,
    { on, store, checkpoint: { everySteps: EVERY_STEPS }, redundancy: 2, ...options },
    {
      id,
      onSwarm: ({ monitor }) => (droppedBy = monitor.dropped),
      pool: renamed(pools.inline, `${id}-`),
      disguise: (pnode, honest) => (disguised[pnode] ?? ((seams: Seams) => seams))(measuredAlike(honest)),
      speech: (pnode, honest) => (pnode in liars ? FALSE_REPORTS[liars[pnode]](honest) : honest),
    },
  )
  const events: RunEvent[] = []
  void (async () => {
    for await (const event of run.events()) events.push(event)
  })()
  const { hash } = await run.result
  const { head } = await readHead(store, id)
  const history = await run.history()
  const dropped = (reason: string) => droppedBy.get(reason) ?? 0
  return { hash, head, events, history, dropped, rollbacks: events.filter(({ type }) => type === 'rolledBack').length }
}

const honest = new Map<Network, Awaited<ReturnType<typeof ended>>>()
test.before(async () => {
  for (const net of [branching, chain]) honest.set(net, await ended({ net, pnodes: 2, options: { redundancy: 1 } }))
})

for (const name of ['takes its word back', 'mends its word'] as const) {
  test.serial(`who ${name} gains nothing: the first word counts`, async (t) => {
    const { hash, head } = await ended({ pnodes: 5, liars: { 'pnode-2': name }, trusted: ['pnode-5'] })
    t.is(hash, honest.get(branching)!.hash)
    for (const pnode of head.excluded ?? []) t.is(pnode, 'pnode-2')
  })
}

test.serial('who says something of every step there is gains nothing, and fills no memory', async (t) => {
  const { hash, head, dropped } = await ended({ pnodes: 5, liars: { 'pnode-2': 'knows everything' } })
  t.is(hash, honest.get(branching)!.hash)
  t.is(head.excluded, undefined)
  t.true(dropped('odd commit') >= 300)
})

test.serial('who says of its states that they are of another compute class is not heard, and loses its VNodes', async (t) => {
  const { hash, head, dropped } = await ended({ net: chain, pnodes: 4, liars: { 'pnode-2': 'of another class' } })
  t.is(hash, honest.get(chain)!.hash)
  t.is(head.excluded, undefined)
  t.true(dropped('odd commit') > 0)
})

test.serial(
  'who says again and again that it was misfed gets nothing more: the run does not go back for ever, nor is anybody convicted',
  async (t) => {
    const { hash, head, rollbacks } = await ended({ pnodes: 6, liars: { 'pnode-2': 'says that it was misfed' } })
    t.is(hash, honest.get(branching)!.hash)
    t.is(head.excluded, undefined)
    t.true(rollbacks > 0 && rollbacks < 10, `${rollbacks} rollbacks`)
  },
)

test.serial('who says that a PNode that is trusted has misfed it is convicted, and so is who misfeeds one', async (t) => {
  const { hash, head, events } = await ended({
    pnodes: 5,
    liars: { 'pnode-2': 'says that it was misfed' },
    trusted: ['pnode-1', 'pnode-3', 'pnode-4'],
  })
  t.is(hash, honest.get(branching)!.hash)
  t.deepEqual(head.excluded, ['pnode-2'])
  t.true(events.some((event) => event.type === 'convicted' && event.pnode === 'pnode-2' && event.by === 'arbiter'))
})

for (const name of ['never commits', 'never evaluates'] as const) {
  test.serial(`where somebody ${name} the run goes on all the same`, async (t) => {
    const { hash, head, events, history } = await ended({ net: chain, pnodes: 4, liars: { 'pnode-2': name } })
    t.is(hash, honest.get(chain)!.hash)
    t.is(head.excluded, undefined)
    t.deepEqual(history, honest.get(chain)!.history)
    t.true(events.some((event) => event.type === 'lost' && event.pnode === 'pnode-2' && event.reason.includes('says nothing of')))
  })
}

test.serial('what heads have answered counts when so many agree on it; who says something else has no part in the run', async (t) => {
  for (const arranged of [{ pnodes: 5, trusted: ['pnode-5'] }, { pnodes: 4 }]) {
    const { hash, head, history } = await ended({ net: chain, liars: { 'pnode-2': 'boasts of its evaluations' }, ...arranged })
    t.is(hash, honest.get(chain)!.hash)
    t.deepEqual(history, honest.get(chain)!.history)
    t.deepEqual(head.excluded, ['pnode-2'])
  }
})

test.serial('who takes the mark of a cut away so that nobody behind it knows of it has to leave what it has', async (t) => {
  const { hash, head, events } = await ended({ net: chain, pnodes: 4, disguised: { 'pnode-2': withoutCuts } })
  t.is(hash, honest.get(chain)!.hash)
  t.is(head.excluded, undefined)
  t.true(events.some((event) => event.type === 'rolledBack' && event.reason.includes('says nothing of')))
})

for (const name of ['fails beyond the end', 'fails far ahead'] as const) {
  test.serial(`who says that it ${name} is not asked for long, and not believed`, async (t) => {
    const { hash, head } = await ended({ net: chain, pnodes: 4, liars: { 'pnode-2': name } })
    t.is(hash, honest.get(chain)!.hash)
    t.is(head.excluded, undefined)
  })
}

test.serial('who makes others fail, and answers nothing when it is asked what it has sent', async (t) => {
  const { hash, head } = await ended({
    pnodes: 6,
    liars: { 'pnode-2': 'answers nothing' },
    disguised: { 'pnode-2': ADVERSARIES['nan-bomber'] },
  })
  t.is(hash, honest.get(branching)!.hash)
  for (const pnode of head.excluded ?? []) t.is(pnode, 'pnode-2')
})

test.serial('who sends others what they fail at, and something else is in its log: they say what they have read', async (t) => {
  const { hash, head, rollbacks } = await ended({ pnodes: 6, disguised: { 'pnode-2': equivocating(OTHERS, 1e60) } })
  t.is(hash, honest.get(branching)!.hash)
  t.is(head.excluded, undefined)
  t.true(rollbacks > 0 && rollbacks < 10, `${rollbacks} rollbacks`)
})

/** Numbers so large that the product of two is none. */
const MOST = 3e38

function withOtherOutput(bytes: Uint8Array, factor: number): Uint8Array {
  const frame = decodeFrame(bytes)
  const output = { ...frame.output, bytes: frame.output.bytes.slice() }
  const values = new Float32Array(output.bytes.buffer)
  for (let i = 0; i < values.length; i++) values[i] = Math.max(-MOST, Math.min(MOST, values[i] * factor))
  return encodeFrame({ ...frame, output }, true)
}

/** A host that sends these PNodes something else than it logs. */
const equivocating =
  (to: readonly string[], factor: number): Adversary =>
  (seams) => {
    const { bus } = seams
    const publish: TensorBus['publish'] = (subject, bytes) => {
      const isFor = to.some((pnode) => subject.includes(`.to.${pnode}.`)) && subject.endsWith('.frame')
      return bus.publish(subject, isFor ? withOtherOutput(bytes, factor) : bytes)
    }
    return { ...seams, bus: { ...wrapBus(bus), publish } }
  }

test.serial('who sends its readers something else than it logs gets nothing more, and none of them is convicted', async (t) => {
  const { hash, head, rollbacks } = await ended({
    pnodes: 6,
    disguised: { 'pnode-2': equivocating(OTHERS, 1.5) },
  })
  t.is(hash, honest.get(branching)!.hash)
  t.is(head.excluded, undefined)
  t.true(rollbacks > 0 && rollbacks < 10, `${rollbacks} rollbacks`)
})

/** A host whose frames do not say that there is a cut. */
const withoutCuts: Adversary = (seams) => {
  const { bus } = seams
  const publish: TensorBus['publish'] = (subject, bytes) => bus.publish(subject, subject.endsWith('.frame') ? withoutCut(bytes) : bytes)
  return { ...seams, bus: { ...wrapBus(bus), publish } }
}

function withoutCut(bytes: Uint8Array): Uint8Array {
  const frame = decodeFrame(bytes)
  return encodeFrame({ ...frame, header: { ...frame.header, marks: frame.header.marks & ~MARK.cut } }, true)
}

/** A host that keeps the states of its VNodes for itself, and says that they are stored. */
const hoarding: Adversary = (seams) => {
  const { store } = seams
  const put: ObjectStore['put'] = async (key, bytes, putting) =>
    key.includes('/blobs/') ? { etag: 'none' } : store.put(key, bytes, putting)
  const hoarded: ObjectStore = {
    put,
    get: (key, reading) => store.get(key, reading),
    delete: (key, deleting) => store.delete(key, deleting),
    list: (prefix, listing) => store.list(prefix, listing),
    close: () => store.close(),
  }
  return { ...seams, store: hoarded }
}

test.serial('a state that was committed and not stored is no part of a checkpoint: its VNode moves', async (t) => {
  const { hash, head, events } = await ended({ pnodes: 5, disguised: { 'pnode-2': hoarding } })
  t.is(hash, honest.get(branching)!.hash)
  t.is(head.excluded, undefined)
  t.true(events.some((event) => event.type === 'lost' && event.pnode === 'pnode-2' && event.reason.includes('is not in the store')))
})
