import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { cluster } from '../../actors/cluster.js'
import { deleteRun } from '../../actors/run/delete-run.js'
import { local, openStore, resume, type Run, type RunOptions, train } from '../../actors/train.js'
import { type ErrorCode, isSwarmError } from '../../runtime/errors.js'
import { readHead } from '../../runtime/head-store.js'
import type { ObjectStore } from '../../runtime/object-store/object-store.js'
import { memoryCluster } from '../support/memory-cluster.js'
import { chain, TRAINING } from '../support/small-runs.js'

const on = local({ pnodes: 2, threads: false })

async function keysOf(store: ObjectStore, prefix: string): Promise<string[]> {
  const found: string[] = []
  for await (const { key } of store.list(prefix)) found.push(key)
  return found
}

async function refused(t: ExecutionContext, code: ErrorCode, deletion: Promise<void>): Promise<void> {
  const error = await t.throwsAsync(deletion)
  t.true(isSwarmError(error, code), String(error))
}

/** One run is deleted while it is under way, and again after it was paused; another one of the same place is left alone. */
async function checkDeletion(t: ExecutionContext, options: Pick<RunOptions, 'on' | 'store'>, store: ObjectStore): Promise<void> {
  const endless = { ...TRAINING, epochs: 1000 }
  const [gone, left]: Run[] = ['gone', 'left'].map((id) => train(chain, id === 'gone' ? endless : TRAINING, options, { id }))
  for await (const { type } of gone.events()) if (type === 'evaluated') break
  await refused(t, 'run.busy', deleteRun('gone', options))
  await gone.pause()
  const { hash } = await left.result

  await deleteRun('gone', options)
  t.deepEqual(await keysOf(store, 'runs/gone/'), [])
  await refused(t, 'run.not-found', deleteRun('gone', options))
  t.true(isSwarmError(await t.throwsAsync(resume('gone', options).result), 'run.not-found'))
  t.is((await readHead(store, 'left')).head.result?.hash, hash)
  t.true((await left.history()).length > 0)
}

test('a run in a folder is deleted when nobody is at work on it', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'swarmgrad-delete-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  await checkDeletion(t, { on, store: folder }, openStore(folder))
})

test('a run on a cluster is deleted when it is paused', async (t) => {
  const { url, keys, store } = await memoryCluster(t)
  await checkDeletion(t, { on: cluster(url, { token: keys.trainerToken }) }, store)
})
