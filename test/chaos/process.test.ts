/** The whole process is killed, or what it left behind is damaged; another one goes on, and ends with the same hash. */
import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { cp, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { isSwarmError } from '../../runtime/errors.js'
import { RandomStream } from '../../runtime/random.js'
import { resume } from '../../actors/train.js'
import type { RunEvent } from '../../actors/events.js'
import { openPools, renamed, undisturbed } from '../support/chaos-run.js'
import { folder } from '../support/processes.js'
import type { RunMessage } from '../support/run-process.js'

const RUN = 'a'
const pools = openPools()
test.after.always(() => pools.close())

let expected: string | undefined
test.before(async () => {
  expected = (await undisturbed('branching')).hash
})

interface Ended {
  readonly signal: string | null
  readonly result?: { readonly status: string; readonly hash?: string }
  readonly error?: { readonly code: string; readonly message: string }
  readonly step: number
}

function begin(root: string, when: string): ChildProcess {
  return fork(new URL('../support/run-process.js', import.meta.url), [root, RUN, when], { execArgv: [] })
}

async function ending(t: ExecutionContext, child: ChildProcess): Promise<Ended> {
  const seen: { step: number; result?: Ended['result']; error?: Ended['error'] } = { step: 0 }
  child.on('message', (message: RunMessage) => Object.assign(seen, message))
  t.teardown(() => child.kill('SIGKILL'))
  const [, signal] = (await once(child, 'exit')) as [number | null, string | null]
  return { ...seen, signal }
}

const continued = (root: string, id: string, seen: RunEvent[] = []) => {
  const run = resume(RUN, { store: root, checkpoint: { everySteps: 7, retentionBytes: 0 } }, { pool: renamed(pools.inline, `${id}-`) })
  const reading = (async () => {
    for await (const event of run.events()) seen.push(event)
  })()
  return { result: run.result, reading }
}

test.serial('killed by SIGKILL again and again, at once, at steps and within writes, and continued by a new process', async (t) => {
  t.timeout(120_000)
  const root = await folder(t)
  const stream = new RandomStream(7, 'process')
  const early = ['call:1', 'call:30', 'step:1', 'step:5']
  const later = [
    `call:${20 + stream.below(60)}`,
    `step:${10 + stream.below(20)}`,
    `call:${60 + stream.below(90)}`,
    'checkpoint:2',
    'step:60',
  ]
  for (const when of [...early, ...later]) {
    const { signal, result, error } = await ending(t, begin(root, when))
    t.log(when, signal ?? result ?? error ?? 'no end')
    t.is(error, undefined, when)
    if (result) t.is(result.hash, expected, when)
    if (result) return
    t.is(signal, 'SIGKILL', when)
  }
  const last = await ending(t, begin(root, 'never'))
  t.is(last.result?.hash, expected)
})

test.serial('torchft: killed from outside while it computes, and continued here', async (t) => {
  const root = await folder(t)
  const child = begin(root, 'never')
  child.on('message', (message: RunMessage) => void ('step' in message && message.step >= 25 && child.kill('SIGKILL')))
  const { signal } = await ending(t, child)
  t.is(signal, 'SIGKILL')
  t.is((await continued(root, 'outside').result).hash, expected)
})

test.serial('a second process that goes on with the same run is refused while the first one lives', async (t) => {
  const root = await folder(t)
  const child = begin(root, 'never')
  const end = ending(t, child)
  await once(child, 'message')
  const error = await t.throwsAsync(continued(root, 'second').result)
  t.true(isSwarmError(error, 'run.busy'), error.message)
  t.true(error.message.includes(String(child.pid)), error.message)
  t.is((await end).result?.hash, expected)
})

/** A copy of a folder with a run that was killed after some checkpoints. */
let killed = ''
test.before('a run is killed after its third checkpoint', async (t) => {
  killed = await mkdtemp(join(tmpdir(), 'swarmgrad-killed-'))
  const [, signal] = await once(begin(killed, 'checkpoint:3'), 'exit')
  t.is(signal, 'SIGKILL')
})
test.after.always(() => rm(killed, { recursive: true, force: true }))

async function prepared(t: ExecutionContext): Promise<string> {
  const copy = await folder(t)
  await cp(killed, copy, { recursive: true })
  return copy
}

interface Parts {
  readonly head: { manifests: { key: string; step: number }[] }
  readonly blobs: (index: number) => Promise<string[]>
}

async function partsOf(root: string): Promise<Parts> {
  const head = JSON.parse(await readFile(join(root, `runs/${RUN}/head`), 'utf8')) as Parts['head']
  const blobs = async (index: number) => {
    const manifest = JSON.parse(await readFile(join(root, head.manifests[index].key), 'utf8')) as {
      generation: number
      vnodes: { hash: string }[]
    }
    return manifest.vnodes.map(({ hash }) => `runs/${RUN}/blobs/${manifest.generation}/${hash}`)
  }
  return { head, blobs }
}

async function flip(path: string, at: (length: number) => number): Promise<void> {
  const bytes = await readFile(path)
  bytes[at(bytes.length)] ^= 1
  await writeFile(path, bytes)
}

const rollbacks = (events: readonly RunEvent[]) => events.filter((event) => event.type === 'rolledBack')

for (const [what, damage] of Object.entries({
  'one flipped bit in': (path: string) => flip(path, (length) => length - 100),
  'half of': async (path: string) => writeFile(path, (await readFile(path)).subarray(0, 1000)),
  'no file for': (path: string) => rm(path),
})) {
  test.serial(
    `${what} the newest checkpoint of one VNode: it is refused by name, and the run goes back to the manifest before`,
    async (t) => {
      const root = await prepared(t)
      const { head, blobs } = await partsOf(root)
      t.true(head.manifests.length >= 2)
      const [, damaged] = await blobs(0)
      await damage(join(root, damaged))
      const events: RunEvent[] = []
      const { result, reading } = continued(root, `blob-${what.replaceAll(' ', '-')}`, events)
      t.is((await result).hash, expected)
      await reading
      const [event, ...more] = rollbacks(events)
      t.like(event, { step: head.manifests[1].step })
      t.true(event.reason.includes(damaged), event.reason)
      t.is(more.length, 0)
    },
  )
}

test.serial('every manifest damaged: the run starts again from its seed', async (t) => {
  const root = await prepared(t)
  const { head } = await partsOf(root)
  for (const { key } of head.manifests) await writeFile(join(root, key), '{"v":1')
  const events: RunEvent[] = []
  const { result, reading } = continued(root, 'all', events)
  t.is((await result).hash, expected)
  await reading
  t.like(rollbacks(events).at(-1), { step: 0 })
})

test.serial('every newest blob of every manifest damaged: it goes back one by one', async (t) => {
  const root = await prepared(t)
  const { head, blobs } = await partsOf(root)
  for (const index of head.manifests.keys()) await flip(join(root, (await blobs(index))[index]), (length) => length - 8)
  const events: RunEvent[] = []
  const { result, reading } = continued(root, 'blobs', events)
  t.is((await result).hash, expected)
  await reading
  t.like(rollbacks(events).at(-1), { step: 0 })
})

test.serial('a damaged record of the newest manifest: refused by name, the one before is used', async (t) => {
  const root = await prepared(t)
  const { head } = await partsOf(root)
  const [newest, before] = head.manifests
  await writeFile(join(root, newest.key), 'not JSON')
  const events: RunEvent[] = []
  const { result, reading } = continued(root, 'record', events)
  t.is((await result).hash, expected)
  await reading
  const [event] = rollbacks(events)
  t.like(event, { step: before.step })
  t.true(event.reason.includes(newest.key), event.reason)
})

for (const field of ['position', 'run', 'vnodes'] as const) {
  test.serial(`a manifest whose ${field} was changed is not believed`, async (t) => {
    const root = await prepared(t)
    const { head } = await partsOf(root)
    const [newest] = head.manifests
    const record = JSON.parse(await readFile(join(root, newest.key), 'utf8'))
    const changed = field === 'vnodes' ? record.vnodes.slice(1) : field === 'run' ? 'b' : record[field] + 1
    await writeFile(join(root, newest.key), JSON.stringify({ ...record, [field]: changed }))
    const events: RunEvent[] = []
    const { result, reading } = continued(root, `field-${field}`, events)
    t.is((await result).hash, expected)
    await reading
    t.true(rollbacks(events)[0]?.reason.includes(newest.key))
  })
}

test.serial('a damaged head is one clear error, and nothing is changed', async (t) => {
  const root = await prepared(t)
  const path = join(root, `runs/${RUN}/head`)
  await writeFile(path, (await readFile(path, 'utf8')).slice(0, 100))
  const files = await readdir(join(root, `runs/${RUN}/blobs`))
  const error = await t.throwsAsync(continued(root, 'head').result)
  t.true(isSwarmError(error, 'store.damaged'), error.message)
  t.true(error.message.includes(`runs/${RUN}/head`), error.message)
  t.deepEqual(await readdir(join(root, `runs/${RUN}/blobs`)), files)
})

test.serial('a run that is not there', async (t) => {
  const error = await t.throwsAsync(continued(await folder(t), 'none').result)
  t.true(isSwarmError(error, 'run.not-found'), error.message)
})
