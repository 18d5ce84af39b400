/** A step that fails wherever it is tried is given up, for good and everywhere alike; one that fails on one host alone is not. */
import test from 'ava'
import { readDeadLetters } from '../../actors/run/dead-letters.js'
import type { RunEvent } from '../../actors/events.js'
import type { LocalSwarm } from '../../actors/local-swarm.js'
import { type Internals, local, resume, type RunOptions, train } from '../../actors/train.js'
import { diffRuns, verifyRun } from '../../actors/verify.js'
import { block, dense, flatten, leakyRelu, network, categorical } from '../../index.js'
import { computePool } from '../../runtime/compute/thread-compute.js'
import { isSwarmError, SwarmError } from '../../runtime/errors.js'
import { keys } from '../../runtime/head.js'
import { readHead } from '../../runtime/head-store.js'
import type { ObjectStore } from '../../runtime/object-store/object-store.js'
import { RandomStream } from '../../runtime/random.js'
import { failing } from '../support/chained-block.js'
import { MACHINES, openPools, renamed } from '../support/chaos-run.js'
import { faultyPool, POISONED, poisonedNetwork, poisonFile } from '../support/poisoned-runs.js'
import { chainsOf, openObjects, TRAINING, watchedStore } from '../support/small-runs.js'

const pools = openPools()
test.after.always(() => pools.close())

const unhandled: unknown[] = []
process.on('unhandledRejection', (error) => unhandled.push(error))
test.after('no rejection was left unhandled', (t) => t.deepEqual(unhandled, []))

const on = local({ pnodes: 2, returnMs: 20 })
const checkpoint = { everySteps: 7 }
let names = 0
const pool = () => renamed(pools.inline, `poison-${++names}-`)
const task = { input: [28, 28, 1], target: categorical(10) } as const

type Poison = Parameters<typeof poisonedNetwork>[0]

/** A run of the poisoned network that is done, and what is left of it. */
async function done(poison: Poison, options: RunOptions & { store?: ObjectStore } = {}, internals: Internals = {}) {
  const store = options.store ?? openObjects().store
  const run = train(poisonedNetwork(poison), TRAINING, { on, checkpoint, ...options, store }, { id: 'a', pool: pool(), ...internals })
  const events: RunEvent[] = []
  const watching = (async () => {
    for await (const event of run.events()) events.push(event)
  })()
  const result = await run.result
  await watching
  return { store, result, events, chains: await chainsOf(store, 'a'), letters: await readDeadLetters(store, 'a') }
}

const AT = 23
let expected: Awaited<ReturnType<typeof done>>
let whole: Awaited<ReturnType<typeof done>>
let poison: Poison
let bait: Awaited<ReturnType<typeof poisonFile>>
test.after.always(() => bait.remove())
test.before(async () => {
  bait = await poisonFile()
  const { file } = bait
  poison = { at: [AT], file }
  expected = await done(poison)
  whole = await done({ ...poison, file: `${file}-not-there` })
})

test.serial('the step ends in the dead letters with its reason, and the run goes on without it', async (t) => {
  const { letters, result, events, store } = expected
  t.is(letters.length, 1)
  const [letter] = letters
  t.like(letter, { vnode: POISONED.poisoned, step: AT, evaluation: 0, generation: 1, error: { code: 'compute.failed' } })
  t.regex(letter.error.message, /threw at step 23: on purpose/)
  t.regex(letter.batch, /^[0-9a-f]{64}$/)
  t.is(new Set(letter.attempts.map(({ pnode }) => pnode)).size, 2)
  const { head } = await readHead(store, 'a')
  t.like(head, { generation: 2, skips: [{ vnode: letter.vnode, position: letter.position, step: AT, evaluation: 0 }] })
  t.is(events.filter(({ type }) => type === 'deadLettered').length, 1)
  t.like(result, { status: 'done', deadLetters: 1, stepsLost: 0, stepsDoubled: 0 })
  t.is(whole.result.deadLetters, 0)
})

test.serial('what comes after it leaves its state as it is, what comes before and beside it does not', (t) => {
  for (const vnode of [POISONED.first, POISONED.beside]) t.is(expected.chains[vnode], whole.chains[vnode], vnode)
  for (const vnode of [POISONED.poisoned, POISONED.joined, POISONED.last]) t.not(expected.chains[vnode], whole.chains[vnode], vnode)
})

for (const [pnodes, window, everySteps] of [
  [1, 1, 1],
  [4, 8, 5],
  [3, 2, 60],
] as const) {
  test.serial(`the same hash on ${pnodes} PNodes with a window of ${window} and a cut every ${everySteps} steps`, async (t) => {
    const { result, letters } = await done(poison, { on: local({ pnodes, window, returnMs: 20 }), checkpoint: { everySteps } })
    t.is(result.hash, expected.result.hash)
    t.is(letters.length, 1)
    // Where there is nobody else, it is tried five times.
    if (pnodes === 1) t.is(letters[0].attempts.length, 5)
  })
}

