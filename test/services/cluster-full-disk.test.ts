/** The disk of the object store is full: runs wait, say why, and go on when there is room. */
import { execFile } from 'node:child_process'
import { mkdir, rm, statfs, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import test, { registerCompletionHandler } from 'ava'
import { isSwarmError } from '../../runtime/errors.js'
import { stepOf, unharmed } from '../support/cluster-stranger.js'
import { TestCluster } from '../support/cluster.js'
import { forFile } from '../support/servers.js'
import { until } from '../support/until.js'

const run = promisify(execFile)
const file = forFile()
// A run whose test has failed waits for its cluster for ever.
registerCompletionHandler(() => process.exit())
/** Of the disk at first, and when there is more room, in MB. */
const [SMALL_MB, LARGE_MB] = [64, 128]
/** So often the same step, ten times in a second, is more than a hiccup. */
const STILL_LOOKS = 10
/** Room for the outputs of a hundred steps: then a checkpoint is needed. */
const RETENTION_BYTES = 100 * 32 * 16 * 4
let cluster: TestCluster | undefined
let disk: string
let refusal: string | undefined

test.before(async () => {
  const prepare = async (folder: string) => {
    disk = join(folder, 'minio', 'objects')
    await mkdir(disk, { recursive: true })
    await run('mount', ['-t', 'tmpfs', '-o', `size=${SMALL_MB}m`, 'tmpfs', disk])
    file.teardown(() => run('umount', [disk]))
  }
  try {
    cluster = await TestCluster.start(file, { hosts: ['a', 'b'], prepare })
  } catch (error) {
    if (!String(error).includes('mount')) throw error
    refusal = String(error)
  }
})
test.after.always(async (t) => {
  await file.end()
  if (cluster) t.deepEqual(await cluster.processes(), [], 'processes left behind')
})

test.serial('puts say that the disk is full; the run waits, says so, and goes on to the same states when there is room', async (t) => {
  if (!cluster) {
    t.log(`skipped: this system lets nobody mount a disk that is small enough (${refusal})`)
    return t.pass()
  }
  const { client, store, hosts } = cluster
  const warned = () => [...hosts.values()].some(({ peer }) => peer.errors.some(({ code }) => code === 'store.full'))
  await unharmed(
    t,
    cluster,
    'full',
    async (id) => {
      const told: string[] = []
      const watching = new AbortController()
      const watch = (async () => {
        for await (const event of client.events(id, watching.signal)) if (event.type === 'warning') told.push(event.error.code)
      })().catch(() => undefined)
      // What is written meanwhile takes the rest.
      const { bavail, bsize } = await statfs(disk)
      await writeFile(join(disk, 'ballast'), new Uint8Array(bavail * bsize)).catch(() => undefined)
      const error = await t.throwsAsync(store.put('probe', new Uint8Array(1_000)), { message: /Free some space/ })
      t.true(isSwarmError(error, 'store.full') && error.retryable, String(error))
      await until(
        () => `warned by a host, and by control: ${told.join(', ')}`,
        () => warned() && told.includes('store.full'),
      )
      let [last, looks] = [-1, 0]
      await until(
        () => `it stands still, at ${last}`,
        async () => {
          const step = await stepOf(cluster!, id)
          looks = step === last ? looks + 1 : 0
          last = step
          return looks === STILL_LOOKS
        },
      )
      t.log(`stood still at step ${last}`)
      await run('mount', ['-o', `remount,size=${LARGE_MB}m`, disk])
      watching.abort()
      await watch
    },
    { retentionBytes: RETENTION_BYTES },
  )
  await rm(join(disk, 'ballast'), { force: true })
  await store.put('probe', new Uint8Array(1_000))
})
