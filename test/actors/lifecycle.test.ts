/** A run from its start to its end, whatever its people do meanwhile. */
import test from 'ava'
import type { RunEvent } from '../../actors/events.js'
import { SOURCE } from '../../components/definition.js'
import { dense, flatten, network, relu } from '../../index.js'
import { local, resume, train } from '../../actors/train.js'
import type { LocalSwarm } from '../../actors/local-swarm.js'
import type { Observation } from '../../actors/reports.js'
import { isSwarmError } from '../../runtime/errors.js'
import { decodeFrame } from '../../runtime/frame.js'
import { readHead } from '../../runtime/head-store.js'
import { memoryBroker } from '../../runtime/tensor-bus/memory-bus.js'
import type { BusConnect, TensorBus } from '../../runtime/tensor-bus/tensor-bus.js'
import { RandomStream } from '../../runtime/random.js'
import { networks, openPools, renamed, undisturbed } from '../support/chaos-run.js'
import { chainsOf, openObjects, TOTAL_STEPS, TRAINING } from '../support/small-runs.js'

const pools = openPools()
test.after.always(() => pools.close())

let expected: Awaited<ReturnType<typeof undisturbed>>
test.before(async () => {
  expected = await undisturbed('branching')
})

const unhandled: unknown[] = []
process.on('unhandledRejection', (error) => unhandled.push(error))
test.after('no rejection was left unhandled', (t) => t.deepEqual(unhandled, []))

const on = local({ pnodes: 2 })
const checkpoint = { everySteps: 7 }
let names = 0
const pool = () => renamed(pools.inline, `life-${++names}-`)

test.serial('paused at any step and resumed, again and again, a run ends with the same hash', async (t) => {
  const { store } = openObjects()
  const stream = new RandomStream(3, 'pauses')
  let run: ReturnType<typeof train> | undefined
  let pauses = 0
  for (let at = 0; ; at += 1 + stream.below(10)) {
    const stop = new AbortController()
    const pauseAt = at
    const options = { on: local({ pnodes: 1 + stream.below(3), window: 1 + stream.below(2) }), store, checkpoint, signal: stop.signal }
    const internals = {
      pool: pool(),
      onObservation: ({ type, ...rest }: { type: string; entry?: { step: number } }) => {
        if (type === 'applied' && rest.entry!.step >= pauseAt) stop.abort()
      },
    }
    run = run ? resume('a', options, internals) : train(networks.branching, TRAINING, options, { ...internals, id: 'a' })
    const { status, steps, hash } = await run.result
    if (status === 'done') {
      t.is(hash, expected.hash)
      break
    }
    t.is(hash, undefined)
    pauses++
    const { head } = await readHead(store, 'a')
    t.like(head, { status: 'paused' })
    t.is(head.manifests[0].step, steps)
  }
  t.true(pauses >= 2)
  t.deepEqual(await chainsOf(store, 'a'), expected.chains)
  const error = await t.throwsAsync(resume('a', { on, store }, { pool: pool() }).result)
  t.true(isSwarmError(error, 'run.changed'))
})

test.serial(
  'a run that is aborted before it is prepared never begins; one that is paused as soon as it is seen goes on later',
  async (t) => {
    const { store } = openObjects()
    const aborted = train(networks.chain, TRAINING, { on, store, signal: AbortSignal.abort() }, { id: 'never', pool: pool() })
    t.true(isSwarmError(await t.throwsAsync(aborted.result), 'aborted'))
    const run = train(networks.chain, TRAINING, { on, store }, { id: 'a', pool: pool() })
    for await (const { type } of run.events()) if (type === 'snapshot') break
    await run.pause()
    t.is((await run.result).status, 'paused')
    t.is((await resume('a', { on, store }, { pool: pool() }).result).hash, (await undisturbed('chain')).hash)
  },
)