for (const seed of [1, 2, 3, 4]) {
  test.serial(`the same hash, whatever is killed around it, seed ${seed}`, async (t) => {
    const stream = new RandomStream(seed, 'kills')
    const left = Array.from({ length: 6 }, () => AT - 5 + stream.below(12)).toSorted((a, b) => a - b)
    let swarm: LocalSwarm | undefined
    const strike = () => {
      const candidates = swarm!.busyPNodes
      if (candidates.length === 0) return
      const victim = candidates[stream.below(candidates.length)]
      if (stream.below(3) === 0) void swarm!.restartControl().catch(() => undefined)
      else if (stream.below(2) === 0) swarm!.killWorker(victim)
      else swarm!.killPNode(victim).catch(() => undefined)
    }
    const { result } = await done(
      poison,
      { on: local({ pnodes: 3, returnMs: 20, window: 1 + stream.below(4) }), checkpoint: { everySteps: 3 } },
      {
        onSwarm: (started) => (swarm = started),
        onObservation(observation) {
          if (observation.type !== 'applied' || observation.entry.step < (left[0] ?? Infinity)) return
          left.shift()
          setImmediate(strike)
        },
      },
    )
    t.is(result.hash, expected.result.hash)
  })
}

test.serial('a replay skips what the run has skipped, even if it would work now; a run without it differs there', async (t) => {
  const other = await poisonFile()
  const { file } = other
  const { store, result } = await done({ ...poison, file })
  await other.remove()
  t.is((await verifyRun(store, 'a', { threads: false })).difference, undefined)
  const again = await train(poisonedNetwork({ ...poison, file }), TRAINING, { on, store, checkpoint }, { id: 'b', pool: pool() }).result
  t.not(again.hash, result.hash)
  t.like(await diffRuns(store, 'b', 'a'), { run: 'a', step: AT, vnode: POISONED.poisoned, tensor: 'output', got: 'skipped' })
})

test.serial('a run that goes back behind what it has skipped skips it again', async (t) => {
  const { store } = openObjects()
  const stop = new AbortController()
  const onObservation: Internals['onObservation'] = (observation) => {
    if (observation.type === 'applied' && observation.entry.step > AT + 2 && observation.vnode === POISONED.last) stop.abort()
  }
  const slow = { on: local({ pnodes: 2, window: 1 }), store, checkpoint, signal: stop.signal }
  const first = train(poisonedNetwork(poison), TRAINING, slow, { id: 'a', pool: pool(), onObservation })
  t.is((await first.result).status, 'paused')
  // Every checkpoint after the step is damaged: it goes back behind it.
  const { head } = await readHead(store, 'a')
  for (const { key, step } of head.manifests) if (step > AT) await store.put(key, Uint8Array.of(0))
  const { hash, deadLetters } = await resume('a', { on, store, checkpoint }, { pool: pool() }).result
  t.deepEqual([hash, deadLetters], [expected.result.hash, 1])
})

test.serial('what fails on one host alone is not poison: the VNode moves, and nothing is skipped', async (t) => {
  let failures = 0
  const isBad = (name: string, { step, header }: { step: number; header: { vnode: string } }) => {
    const isBadNow = name.endsWith('pnode-1') && header.vnode === POISONED.poisoned && step === AT
    if (isBadNow) failures++
    return isBadNow
  }
  const network = { ...poison, file: `${poison.file}-not-there` }
  // It is on the bad host when it gets there, whoever it was given to at first.
  let swarm: LocalSwarm | undefined
  let kills = 0
  const { result, letters } = await done(
    network,
    { on, checkpoint: { everySteps: 3 } },
    {
      pool: faultyPool(pool(), isBad),
      onSwarm: (started) => (swarm = started),
      onObservation(observation) {
        if (observation.type !== 'applied' || observation.vnode !== POISONED.poisoned || observation.entry.step !== AT - 5) return
        // Even if it comes back to the bad one oftener than a step is tried on one host.
        if (observation.pnode === 'pnode-2' && ++kills <= 6) setImmediate(() => swarm?.killWorker('pnode-2'))
      },
    },
  )
  t.true(failures > 5)
  t.deepEqual([letters, result.hash, result.deadLetters], [[], whole.result.hash, 0])
})

test.serial(
  'a step that one host could do, and others have seen the output of, may still be given up: everybody goes back behind it',
  async (t) => {
    let able: string | undefined
    let swarm: LocalSwarm | undefined
    const isBad = (name: string, { step, evaluation, header }: { step: number; evaluation: number; header: { vnode: string } }) => {
      if (header.vnode !== POISONED.poisoned || step !== AT || evaluation > 0) return false
      able ??= name
      return name !== able
    }
    let hasSeen = false
    const { result, letters, store } = await done(
      { ...poison, file: `${poison.file}-not-there` },
      { on: local({ pnodes: 3, returnMs: Infinity }), checkpoint: { everySteps: 15 } },
      {
        pool: faultyPool(pool(), isBad),
        onSwarm: (started) => (swarm = started),
        onObservation(observation) {
          if (observation.type !== 'applied' || observation.vnode !== POISONED.last || observation.entry.step !== AT || hasSeen) return
          hasSeen = true
          void swarm!.killPNode(able!.slice(able!.indexOf('pnode-')))
        },
      },
    )
    t.true(hasSeen)
    t.deepEqual([letters.length, result.hash], [1, expected.result.hash])
    t.is((await verifyRun(store, 'a', { threads: false })).difference, undefined)
  },
)

