import assert from 'node:assert/strict'
import { isSwarmError } from '../../runtime/errors.js'
import { all, filled, isFilled, readText, rejects, text, turn, type StoreCheck } from './object-store-check.js'

const MEBIBYTE = 1024 * 1024

/** A crash after so many turns of the event loop, less one in each round: most puts are over by then. */
const CRASH_ROUNDS = 40

/** What is promised when something ends: the process, the power, the caller's patience, the store. */
export const ENDING_CHECKS: readonly StoreCheck[] = [
  [
    'objects, etags and deletions outlive the store',
    async (store, subject) => {
      const { etag } = await store.put('a/b', text('1'))
      await store.put('a/c', new Uint8Array(0))
      await store.put('d', text('2'))
      await store.delete('d')
      const again = await subject.reopen()
      assert.equal(await readText(again, 'a/b'), '1')
      assert.deepEqual(
        (await all(again.list(''))).map(({ key }) => key),
        ['a/b', 'a/c'],
      )
      await rejects(again.get('d'), 'store.not-found')
      await rejects(again.put('a/b', text('2'), { ifNoneMatch: '*' }), 'store.conflict')
      await again.put('a/b', text('2'), { ifMatch: etag })
    },
  ],
  [
    'a crash loses nothing that was acknowledged',
    async (store, subject) => {
      const { etag } = await store.put('runs/r/head', text('1'), { ifNoneMatch: '*' })
      await store.put('runs/r/head', text('2'), { ifMatch: etag })
      await store.put('runs', text('a key and a folder'))
      for (let i = 0; i < 20; i++) await store.put(`runs/r/blobs/${i}/${i}`, filled(i, 5000))
      await Promise.all(Array.from({ length: 20 }, (_, i) => store.put(`at-once/${i % 3}/${i}`, filled(i, 100))))
      await store.delete('runs/r/blobs/3/3')
      const again = await (subject.crash?.() ?? subject.reopen())
      assert.equal(await readText(again, 'runs/r/head'), '2')
      assert.equal(await readText(again, 'runs'), 'a key and a folder')
      for (let i = 0; i < 20; i++) {
        const { bytes } = await again.get(`at-once/${i % 3}/${i}`)
        assert.ok(bytes.length === 100 && isFilled(bytes, i), `at-once/${i % 3}/${i} is damaged`)
        if (i === 3) await rejects(again.get('runs/r/blobs/3/3'), 'store.not-found')
        else assert.deepEqual((await again.get(`runs/r/blobs/${i}/${i}`)).bytes, filled(i, 5000))
      }
      assert.equal((await all(again.list(''))).length, 41)
    },
  ],
  [
    'a crash during a put leaves the old object or the new one, whole',
    async (store, subject) => {
      await store.put('a', filled(1, 10_000))
      let opened = store
      for (let round = 0; round < CRASH_ROUNDS; round++) {
        const outcomes = Promise.allSettled([
          opened.put('a', filled(2, 20_000)),
          opened.put('new', filled(3, 20_000), { ifNoneMatch: '*' }),
          opened.put(`a/${round}`, filled(4, 20_000)),
        ])
        for (let i = 0; i < round; i++) await turn()
        opened = await (subject.crash?.() ?? subject.reopen())
        await outcomes
        const { bytes } = await opened.get('a')
        assert.ok(isFilled(bytes, bytes.length === 10_000 ? 1 : 2), 'the object is torn')
        for (const { key, sizeBytes } of await all(opened.list(''))) {
          const read = await opened.get(key)
          assert.ok(read.bytes.length === sizeBytes && sizeBytes >= 10_000 && isFilled(read.bytes, read.bytes[0]), `${key} is torn`)
        }
        await opened.put('a', filled(1, 10_000), { ifMatch: (await opened.get('a')).etag })
      }
    },
  ],
  [
    'a call whose signal is aborted rejects and changes nothing',
    async (store) => {
      await store.put('a', text('1'))
      const signal = AbortSignal.abort(new Error('enough'))
      await rejects(store.put('a', text('2'), { signal }), 'aborted')
      await rejects(store.put('b', text('2'), { signal, ifNoneMatch: '*' }), 'aborted')
      await rejects(store.get('a', { signal }), 'aborted')
      await rejects(store.delete('a', { signal }), 'aborted')
      await rejects(all(store.list('', { signal })), 'aborted')
      assert.equal(await readText(store, 'a'), '1')
      assert.deepEqual(
        (await all(store.list(''))).map(({ key }) => key),
        ['a'],
      )
    },
  ],
  [
    'an abort during a put leaves the old object or the new one, and the key as usable as before',
    async (store) => {
      await store.put('a', filled(1, 1000))
      for (let turns = 0; turns < 12; turns += 3) {
        const controller = new AbortController()
        const put = store.put('a', filled(2, 8 * MEBIBYTE), { signal: controller.signal }).then(
          () => true,
          (error: unknown) => isSwarmError(error, 'aborted') || Promise.reject(error as Error),
        )
        for (let i = 0; i < turns; i++) await turn()
        controller.abort()
        await put
        const { bytes } = await store.get('a')
        assert.ok(isFilled(bytes, 1) ? bytes.length === 1000 : isFilled(bytes, 2) && bytes.length === 8 * MEBIBYTE, 'the object is torn')
        await store.put('a', filled(1, 1000))
      }
    },
  ],
  [
    'close waits for what is under way, and later calls are refused',
    async (store, subject) => {
      await store.put('old', text('1'))
      const puts = Promise.all(Array.from({ length: 5 }, (_, i) => store.put(`a/${i}`, filled(i, 100_000))))
      let isDone = false
      const marked = puts.then(() => {
        isDone = true
      })
      marked.catch(() => {})
      await store.close()
      await turn()
      assert.ok(isDone, 'close did not wait for the puts')
      await marked
      await store.close()
      await rejects(store.get('old'), 'store.unavailable')
      await rejects(store.put('b', text('1')), 'store.unavailable')
      await rejects(store.delete('old'), 'store.unavailable')
      await rejects(all(store.list('')), 'store.unavailable')
      const again = await subject.reopen()
      assert.equal((await all(again.list('a/'))).length, 5)
      assert.equal(await readText(again, 'old'), '1')
    },
  ],
]