test.serial('events start with a snapshot for each of several readers, end with the run, and no reader slows it', async (t) => {
  const { store } = openObjects()
  const run = train(networks.chain, TRAINING, { on, store, checkpoint }, { id: 'a', pool: pool() })
  const read = async (signal?: AbortSignal, until = Infinity) => {
    const seen: RunEvent[] = []
    for await (const event of run.events(signal)) if (seen.push(event) >= until) break
    return seen
  }
  // One that never reads on after its first event.
  const slow = run.events()[Symbol.asyncIterator]()
  const [first, second, short, { value }] = await Promise.all([read(), read(), read(undefined, 1), slow.next()])
  const { hash } = await run.result
  for (const seen of [first, second]) {
    t.is(seen[0].type, 'snapshot')
    t.is(seen.filter(({ type }) => type === 'snapshot').length, 1)
    t.like(seen.at(-1), { type: 'done', hash, steps: TOTAL_STEPS, v: 1, run: 'a' })
    t.is(seen.filter(({ type }) => type === 'evaluated').length, TRAINING.epochs)
    t.true(seen.some(({ type }) => type === 'checkpoint'))
  }
  t.deepEqual(first, second)
  t.deepEqual(
    [...short, value].map(({ type }) => type),
    ['snapshot', 'snapshot'],
  )
  const late = await read()
  t.deepEqual(
    late.map(({ type }) => type),
    ['snapshot'],
  )
  t.like(late[0], { status: 'done', step: TOTAL_STEPS })
  t.deepEqual(
    (await run.history()).map(({ epoch, step }) => [epoch, step]),
    [
      [1, 20],
      [2, 40],
      [3, 60],
    ],
  )
  await slow.return?.()
})

test.serial('a reader that gives up is let go', async (t) => {
  const { store } = openObjects()
  const run = train(networks.chain, TRAINING, { on, store, checkpoint }, { id: 'a', pool: pool() })
  const stop = new AbortController()
  for await (const { type } of run.events(stop.signal)) if (type === 'snapshot') stop.abort()
  t.true(stop.signal.aborted)
  t.is((await run.result).status, 'done')
})

test.serial('no tensor is left in any compute when a run has ended or its VNodes have moved', async (t) => {
  const { store } = openObjects()
  const prefix = 'memory-'
  const computes = ['pnode-1', 'pnode-2'].map((name) => pools.inline.compute(`${prefix}${name}`))
  await computes[0].start()
  const before = await computes[0].memory()
  const kept = {
    compute: (name: string) => ({
      ...forward(pools.inline.compute(`${prefix}${name}`)),
      close: async () => undefined,
      kill: () => undefined,
    }),
    close: async () => undefined,
  }
  const run = train(networks.branching, TRAINING, { on, store, checkpoint }, { id: 'a', pool: kept })
  t.is((await run.result).hash, expected.hash)
  t.deepEqual(await computes[0].memory(), before)
})

/** A compute as a record, whose functions can be replaced. */
function forward(compute: ReturnType<typeof pools.inline.compute>) {
  return {
    start: compute.start.bind(compute),
    load: compute.load.bind(compute),
    apply: compute.apply.bind(compute),
    refine: compute.refine.bind(compute),
    snapshot: compute.snapshot.bind(compute),
    unload: compute.unload.bind(compute),
    memory: compute.memory.bind(compute),
    onLoss: compute.onLoss.bind(compute),
  }
}

test.serial('a worker that is lost while it loads a VNode, and one that is lost while it is measured, are replaced', async (t) => {
  const { store } = openObjects()
  const prefix = `life-${++names}-`
  let loads = 0
  let starts = 0
  const fragile = {
    compute(name: string) {
      const inner = pools.inline.compute(`${prefix}${name}`)
      return {
        ...forward(inner),
        kill: inner.kill.bind(inner),
        close: inner.close.bind(inner),
        start(signal?: AbortSignal) {
          const started = inner.start(signal)
          if (++starts === 1) setImmediate(() => inner.kill('while it is measured'))
          return started
        },
        load(...[id, definition, blob, options]: Parameters<typeof inner.load>) {
          const loaded = inner.load(id, definition, blob, options)
          // The others of this worker are loaded, or wait as this one does.
          if (++loads === 3 || loads === 5) inner.kill('while it loads')
          return loaded
        },
      }
    },
    close: async () => undefined,
  }
  const run = train(networks.branching, TRAINING, { on, store, checkpoint }, { id: 'a', pool: fragile })
  t.is((await run.result).hash, expected.hash)
  t.true(loads > 5)
})

