/** A run that cannot go on ends with one clear error, and its last checkpoint stays usable. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { readManifest } from '../../actors/run/checkpoints.js'
import { actor, call } from '../../actors/calls.js'
import { cluster } from '../../actors/cluster.js'
import { openModel } from '../../actors/model.js'
import { local, resume, train } from '../../actors/train.js'
import { SOURCE } from '../../components/definition.js'
import { fromArrays } from '../../components/datasets/index.js'
import { dense, flatten, leakyRelu } from '../../components/layers/index.js'
import { block, categorical, network } from '../../components/network.js'
import { predsim } from '../../components/rules/index.js'
import type { LocalSwarm } from '../../actors/local-swarm.js'
import type { ComputePool } from '../../runtime/compute/compute.js'
import { computePool } from '../../runtime/compute/thread-compute.js'
import { type ErrorCode, isSwarmError } from '../../runtime/errors.js'
import { keys } from '../../runtime/head.js'
import { HeadWriter, readHead } from '../../runtime/head-store.js'
import { fileStore } from '../../runtime/object-store/file-store.js'
import { nodeFileSystem } from '../../runtime/object-store/file-system.js'
import type { ObjectStore } from '../../runtime/object-store/object-store.js'
import { decodeState } from '../../runtime/state.js'
import type { Entry } from '../../runtime/step-log.js'
import { failing } from '../support/chained-block.js'
import { MACHINES, networks, openPools, renamed, undisturbed } from '../support/chaos-run.js'
import { faultyFileSystem } from '../support/faulty-file-system.js'
import { memoryCluster } from '../support/memory-cluster.js'
import { openObjects, slowBranching, TRAINING } from '../support/small-runs.js'

const pools = openPools()
test.after.always(() => pools.close())

const unhandled: unknown[] = []
process.on('unhandledRejection', (error) => unhandled.push(error))
test.afterEach.always('no rejection is left unhandled', async (t) => {
  await new Promise((resolve) => setImmediate(resolve))
  t.deepEqual(unhandled.splice(0), [])
})

const on = local({ pnodes: 2, returnMs: 20 })
const checkpoint = { everySteps: 7, retentionBytes: 0 }
let names = 0
const pool = () => renamed(pools.inline, `failing-${++names}-`)
const LIMIT_MS = 40_000

/** The error that a run ends with, in time. */
async function failure(t: ExecutionContext, result: Promise<unknown>, code: ErrorCode): Promise<{ readonly message: string }> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise((resolve) => (timer = setTimeout(resolve, LIMIT_MS, 'late')))
  const end = await Promise.race([
    result.then(
      () => 'no error',
      (error: unknown) => error,
    ),
    late,
  ])
  clearTimeout(timer)
  if (!isSwarmError(end)) throw new Error(`expected ${code}, got ${String(end)}`)
  t.is(end.code, code, end.message)
  t.false(end.message.includes('\n'))
  return end
}

/** Reads every state of the newest checkpoint; its step. */
async function readable(store: ObjectStore, run: string): Promise<number> {
  const { head } = await readHead(store, run)
  const { vnodes, step, generation } = await readManifest(store, head.manifests[0])
  for (const { hash } of vnodes) decodeState((await store.get(keys.blob(run, generation, hash))).bytes, hash)
  return step
}

const task = { input: [28, 28, 1], target: categorical(10) } as const
const fails = (how: 'throws' | 'hangs' | 'exits', at: number) =>
  network(task, [block(flatten(), dense(8), leakyRelu()), block(failing({ how, at }), dense(8), leakyRelu())])

test.serial('a loss that is not finite stops the run and names VNode and step', async (t) => {
  const { store } = openObjects()
  const run = train(
    networks.chain,
    { ...TRAINING, learningRate: 1e30 },
    { on, store, checkpoint: { everySteps: 1 } },
    { id: 'a', pool: pool() },
  )
  const error = await failure(t, run.result, 'run.diverged')
  t.regex(error.message, /dense-\d/)
  t.regex(error.message, /step \d+/)
  t.like((await readHead(store, 'a')).head, { status: 'failed', error: { code: 'run.diverged' } })
})