test.serial('an evaluation batch may be poison too: it is missing in the metrics of what reads it, and in nothing else', async (t) => {
  const { result, letters, store } = await done({ ...poison, at: [20], evaluation: true })
  // Two batches, of which each fails.
  t.deepEqual(
    letters.map(({ step, evaluation, vnode }) => [step, evaluation, vnode]),
    [1, 2].map((evaluation) => [20, evaluation, POISONED.poisoned]),
  )
  t.is(result.hash, whole.result.hash)
  const rows = await resume('a', { on, store }).history()
  const counts = rows[0].vnodes.map(({ vnode, metrics }) => [vnode, metrics.count])
  const { poisoned, joined, last } = POISONED
  t.deepEqual(
    counts,
    counts.map(([vnode]) => [vnode, [poisoned, joined, last].includes(vnode as never) ? 0 : 64]),
  )
  t.is(rows[1].metrics.count, 64)
})

test.serial('more dead letters than the run may have end it, with an error that names them; with a higher limit it goes on', async (t) => {
  const { store } = openObjects()
  const many = { ...poison, at: [5, 9, 14] }
  const run = train(poisonedNetwork(many), TRAINING, { on, store, checkpoint, maxDeadLetters: 2 }, { id: 'a', pool: pool() })
  const error = await t.throwsAsync(run.result)
  t.true(isSwarmError(error, 'run.poisoned'), error?.message)
  for (const step of many.at) t.regex(error.message, new RegExp(`step ${step} of ${POISONED.poisoned}`))
  t.is((await readDeadLetters(store, 'a')).length, 2)
  const { status, deadLetters, hash } = await resume('a', { on, store, checkpoint, maxDeadLetters: 3 }, { pool: pool() }).result
  t.deepEqual([status, deadLetters], ['done', 3])
  t.is(hash, (await done(many)).result.hash)
})

test.serial('the owner of the run is lost at every write that gives the step up: the same hash', async (t) => {
  for (const when of ['before', 'after'] as const) {
    let swarm: LocalSwarm | undefined
    let restarts = 0
    const watched = watchedStore(openObjects().store, async (key, at) => {
      const isIt = key.includes('/dead-letters/') || (key === keys.head('a') && swarm?.monitor.status === 'running' && restarts > 0)
      if (!isIt || at !== when || restarts >= 2) return
      restarts++
      void swarm?.restartControl().catch(() => undefined)
    })
    const { result } = await done(poison, { store: watched }, { onSwarm: (started) => (swarm = started) })
    t.true(restarts > 0)
    t.is(result.hash, expected.result.hash)
  }
})

test.serial('a store that fails while the step is given up is tried again: no skip is without its letter', async (t) => {
  const failures = new Map<string, number>()
  const watched = watchedStore(openObjects().store, (key, when) => {
    const part = ['/dead-letters/', '/head'].find((name) => key.includes(name))
    const count = failures.get(part ?? '') ?? 0
    // The head is written before and after; what fails is the write that comes next to the letter's.
    if (when !== 'before' || part === undefined || count >= 2 || (part === '/head' && failures.size === 0)) return
    failures.set(part, count + 1)
    throw new SwarmError('store.unavailable', { what: 'on purpose', retryable: true })
  })
  const { result, letters } = await done(poison, { store: watched })
  t.deepEqual(
    [...failures],
    [
      ['/dead-letters/', 2],
      ['/head', 2],
    ],
  )
  t.deepEqual([result.hash, letters.length], [expected.result.hash, 1])
})

for (const [how, code] of [
  ['exits', 'compute.lost'],
  ['hangs', 'compute.hung'],
] as const) {
  test.serial(`a step that ${how} its worker is given up after two PNodes, and nobody else is blamed for it`, async (t) => {
    t.timeout(90_000)
    const { store } = openObjects()
    const threads = computePool({ machines: MACHINES, deadlineMs: how === 'hangs' ? 1_500 : 60_000, spares: 2 })
    t.teardown(() => threads.close())
    const net = network(task, [block(flatten(), dense(8), leakyRelu()), block(failing({ how, at: 20 }), dense(8), leakyRelu())])
    const { status, deadLetters } = await train(net, TRAINING, { on, store, checkpoint }, { id: 'a', pool: threads }).result
    t.deepEqual([status, deadLetters], ['done', 1])
    const [letter] = await readDeadLetters(store, 'a')
    t.like(letter, { vnode: 'dense-2', step: 20, error: { code } })
    t.is(letter.attempts.length, 2)
  })
}