/** A broker whose peer `victim` can be cut off: it goes on, hears nothing, and what it says is handed to `late`. */
function partition(inner: BusConnect): { connect: BusConnect; cut: (victim: string) => void; heal: () => void; readonly held: number } {
  let victim: string | undefined
  const held: { bus: TensorBus; subject: string; bytes: Uint8Array }[] = []
  const connect: BusConnect = async (name) => {
    const bus = await inner(name)
    return {
      publish: (subject, bytes) => (name === victim ? void held.push({ bus, subject, bytes }) : bus.publish(subject, bytes)),
      subscribe: (subject, options) => bus.subscribe(subject, options),
      flush: (signal) => bus.flush(signal),
      drain: (signal) => bus.drain(signal),
      close: () => bus.close(),
      closed: bus.closed,
    }
  }
  return {
    connect,
    cut: (name) => void (victim = name),
    heal() {
      victim = undefined
      for (const { bus, subject, bytes } of held.splice(0)) bus.publish(subject, bytes)
    },
    get held() {
      return held.length
    },
  }
}

test.serial('a host that was cut off and given up speaks again: its older terms change nothing', async (t) => {
  const { store } = openObjects()
  const bus = partition(memoryBroker().connect)
  let swarm: LocalSwarm | undefined
  let state: 'before' | 'cut' | 'healed' = 'before'
  const run = train(
    networks.branching,
    TRAINING,
    { on: local({ pnodes: 2, returnMs: 10 }), store, checkpoint },
    {
      id: 'a',
      pool: pool(),
      connect: bus.connect,
      onSwarm: (started) => (swarm = started),
      onObservation(observation) {
        if (observation.type !== 'applied' || !swarm) return
        if (state === 'before' && observation.entry.step >= 20) {
          state = 'cut'
          const { pnode } = observation
          bus.cut(pnode)
          void swarm.giveUp(pnode)
        } else if (state === 'cut' && observation.entry.step >= 40 && bus.held > 0) {
          state = 'healed'
          bus.heal()
        }
      },
    },
  )
  const { hash, moves, stepsDoubled } = await run.result
  t.is(bus.held, 0)
  t.true(moves > 0)
  t.is(stepsDoubled, 0)
  t.is(hash, expected.hash)
  t.deepEqual(await chainsOf(store, 'a'), expected.chains)
})

test.serial('a forged frame of an older term, of a newer term, of another host or generation is dropped', async (t) => {
  const { store } = openObjects()
  const broker = memoryBroker()
  let swarm: LocalSwarm | undefined
  const forger = await broker.connect('forger')
  const connect: BusConnect = async (name) => {
    const bus = await broker.connect(name)
    return {
      publish(subject, bytes) {
        if (subject.endsWith('.frame') && decodeFrame(bytes).header.vnode !== SOURCE) {
          const wrong = bytes.slice()
          // The last bytes are the labels' or the output's: the checksum no longer holds, and from another host nothing does.
          wrong[wrong.length - 1] ^= 1
          bus.publish(subject, wrong)
          const { header } = decodeFrame(bytes)
          if (header.step % 5 === 0) forger.publish(subject, bytes)
        }
        bus.publish(subject, bytes)
      },
      subscribe: (subject, options) => bus.subscribe(subject, options),
      flush: (signal) => bus.flush(signal),
      drain: (signal) => bus.drain(signal),
      close: () => bus.close(),
      closed: bus.closed,
    }
  }
  const run = train(
    networks.branching,
    TRAINING,
    { on, store, checkpoint },
    { id: 'a', pool: pool(), connect, onSwarm: (started) => (swarm = started) },
  )
  t.is((await run.result).hash, expected.hash)
  t.true(swarm!.monitor.dropped.get('frame.damaged')! > 0)
  t.true(swarm!.monitor.dropped.get('stranger')! > 0)
})

test.serial('a VNode actor that is deactivated costs nothing: what it opened goes on', async (t) => {
  const { store } = openObjects()
  let swarm: LocalSwarm | undefined
  let count = 0
  const run = train(
    networks.branching,
    TRAINING,
    { on, store, checkpoint },
    {
      id: 'a',
      pool: pool(),
      onSwarm: (started) => (swarm = started),
      onObservation(observation) {
        if (observation.type !== 'applied' || !swarm || observation.entry.step < 15 * (count + 1) || count >= 3) return
        count++
        void swarm.deactivate(observation.vnode)
      },
    },
  )
  const { hash, moves } = await run.result
  t.is(hash, expected.hash)
  t.is(count, 3)
  t.is(moves, 0)
  t.deepEqual(await chainsOf(store, 'a'), expected.chains)
})