test.serial('where segments are audited nobody is believed alone that a run cannot go on: all that there are have to say so', async (t) => {
  const { store } = openObjects()
  const run = train(
    networks.chain,
    { ...TRAINING, learningRate: 1e30 },
    { on: local({ pnodes: 3 }), store, checkpoint: { everySteps: 1 }, audits: 1 },
    { id: 'audited', pool: pool() },
  )
  const said = new Set<string>()
  const story = (async () => {
    for await (const event of run.events()) if (event.type === 'lost') said.add(event.pnode)
  })()
  await failure(t, run.result, 'run.diverged')
  await story
  t.true(said.size >= 2, 'not before the third')
})

test.serial('after a failure the last checkpoint is as it was', async (t) => {
  const { store } = openObjects()
  const run = train(fails('throws', 45), TRAINING, { on, store, checkpoint, maxDeadLetters: 0 }, { id: 'a', pool: pool() })
  const error = await failure(t, run.result, 'run.poisoned')
  t.true(error.message.includes("layer 'failing-1' threw at step 45"), error.message)
  const step = await readable(store, 'a')
  t.true(step > 0 && step < 45)
  const model = await openModel(store, 'a')
  t.is((await model.predict(new Float32Array(28 * 28))).labels.length, 1)
  await model.close()
  const again = await failure(t, resume('a', { on, store, checkpoint, maxDeadLetters: 0 }, { pool: pool() }).result, 'run.poisoned')
  t.true(again.message.includes('step 45'))
})

test.serial('a block that computes for ever is named after it was tried on two PNodes', async (t) => {
  t.timeout(60_000)
  const { store } = openObjects()
  const threads = computePool({ machines: MACHINES, deadlineMs: 1_500, spares: 2 })
  t.teardown(() => threads.close())
  const run = train(fails('hangs', 20), TRAINING, { on, store, checkpoint, maxDeadLetters: 0 }, { id: 'a', pool: threads })
  const error = await failure(t, run.result, 'run.poisoned')
  t.regex(error.message, /step 20/)
})

test.serial('a step that ends its worker wherever it is tried is named, and not tried for ever', async (t) => {
  t.timeout(60_000)
  const { store } = openObjects()
  const threads = computePool({ machines: MACHINES, spares: 2 })
  t.teardown(() => threads.close())
  const run = train(fails('exits', 20), TRAINING, { on, store, checkpoint, maxDeadLetters: 0 }, { id: 'a', pool: threads })
  const error = await failure(t, run.result, 'run.poisoned')
  t.regex(error.message, /exited with code 7.*step 20 of dense-2/)
})

test.serial('a data set of the wrong shape', async (t) => {
  const { store } = openObjects()
  const data = fromArrays({ inputs: new Float32Array(400), input: [4], labels: new Int32Array(100), target: categorical(2) })
  const run = train(networks.chain, { ...TRAINING, data }, { on, store }, { id: 'a', pool: pool() })
  await failure(t, run.result, 'dataset.invalid')
})

test.serial('no PNodes', (t) => {
  const error = t.throws(() => local({ pnodes: 0 }))
  t.true(isSwarmError(error, 'usage'))
})

test.serial('all PNodes lost at once: the run waits until they return, and so does the process', async (t) => {
  const { store } = openObjects()
  const stopped = train(
    networks.chain,
    TRAINING,
    { on: local({ pnodes: 2, returnMs: 300 }), store, checkpoint },
    { id: 'a', pool: pool(), onSwarm: (swarm) => swarm.pnodes.forEach((pnode) => void swarm.killPNode(pnode)) },
  )
  t.is((await stopped.result).hash, (await undisturbed('chain')).hash)
})

/** A file store that fails with `code` for every change, from the `from`-th on. */
async function failingStore(t: ExecutionContext, code: string, from: number, filter: (path: string) => boolean = () => true) {
  const root = await mkdtemp(join(tmpdir(), 'swarmgrad-failing-'))
  t.teardown(async () => rm(root, { recursive: true, force: true, maxRetries: 3 }))
  let puts = 0
  const fs = faultyFileSystem(nodeFileSystem, (call, path) =>
    ['create', 'write'].includes(call) && filter(path) && ++puts >= from ? code : undefined,
  )
  return { broken: fileStore({ root, fs }), whole: fileStore({ root }) }
}

