import { readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import test, { type ExecutionContext } from 'ava'
import * as fc from 'fast-check'
import type { Clock } from '../../runtime/clock.js'
import { isSwarmError, toSwarmError, type ErrorCode } from '../../runtime/errors.js'
import { fileStore } from '../../runtime/object-store/file-store.js'
import { memoryStore } from '../../runtime/object-store/memory-store.js'
import { nodeFileSystem } from '../../runtime/object-store/file-system.js'
import { processIdentity } from '../../runtime/object-store/process-identity.js'
import type { ObjectStore } from '../../runtime/object-store/object-store.js'
import type { ConformanceCase } from '../conformance/case.js'
import { all } from '../conformance/object-store-check.js'
import { objectStoreSuite } from '../conformance/object-store.js'
import { BROKEN_STORES } from '../support/broken-stores.js'
import { crashingFileSystem } from '../support/crashing-file-system.js'
import { faultyFileSystem, type FileCall } from '../support/faulty-file-system.js'
import { ended, folder, start } from '../support/processes.js'
import { crashingSubject, fileSubject, memorySubject } from '../support/store-subjects.js'

// One at a time: a case that cuts the power after so many turns of the event loop must not share them.
checkAll('file store', objectStoreSuite(fileSubject))
checkAll('memory store', objectStoreSuite(memorySubject))
checkAll(
  'file store that loses power',
  objectStoreSuite(() => crashingSubject(1)),
)

for (const [fault, make] of Object.entries(BROKEN_STORES)) {
  test.serial(`the suite catches a store that ${fault}`, async (t) => {
    const caughtBy: string[] = []
    for (const check of objectStoreSuite(make)) {
      if (check.title.includes('100 MB')) continue
      await check.run().catch(() => caughtBy.push(check.title))
    }
    t.log(caughtBy.join('; '))
    t.true(caughtBy.length > 0)
  })
}

for (const seed of [2, 3, 4, 5, 6, 7, 8]) {
  test.serial(`no crash loses or tears anything, seed ${seed}`, async (t) => {
    const cases = objectStoreSuite(() => crashingSubject(seed)).filter(({ title }) => title.startsWith('a crash'))
    t.is(cases.length, 2)
    for (const check of cases) await check.run()
  })
}

for (const code of ['ENOSPC', 'EDQUOT', 'EROFS', 'EACCES', 'EIO', 'EMFILE']) {
  test.serial(`${code} at any call of a put leaves the old object or, in doubt, a store that refuses everything`, async (t) => {
    const calls = await callsOf((store) => store.put('a/b', text('new'), { ifMatch: undefined }))
    t.true(calls.length >= 10, calls.join())
    for (let failing = 0; failing < calls.length; failing++) await failPutAt(t, code, failing, calls)
  })
}

/** Fails one call of a put and looks at what is left. */
async function failPutAt(t: ExecutionContext, code: string, failing: number, calls: readonly FileCall[]): Promise<void> {
  const inner = crashingFileSystem()
  await fileStore({ root: '/store', fs: inner }).put('a/b', text('old'))
  let count = 0
  const store = fileStore({ root: '/store', fs: faultyFileSystem(inner, () => (count++ === failing ? code : undefined)) })
  const where = `${code} at call ${failing}, ${calls[failing]}`
  const error = await store.put('a/b', text('new')).then(
    () => undefined,
    (thrown: unknown) => toSwarmError(thrown, 'internal', where),
  )
  const seen = new TextDecoder().decode((await fileStore({ root: '/store', fs: inner }).get('a/b')).bytes)
  const temporaries = await inner.entries('/store/@tmp')
  if (error === undefined) {
    t.is(seen, 'new', where)
    return
  }
  t.false(error.message.includes('\n'), where)
  t.true(error.message.includes('/'), `${where} names a path: ${error.message}`)
  t.is(temporaries.length, 0, `${where} leaves garbage`)
  const isSync = calls[failing] === 'sync' || calls[failing] === 'syncFolder'
  if (isSync) {
    t.is(error.code, 'store.unavailable', where)
    t.false(error.retryable, where)
    await t.throwsAsync(store.get('a/b'), { is: error }, where)
    await t.throwsAsync(store.put('c', text('1')), { is: error }, where)
  } else {
    const codes: Record<string, ErrorCode> = {
      ENOSPC: 'store.full',
      EDQUOT: 'store.full',
      EROFS: 'store.read-only',
      EACCES: 'store.read-only',
    }
    t.is(error.code, codes[code] ?? 'store.unavailable', where)
    t.is(seen, 'old', where)
    await store.put('a/b', text('again'))
  }
}

test.serial('a failed fsync of one put fails every put under way', async (t) => {
  let syncs = 0
  const fs = faultyFileSystem(crashingFileSystem(), (call) => (call === 'syncFolder' && ++syncs === 10 ? 'EIO' : undefined))
  const store = fileStore({ root: '/store', fs })
  const puts = await Promise.allSettled(Array.from({ length: 20 }, (_, i) => store.put(`a/${i}`, text('1'))))
  const failed = puts.filter(({ status }) => status === 'rejected').length
  t.true(failed >= 10, `${failed} failed`)
  await t.throwsAsync(store.get('a/0'), { code: 'store.unavailable' })
  await store.close()
})

test.serial('keys are paths that people can read', async (t) => {
  const root = await folder(t)
  const store = fileStore({ root })
  await store.put('runs/r1/head', text('head'))
  await store.put('runs/r1', text('both'))
  t.is(await readFile(join(root, 'runs/r1/head'), 'utf8'), 'head')
  t.is(await readFile(join(root, 'runs/r1@'), 'utf8'), 'both')
  t.deepEqual((await readdir(root)).sort(), ['@lock', '@tmp', 'runs'])
  t.deepEqual([await readdir(join(root, '@lock')), await readdir(join(root, '@tmp'))], [[], []])
})

test.serial('reading makes nothing, not even the root', async (t) => {
  const root = join(await folder(t), 'none')
  const store = fileStore({ root })
  await t.throwsAsync(store.get('a'), { code: 'store.not-found' })
  await store.delete('a')
  t.deepEqual(await all(store.list('')), [])
  await t.throwsAsync(readdir(root), { code: 'ENOENT' })
})

test.serial('a folder that somebody removed is made again', async (t) => {
  const root = await folder(t)
  const store = fileStore({ root })
  await store.put('runs/r1/head', text('1'))
  await rm(join(root, 'runs'), { recursive: true })
  await store.put('runs/r1/head', text('2'), { ifNoneMatch: '*' })
  await rm(root, { recursive: true })
  await store.put('runs/r1/head', text('3'), { ifNoneMatch: '*' })
  t.is(await readFile(join(root, 'runs/r1/head'), 'utf8'), '3')
})

test.serial('any sequence of operations does the same to a file store, a memory store and a map', async (t) => {
  const key = fc.constantFrom('a', 'a/b', 'a/b/c', 'a-b', 'a.b/c', 'b', 'b/a')
  const step = fc.oneof(
    fc.record({
      kind: fc.constant('put' as const),
      key,
      value: fc.string({ maxLength: 3 }),
      condition: fc.constantFrom('none', 'new', 'same', 'stale'),
    }),
    fc.record({ kind: fc.constant('delete' as const), key }),
    fc.record({ kind: fc.constant('list' as const), prefix: fc.constantFrom('', 'a', 'a/', 'a/b', 'a.', 'c') }),
    fc.record({ kind: fc.constant('reopen' as const) }),
  )
  const sequences = fc.array(step, { maxLength: 25 })
  await fc.assert(
    fc.asyncProperty(sequences, async (steps) => {
      for (const make of [() => crashingSubject(1), () => memorySubject()]) {
        const subject = await make()
        await followModel(subject.store, () => subject.reopen(), steps)
        await subject.close()
      }
    }),
    { numRuns: 60, seed: 20_240_601 },
  )
  t.pass()
})

type Step =
  | { readonly kind: 'put'; readonly key: string; readonly value: string; readonly condition: string }
  | { readonly kind: 'delete'; readonly key: string }
  | { readonly kind: 'list'; readonly prefix: string }
  | { readonly kind: 'reopen' }

async function followModel(opened: ObjectStore, reopen: () => Promise<ObjectStore>, steps: readonly Step[]): Promise<void> {
  const model = new Map<string, string>()
  let store = opened
  for (const step of steps) {
    if (step.kind === 'reopen') store = await reopen()
    if (step.kind === 'delete') {
      await store.delete(step.key)
      model.delete(step.key)
    }
    if (step.kind === 'list') {
      const found = (await all(store.list(step.prefix))).map(({ key, sizeBytes }) => `${key} ${sizeBytes}`)
      const expected = [...model].filter(([key]) => key.startsWith(step.prefix)).map(([key, value]) => `${key} ${text(value).length}`)
      if (found.join() !== expected.sort().join()) throw new Error(`listed ${found.join()}, expected ${expected.join()}`)
    }
    if (step.kind === 'put') {
      const current = await store.get(step.key).catch(() => undefined)
      const options = {
        none: {},
        new: { ifNoneMatch: '*' as const },
        same: { ifMatch: current?.etag ?? 'none' },
        stale: { ifMatch: 'stale' },
      }[step.condition]
      const isAllowed = step.condition === 'none' || (step.condition === 'new' ? !current : step.condition === 'same' && !!current)
      const isDone = await store.put(step.key, text(step.value), options).then(
        () => true,
        (error: unknown) => !isSwarmError(error, 'store.conflict') && Promise.reject(error as Error),
      )
      if (isDone !== isAllowed) throw new Error(`put ${step.key} ${step.condition}: ${isDone}`)
      if (isDone) model.set(step.key, step.value)
    }
    for (const [key, value] of model) {
      const read = new TextDecoder().decode((await store.get(key)).bytes)
      if (read !== value) throw new Error(`${key} is ${read}, expected ${value}`)
    }
  }
}

test.serial('several processes that add to one counter lose no addition', async (t) => {
  const root = await folder(t)
  const store = fileStore({ root })
  await store.put('runs/counter', text('0'))
  const children = Array.from({ length: 4 }, () => start('increment', root, 'runs/counter', '25'))
  for (const code of await Promise.all(children.map(ended))) t.is(code, 0)
  t.is(await readFile(join(root, 'runs/counter'), 'utf8'), '100')
})

test.serial('a temporary file of a killed process is removed when the store is opened, those of living ones are not', async (t) => {
  const root = await folder(t)
  t.is(await ended(start('temporary', root, 'a')), 'SIGKILL')
  t.is((await readdir(join(root, '@tmp'))).length, 1)
  const own = `${processIdentity()},own`
  await writeFile(join(root, '@tmp', own), 'being written')
  await fileStore({ root }).put('a', text('1'), { ifNoneMatch: '*' })
  t.deepEqual(await readdir(join(root, '@tmp')), [own])
})

test.serial('a put that waits too long for another process says which, and may be tried again', async (t) => {
  const root = await folder(t)
  const held = new Promise<void>((resolve) => {
    const fs = faultyFileSystem(nodeFileSystem, (call) => void (call === 'rename' && resolve()))
    const stuck = { ...fs, rename: (from: string, to: string) => fs.rename(from, to).then(() => new Promise<void>(() => {})) }
    void fileStore({ root, fs: stuck }).put('a', text('1'))
  })
  await held
  const clock: Clock = {
    now: () => 0,
    after: (_, late) => {
      setImmediate(late)
      return () => {}
    },
    sleep: async (_, signal) => {
      await turn()
      signal?.throwIfAborted()
    },
  }
  const error = await t.throwsAsync(fileStore({ root, clock }).put('a', text('2')), { code: 'store.unavailable' })
  t.true(isSwarmError(error) && error.retryable && error.message.includes(`process ${process.pid} `), error?.message)
})

test.serial('a memory store is done within the turn of the event loop in which it is asked', async (t) => {
  const store = memoryStore()
  let isTurnOver = false
  setImmediate(() => {
    isTurnOver = true
  })
  await store.put('a', text('1'))
  await store.get('a')
  await all(store.list(''))
  await store.close()
  t.false(isTurnOver)
})

function checkAll(name: string, cases: readonly ConformanceCase[]): void {
  for (const check of cases)
    test.serial(`${name}: ${check.title}`, async (t) => {
      await check.run()
      t.pass()
    })
}

/** The calls of the file system that `work` makes on a store that holds `a/b`, in order. */
async function callsOf(work: (store: ObjectStore) => Promise<unknown>): Promise<FileCall[]> {
  const inner = crashingFileSystem()
  await fileStore({ root: '/store', fs: inner }).put('a/b', text('old'))
  const calls: FileCall[] = []
  await work(fileStore({ root: '/store', fs: faultyFileSystem(inner, (call) => void calls.push(call)) }))
  return calls
}

function text(value: string): Uint8Array {
  return new TextEncoder().encode(value)
}