/** Calls `disturb` each time another 15 steps have been applied somewhere, `times` times, one after the other. */
function every15Steps(times: number, disturb: (swarm: LocalSwarm, pnode: string) => Promise<void>) {
  const disturbed = { count: 0, isBusy: false, swarm: undefined as LocalSwarm | undefined }
  return {
    disturbed,
    onSwarm: (started: LocalSwarm) => void (disturbed.swarm = started),
    onObservation(observation: Observation) {
      const { swarm, isBusy, count } = disturbed
      if (observation.type !== 'applied' || !swarm || isBusy || count >= times || observation.entry.step < 15 * (count + 1)) return
      disturbed.count++
      disturbed.isBusy = true
      void disturb(swarm, observation.pnode).finally(() => (disturbed.isBusy = false))
    },
  }
}

for (const name of ['chain', 'branching'] as const) {
  test.serial(`${name}: a PNode that leaves hands over: nothing is lost, and no step is done again`, async (t) => {
    const { store } = openObjects()
    const { disturbed, ...hooks } = every15Steps(2, (swarm, pnode) => swarm.drain(pnode))
    const run = train(networks[name], TRAINING, { on: local({ pnodes: 4 }), store, checkpoint }, { id: 'a', pool: pool(), ...hooks })
    const { hash, moves, stepsReplayed, stepsLost, stepsDoubled } = await run.result
    t.is(hash, (await undisturbed(name)).hash)
    t.true(disturbed.count >= 1)
    t.true(moves >= 1)
    t.deepEqual({ stepsReplayed, stepsLost, stepsDoubled }, { stepsReplayed: 0, stepsLost: 0, stepsDoubled: 0 })
    t.is((await readHead(store, 'a')).head.generation, 1)
  })
}

test.serial('control that forgets everything goes on from the store, in the same generation', async (t) => {
  const { store } = openObjects()
  const { disturbed, ...hooks } = every15Steps(3, (swarm) => swarm.restartControl())
  const run = train(networks.branching, TRAINING, { on, store, checkpoint }, { id: 'a', pool: pool(), ...hooks })
  t.is((await run.result).hash, expected.hash)
  t.is(disturbed.count, 3)
  const { head } = await readHead(store, 'a')
  t.is(head.generation, 1)
  t.true(head.writer > 3)
  t.deepEqual(await chainsOf(store, 'a'), expected.chains)
})

test.serial('a PNode that is lost while control is being restarted is missed at the roll call', async (t) => {
  const { store } = openObjects()
  const { disturbed, ...hooks } = every15Steps(1, async (swarm, pnode) => {
    const restarted = swarm.restartControl()
    await swarm.killPNode(pnode)
    await restarted
  })
  const membership = { heartbeatMs: 50, suspectMs: 200, lostMs: 500 }
  const run = train(
    networks.branching,
    TRAINING,
    { on: local({ pnodes: 3, membership, returnMs: Infinity }), store, checkpoint },
    { id: 'a', pool: pool(), ...hooks },
  )
  const { hash, moves } = await run.result
  t.is(hash, expected.hash)
  t.is(disturbed.count, 1)
  t.true(moves >= 1)
})

test.serial('a PNode that joins in the middle takes over what makes the longest stage shorter, and no step is done again', async (t) => {
  const { store } = openObjects()
  const { disturbed: _disturbed, ...hooks } = every15Steps(1, (swarm) => swarm.add('newcomer'))
  const even = network(networks.chain, [flatten(), dense(16), relu(), dense(784), relu(), dense(16)])
  const training = { ...TRAINING, epochs: 6 }
  const run = train(even, training, { on: local({ pnodes: 1 }), store, checkpoint }, { id: 'a', pool: pool(), ...hooks })
  const quiet = train(even, training, { on, store: openObjects().store }, { id: 'a', pool: pool() })
  const { hash, moves, stepsReplayed, stepsLost, stepsDoubled } = await run.result
  t.is(hash, (await quiet.result).hash)
  t.true(moves >= 1)
  t.deepEqual({ stepsReplayed, stepsLost, stepsDoubled }, { stepsReplayed: 0, stepsLost: 0, stepsDoubled: 0 })
  t.true(Object.values((await readHead(store, 'a')).head.directory).some(({ pnode }) => pnode === 'newcomer'))
})