for (const [what, code, expected] of [
  ['full', 'ENOSPC', 'store.full'],
  ['read-only', 'EROFS', 'store.read-only'],
  ['failing', 'EIO', 'store.unavailable'],
] as const) {
  for (const from of [60, 100]) {
    test.serial(`the store is ${what} from the ${from}th write on: one clear error, and the last checkpoint stays usable`, async (t) => {
      const { broken, whole } = await failingStore(t, code, from)
      const run = train(networks.branching, TRAINING, { on, store: broken, checkpoint }, { id: 'a', pool: pool() })
      await failure(t, run.result, expected)
      const { head } = await readHead(whole, 'a')
      if (head.manifests.length > 0) await readable(whole, 'a')
      const { hash } = await resume('a', { on, store: whole, checkpoint }, { pool: pool() }).result
      t.is(hash, (await undisturbed('branching')).hash)
    })
  }
}

test.serial('a store that cannot be written from the start', async (t) => {
  const { broken } = await failingStore(t, 'ENOSPC', 1)
  await failure(t, train(networks.chain, TRAINING, { on, store: broken }, { id: 'a', pool: pool() }).result, 'store.full')
  const { broken: readOnly } = await failingStore(t, 'EACCES', 1)
  await failure(t, train(networks.chain, TRAINING, { on, store: readOnly }, { id: 'a', pool: pool() }).result, 'store.read-only')
})

test.serial('a second owner of a run takes it over: the first one stops with run.writer, and the hash is the same', async (t) => {
  const { store } = openObjects()
  let second: Promise<{ hash: string | undefined }> | undefined
  const first = train(
    networks.branching,
    TRAINING,
    { on, store, checkpoint },
    {
      id: 'a',
      pool: pool(),
      onObservation({ type, ...rest }) {
        if (type !== 'applied' || !('entry' in rest) || rest.entry.step < 20 || second) return
        second = resume('a', { on, store, checkpoint }, { pool: pool() }).result
        second.catch(() => undefined)
      },
    },
  )
  await failure(t, first.result, 'run.writer')
  t.is((await second!).hash, (await undisturbed('branching')).hash)
})

test.serial(
  'a Run actor that is told of a later generation asks whether the run is still its own, and hears of the next one from the head',
  async (t) => {
    const { url, keys, store, system } = await memoryCluster(t, { pnodes: ['ann'] })
    const run = train(slowBranching(15), { ...TRAINING, epochs: 2 }, { on: cluster(url, { token: keys.trainerToken }) }, { id: 'a' })
    for await (const { type } of run.events()) if (type === 'progress') break
    const { head } = await readHead(store, 'a')
    const generation = head.generation + 1
    const cut = { step: 1, position: 1, marks: 0, hash: '', sizeBytes: 0, digests: '', batches: '', firstStep: 1, computeClass: '' }
    const later = { vnode: 'a', term: head.termCounter, generation, ...cut }
    const tell = () => call<'Run', 'committed'>(system, actor.run('a'), 'committed', later)
    // Whoever says so may be lying: nothing comes of it.
    await tell()
    t.is((await readHead(store, 'a')).head.writer, head.writer)
    await HeadWriter.claim(store, 'a')
    await t.throwsAsync(tell(), { code: 'run.writer' })
    await tell()
    t.is((await readHead(store, 'a')).head.writer, head.writer + 2)
    t.is((await run.result).status, 'done')
  },
)

test.serial('a Run actor that somebody else has replaced stops nothing of what is theirs', async (t) => {
  const { url, keys, store, system, pnodes } = await memoryCluster(t, { pnodes: ['ann'] })
  const run = train(
    slowBranching(15),
    { ...TRAINING, epochs: 2 },
    { on: cluster(url, { token: keys.trainerToken }), checkpoint },
    { id: 'a' },
  )
  for await (const { type } of run.events()) if (type === 'checkpoint') break
  const { head } = await readHead(store, 'a')
  const [[vnode, { term }]] = Object.entries(head.directory).filter(([id]) => id !== SOURCE)
  await HeadWriter.claim(store, 'a')
  const error = { code: 'checkpoint.damaged', message: 'on purpose', retryable: false } as const
  const failing = call<'Run', 'failed'>(system, actor.run('a'), 'failed', { vnode, term, generation: head.generation, error })
  await t.throwsAsync(failing, { code: 'run.writer' })
  t.true(pnodes[0].vnodes.includes(`a/${vnode}`), pnodes[0].vnodes.join())
  t.is((await readHead(store, 'a')).head.generation, head.generation)
  t.is((await run.result).status, 'done')
})

