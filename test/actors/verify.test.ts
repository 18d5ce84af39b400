/** A difference of one bit is found, and run, step, VNode and tensor are named. */
import test from 'ava'
import { readManifest } from '../../actors/run/checkpoints.js'
import { local, resume, train } from '../../actors/train.js'
import { diffRuns, verifyRun } from '../../actors/verify.js'
import { isSwarmError } from '../../runtime/errors.js'
import { encodeRecord, keys } from '../../runtime/head.js'
import { readHead } from '../../runtime/head-store.js'
import type { ObjectStore } from '../../runtime/object-store/object-store.js'
import { decodeState, encodeState, hashState } from '../../runtime/state.js'
import { networks, openPools, renamed } from '../support/chaos-run.js'
import { copyObjects, openObjects, TOTAL_STEPS, TRAINING } from '../support/small-runs.js'

const pools = openPools()
test.after.always(() => pools.close())

const on = local({ pnodes: 2 })
const checkpoint = { everySteps: 10, retentionBytes: 0 }
let names = 0
const pool = () => renamed(pools.inline, `verify-${++names}-`)
const VNODE = 'dense-4'

/** Two equal runs, of which one was paused on its way. */
const { objects, store: whole } = openObjects()
test.before(async () => {
  await train(networks.branching, TRAINING, { on, store: whole, checkpoint }, { id: 'a', pool: pool() }).result
  const run = train(networks.branching, TRAINING, { on, store: whole, checkpoint }, { id: 'b', pool: pool() })
  for await (const { type } of run.events()) if (type === 'evaluated') break
  await run.pause()
})

async function newest(store: ObjectStore, run: string, index = 0) {
  const { head } = await readHead(store, run)
  const ref = head.manifests[index]
  const manifest = await readManifest(store, ref)
  const { hash } = manifest.vnodes.find(({ vnode }) => vnode === VNODE)!
  return { ref, manifest, hash, blob: (await store.get(keys.blob(run, ref.generation, hash))).bytes }
}

/** The blob with one bit of the weights of `VNODE` changed. */
function planted(blob: Uint8Array, bit = 12): Uint8Array {
  const tensors = decodeState(blob)
  const weights = tensors.find(({ name }) => name === nameIn(blob))!
  new Uint32Array(weights.values.buffer)[5] ^= 2 ** bit
  return encodeState(tensors)
}

/** The name of the largest tensor of the layer. */
function nameIn(blob: Uint8Array): string {
  const layer = decodeState(blob).filter(({ name }) => name.startsWith(`layers/${VNODE}/`))
  return layer.toSorted((a, b) => b.values.length - a.values.length)[0].name
}

test.serial('nothing is found where nothing is', async (t) => {
  const { difference, steps, checkpoints, hash } = await verifyRun(whole, 'a', { threads: false })
  t.is(difference, undefined)
  t.is(steps, TOTAL_STEPS)
  t.is(checkpoints, 3)
  t.is(hash, (await readHead(whole, 'a')).head.result!.hash)
  t.is(await diffRuns(whole, 'a', 'b'), undefined)
})

for (const index of [0, 1, 2]) {
  test.serial(`one bit in a stored state, ${index} checkpoints before the last`, async (t) => {
    const { store } = openObjects(copyObjects(objects))
    const { ref, hash, blob } = await newest(store, 'a', index)
    await store.put(keys.blob('a', ref.generation, hash), planted(blob))
    const { difference } = await verifyRun(store, 'a', { threads: false })
    t.like(difference, { run: 'a', step: ref.step, vnode: VNODE, tensor: nameIn(blob) })
    t.not(difference!.expected, difference!.got)
    // Two runs have the last checkpoint in common; where the others are depends on time.
    if (index > 0) return
    await resume('b', { on, store, checkpoint }, { pool: pool() }).result
    t.like(await diffRuns(store, 'b', 'a'), { run: 'a', step: ref.step, vnode: VNODE, tensor: nameIn(blob) })
  })
}

