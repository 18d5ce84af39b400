import test from 'ava'
import { SwarmError } from '../../runtime/errors.js'
import { type Head, advanced, decodeHead, encodeRecord, firstHead, keys, placed } from '../../runtime/head.js'
import { HeadWriter, readHead } from '../../runtime/head-store.js'
import { memoryStore } from '../../runtime/object-store/memory-store.js'
import type { ObjectStore } from '../../runtime/object-store/object-store.js'

const moveTo = (pnode: string) => (head: Head) => placed(head, [{ vnode: 'a', pnode }])

test('a run has one first head', async (t) => {
  const store = memoryStore()
  const writer = await HeadWriter.create(store, firstHead('r1'))
  t.is(writer.head.writer, 1)
  t.deepEqual((await readHead(store, 'r1')).head, writer.head)
  await t.throwsAsync(HeadWriter.create(store, firstHead('r1')), { code: 'store.conflict' })
  await HeadWriter.create(store, firstHead('r2'))
})

test('a run that is not there cannot be read or taken over', async (t) => {
  const store = memoryStore()
  await t.throwsAsync(readHead(store, 'r1'), { code: 'run.not-found', message: /'r1'/ })
  await t.throwsAsync(HeadWriter.claim(store, 'r1'), { code: 'run.not-found' })
})

test('whoever takes over goes on from what is stored, and the older writer is refused for ever', async (t) => {
  const store = memoryStore()
  const older = await HeadWriter.create(store, firstHead('r1'))
  await older.update(moveTo('p1'))
  const newer = await HeadWriter.claim(store, 'r1')
  t.deepEqual(newer.head, { ...older.head, writer: 2 })
  for (let i = 0; i < 2; i++) await t.throwsAsync(older.update(moveTo('p2')), { code: 'run.writer', message: /r1/ })
  t.is(older.replaced?.code, 'run.writer')
  t.is(older.head.directory.a.pnode, 'p1')
  await newer.update(moveTo('p3'))
  t.deepEqual((await readHead(store, 'r1')).head, newer.head)
  t.is(newer.head.directory.a.pnode, 'p3')
})

test('a writer that has nothing to write can ask whether it still is the writer', async (t) => {
  const store = memoryStore()
  const older = await HeadWriter.create(store, firstHead('r1'))
  // In turn: its own change is no other writer's.
  await Promise.all([older.update(moveTo('p1')), older.confirm()])
  t.is(older.replaced, undefined)
  await HeadWriter.claim(store, 'r1')
  t.is(older.replaced, undefined)
  await t.throwsAsync(older.confirm(), { code: 'run.writer', message: /writer 1 is out of date/ })
  t.is(older.replaced?.code, 'run.writer')
})

test('of many that take over at once, the one that is not refused is the only writer', async (t) => {
  const store = memoryStore()
  await HeadWriter.create(store, firstHead('r1'))
  const claims = await Promise.allSettled(Array.from({ length: 8 }, () => HeadWriter.claim(store, 'r1')))
  const writers = claims.flatMap((claim) => (claim.status === 'fulfilled' ? [claim.value] : []))
  for (const claim of claims) if (claim.status === 'rejected') t.is((claim.reason as SwarmError).code, 'run.writer')
  const updates = await Promise.allSettled(writers.map((writer) => writer.update(moveTo('p1'))))
  t.is(updates.filter(({ status }) => status === 'fulfilled').length, 1)
})

test('changes that are asked for together are made one after another, each on what the one before left', async (t) => {
  const store = memoryStore()
  const writer = await HeadWriter.create(store, firstHead('r1'))
  const heads = await Promise.all(Array.from({ length: 20 }, (_, i) => writer.update(moveTo(`p${i}`))))
  t.deepEqual(
    heads.map(({ termCounter }) => termCounter),
    Array.from({ length: 20 }, (_, i) => i + 1),
  )
  t.deepEqual((await readHead(store, 'r1')).head, heads[19])
})

test('a head changes for its readers when it is durable, not before', async (t) => {
  const inner = memoryStore()
  let open = () => {}
  const gate = new Promise<void>((resolve) => (open = resolve))
  let isOpen = true
  const store = withPut(inner, async (key, bytes, options) => {
    if (!isOpen) await gate
    return inner.put(key, bytes, options)
  })
  const writer = await HeadWriter.create(store, firstHead('r1'))
  isOpen = false
  const update = writer.update(moveTo('p1'))
  await Promise.resolve()
  t.is(writer.head.termCounter, 0)
  open()
  t.is((await update).termCounter, 1)
  t.is(writer.head.termCounter, 1)
})

test('a change that is refused, or a write that fails, changes nothing and stops nobody', async (t) => {
  const inner = memoryStore()
  let error: SwarmError | undefined
  const store = withPut(inner, async (key, bytes, options) => {
    if (error) throw error
    return inner.put(key, bytes, options)
  })
  const writer = await HeadWriter.create(store, firstHead('r1'))
  const wrong = { key: 'k', generation: 9, step: 1, position: 1 }
  const [refused, made] = await Promise.allSettled([writer.update((head) => advanced(head, wrong)), writer.update(moveTo('p1'))])
  t.is(refused.status === 'rejected' && (refused.reason as SwarmError).code, 'internal')
  t.is(made.status, 'fulfilled')
  error = new SwarmError('store.unavailable', { what: 'unplugged', retryable: true })
  await t.throwsAsync(writer.update(moveTo('p2')), { code: 'store.unavailable' })
  error = undefined
  t.is((await writer.update(moveTo('p3'))).termCounter, 2)
})

test('a write whose answer was lost is taken for somebody else: the writer stops', async (t) => {
  const inner = memoryStore()
  let isLost = false
  const store = withPut(inner, async (key, bytes, options) => {
    const result = await inner.put(key, bytes, options)
    if (isLost) throw new SwarmError('store.unavailable', { what: 'the answer was lost', retryable: true })
    return result
  })
  const writer = await HeadWriter.create(store, firstHead('r1'))
  isLost = true
  await t.throwsAsync(writer.update(moveTo('p1')), { code: 'store.unavailable' })
  isLost = false
  await t.throwsAsync(writer.update(moveTo('p2')), { code: 'run.writer' })
  const next = await HeadWriter.claim(store, 'r1')
  t.deepEqual(next.head.directory.a, { pnode: 'p1', term: 1 })
})

test('a damaged head and one of another version are refused', async (t) => {
  const store = memoryStore()
  const key = keys.head('r1')
  await store.put(key, new TextEncoder().encode('{"v":1,'))
  await t.throwsAsync(HeadWriter.claim(store, 'r1'), { code: 'store.damaged' })
  await store.put(key, encodeRecord({ ...firstHead('r1'), v: 2 } as unknown as Head))
  await t.throwsAsync(HeadWriter.claim(store, 'r1'), { code: 'head.version' })
  t.throws(() => decodeHead(new Uint8Array(), key), { code: 'store.damaged' })
})

/** The store, with another `put`. */
function withPut(store: ObjectStore, put: ObjectStore['put']): ObjectStore {
  return {
    put,
    get: (key, options) => store.get(key, options),
    delete: (key, options) => store.delete(key, options),
    list: (prefix, options) => store.list(prefix, options),
    close: () => store.close(),
  }
}