test.serial('a run does not go on under another compute class, and is none the worse for the attempt', async (t) => {
  const { store } = openObjects()
  const run = train(networks.branching, TRAINING, { on, store, checkpoint }, { id: 'a', pool: pool() })
  for await (const { type } of run.events()) if (type === 'evaluated') break
  await run.pause()
  const own = pool()
  const other: ComputePool = {
    ...own,
    compute(name) {
      const compute = own.compute(name)
      const start = compute.start.bind(compute)
      return Object.assign(compute, { start: async () => ({ ...(await start()), computeClass: 'another class' }) })
    },
  }
  const { message } = await failure(t, resume('a', { on, store, checkpoint }, { pool: other }).result, 'checkpoint.class')
  t.regex(message, /got another class.*version and backend that it was started with/)
  t.is((await resume('a', { on, store, checkpoint }, { pool: pool() }).result).hash, (await undisturbed('branching')).hash)
})

test.serial('a pause comes about though all that it waits for is lost before it does', async (t) => {
  const { store } = openObjects()
  let moves = 0
  let pauses = 0
  for (let at = 10, status = ''; status !== 'done'; at += 10) {
    const stop = new AbortController()
    let swarm: LocalSwarm | undefined
    const onObservation = ({ type, ...rest }: { readonly type: string; readonly entry?: Entry }) => {
      if (type !== 'applied' || rest.entry!.step < at || stop.signal.aborted) return
      stop.abort()
      // The head says so before the source hears of it; all that the pause waits for is lost then.
      setImmediate(() => swarm!.pnodes.forEach((pnode) => void swarm!.killPNode(pnode)))
    }
    const internals = { pool: pool(), onObservation, onSwarm: (started: LocalSwarm) => (swarm = started) }
    const options = { on, store, checkpoint, signal: stop.signal }
    const run = at === 10 ? train(networks.branching, TRAINING, options, { ...internals, id: 'a' }) : resume('a', options, internals)
    const result = await run.result
    if ((status = result.status) === 'paused') {
      pauses++
      t.true(result.moves > moves)
      moves = result.moves
    } else t.is(result.hash, (await undisturbed('branching')).hash)
  }
  t.true(pauses >= 2)
})

test.serial('the weights of a run with another rule are refused, not tried for ever', async (t) => {
  const { store } = openObjects()
  await train(networks.chain, { ...TRAINING, epochs: 1 }, { on, store }, { id: 'a', pool: pool() }).result
  const run = train(networks.chain, { ...TRAINING, rule: predsim(), from: 'a' }, { on, store }, { id: 'b', pool: pool() })
  await failure(t, run.result, 'run.changed')
})

test.serial('a damaged module of a user ends the run by name, and costs no checkpoint', async (t) => {
  const { store } = openObjects()
  const first = train(networks.chain, TRAINING, { on, store, checkpoint }, { id: 'a', pool: pool() })
  for await (const { type } of first.events()) if (type === 'evaluated') break
  await first.pause()
  const { head: before } = await readHead(store, 'a')
  t.is(before.status, 'paused')
  for await (const { key } of store.list('bundles/')) {
    const { bytes } = await store.get(key)
    bytes[bytes.length - 2] ^= 1
    await store.put(key, bytes)
  }
  // Bundles are loaded once in a thread: workers of their own have not seen the good one.
  const threads = computePool({ machines: MACHINES })
  t.teardown(() => threads.close())
  const error = await failure(t, resume('a', { on, store, checkpoint }, { pool: threads }).result, 'store.damaged')
  t.regex(error.message, /bundle/)
  t.deepEqual((await readHead(store, 'a')).head.manifests, before.manifests)
  await readable(store, 'a')
})

test.serial('what is not a network or not a data set rejects the result with one clear error', async (t) => {
  const { store } = openObjects()
  for (const [net, training] of [
    [undefined, TRAINING],
    [networks.chain, {}],
    [networks.chain, { data: 'glyphs' }],
    [networks.chain, undefined],
  ]) {
    await failure(t, train(net as never, training as never, { on, store }, { pool: pool() }).result, 'definition.invalid')
  }
})

test.serial('a module of a user that is gone is a refused grant: the run ends by name instead of waiting', async (t) => {
  const { store } = openObjects()
  const first = train(networks.chain, TRAINING, { on, store, checkpoint }, { id: 'a', pool: pool() })
  for await (const { type } of first.events()) if (type === 'evaluated') break
  await first.pause()
  for await (const { key } of store.list('bundles/')) await store.delete(key)
  const error = await failure(t, resume('a', { on, store, checkpoint }, { pool: pool() }).result, 'store.not-found')
  t.regex(error.message, /bundles/)
  await readable(store, 'a')
})