/** A paused run whose newest state was changed so that every hash is right again, resumed to its end. */
async function tampered(everySteps: number) {
  const { store } = openObjects(copyObjects(objects))
  const { ref, manifest, hash, blob } = await newest(store, 'b')
  const changed = planted(blob)
  await store.put(keys.blob('b', ref.generation, hashState(changed)), changed)
  const vnodes = manifest.vnodes.map((entry) => (entry.hash === hash ? { ...entry, hash: hashState(changed) } : entry))
  await store.put(ref.key, encodeRecord({ ...manifest, vnodes }))
  const { hash: got } = await resume('b', { on, store, checkpoint: { ...checkpoint, everySteps } }, { pool: pool() }).result
  return { store, ref, blob, got, expected: (await readHead(store, 'a')).head.result!.hash }
}

test.serial('a state that was changed together with its hashes, while its checkpoint is kept', async (t) => {
  const { store, ref, blob, got, expected } = await tampered(1000)
  t.not(got, expected)
  const { head } = await readHead(store, 'b')
  const isKept = head.manifests.some(({ step }) => step === ref.step)
  const { difference } = await verifyRun(store, 'b', { threads: false })
  t.like(difference, { run: 'b', vnode: VNODE, ...(isKept ? { step: ref.step, tensor: nameIn(blob) } : { tensor: 'output' }) })
  t.like(await diffRuns(store, 'a', 'b'), { run: 'b', vnode: VNODE })
})

test.serial('a state that was changed together with its hashes, and whose checkpoint is gone: the first output tells', async (t) => {
  const { store, ref, got, expected } = await tampered(3)
  t.not(got, expected)
  t.false((await readHead(store, 'b')).head.manifests.some(({ step }) => step === ref.step))
  const { difference } = await verifyRun(store, 'b', { threads: false })
  t.like(difference, { run: 'b', step: ref.step + 1, vnode: VNODE, tensor: 'output' })
  t.deepEqual(await diffRuns(store, 'a', 'b'), difference)
})

test.serial('runs of other definitions differ in a field', async (t) => {
  const { store } = openObjects(copyObjects(objects))
  await train(networks.branching, { ...TRAINING, seed: 2, epochs: 1 }, { on, store }, { id: 'c', pool: pool() }).result
  t.like(await diffRuns(store, 'a', 'c'), { run: 'c', step: 0, tensor: 'definition.timetable.epochs', expected: '3', got: '1' })
})

test.serial('a run that begins with the weights of another goes on from them, with a hash of its own that can be verified', async (t) => {
  const { store } = openObjects(copyObjects(objects))
  const from = { ...TRAINING, epochs: 1, from: 'a' }
  const first = await train(networks.branching, from, { on, store, checkpoint }, { id: 'd', pool: pool() }).result
  const again = await train(networks.branching, from, { on: local({ pnodes: 1, window: 1 }), store }, { id: 'e', pool: pool() }).result
  const fresh = await train(networks.branching, { ...TRAINING, epochs: 1 }, { on, store }, { id: 'f', pool: pool() }).result
  t.is(first.hash, again.hash)
  t.not(first.hash, fresh.hash)
  t.true(first.metrics.loss < fresh.metrics.loss)
  t.is((await verifyRun(store, 'd', { threads: false })).difference, undefined)
  const other = train(networks.chain, from, { on, store }, { id: 'g', pool: pool() })
  t.true(isSwarmError(await t.throwsAsync(other.result), 'run.changed'))
})

test.serial('a recorded hash that was changed is found, though every byte of every state is right', async (t) => {
  const { store } = openObjects(copyObjects(objects))
  const { head, etag } = await readHead(store, 'a')
  const { metrics } = head.result!
  await store.put(keys.head('a'), encodeRecord({ ...head, result: { hash: '0'.repeat(64), metrics } }), { ifMatch: etag })
  const { difference } = await verifyRun(store, 'a', { threads: false })
  t.like(difference, { run: 'a', step: TOTAL_STEPS, tensor: 'hash of the run', expected: head.result!.hash, got: '0'.repeat(64) })
})
