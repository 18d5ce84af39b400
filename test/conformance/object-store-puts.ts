import assert from 'node:assert/strict'
import { all, CAS_WRITERS, filled, isFilled, onlyWinner, readText, rejects, text, turn, type StoreCheck } from './object-store-check.js'

const MEBIBYTE = 1024 * 1024
const LARGEST_BYTES = 100 * MEBIBYTE
const LAST_VALUE = 8

/** What a put promises: bytes, conditions, ownership. */
export const PUT_CHECKS: readonly StoreCheck[] = [
  [
    'a put is read back, byte for byte, under its key alone',
    async (store) => {
      const bytes = Uint8Array.from({ length: 1000 }, (_, i) => (i * 7) % 256)
      const { etag } = await store.put('runs/r1/head', bytes)
      await store.put('runs/r2/head', text('other'))
      const read = await store.get('runs/r1/head')
      assert.deepEqual(read.bytes, bytes)
      assert.equal(read.etag, etag, 'put and get name the same etag')
      assert.ok(read.bytes.constructor === Uint8Array || Buffer.isBuffer(read.bytes))
    },
  ],
  [
    'every put is seen by the next get',
    async (store) => {
      for (let i = 0; i < 30; i++) {
        await store.put('counter', text(`${i}`))
        assert.equal(await readText(store, 'counter'), `${i}`)
      }
    },
  ],
  [
    'a reader during puts sees the old object or a new one, whole, and never goes back',
    async (store) => {
      const sizeBytes = 2 * MEBIBYTE
      await store.put('big', filled(1, sizeBytes))
      const progress = { isDone: false }
      const writer = (async () => {
        for (let value = 2; value <= LAST_VALUE; value++) await store.put('big', filled(value, sizeBytes + value))
      })().finally(() => {
        progress.isDone = true
      })
      writer.catch(() => {})
      const read = async (pauseTurns: number) => {
        for (let last = 1; !progress.isDone;) {
          const { bytes } = await store.get('big')
          const value = bytes[0]
          assert.ok(value >= last, `read ${value} after ${last}`)
          assert.equal(bytes.length, value === 1 ? sizeBytes : sizeBytes + value)
          assert.ok(isFilled(bytes, value), `the object ${value} is torn`)
          last = value
          for (let i = 0; i < pauseTurns; i++) await turn()
        }
      }
      await Promise.all([1, 2, 3, 5, 8, 13].map(read))
      await writer
      assert.equal((await store.get('big')).bytes[0], LAST_VALUE)
    },
  ],
  [
    'the etag changes with the bytes',
    async (store) => {
      const first = await store.put('a', text('1'))
      const second = await store.put('a', text('2'))
      assert.notEqual(first.etag, second.etag)
      assert.equal((await store.get('a')).etag, second.etag)
    },
  ],
  [
    "ifNoneMatch '*' creates an object and never replaces one",
    async (store) => {
      await store.put('a', text('first'), { ifNoneMatch: '*' })
      await rejects(store.put('a', text('second'), { ifNoneMatch: '*' }), 'store.conflict')
      await rejects(store.put('a', text('first'), { ifNoneMatch: '*' }), 'store.conflict')
      assert.equal(await readText(store, 'a'), 'first')
      await store.delete('a')
      await store.put('a', text('third'), { ifNoneMatch: '*' })
      assert.equal(await readText(store, 'a'), 'third')
    },
  ],
  [
    'ifMatch replaces exactly the object that has the etag',
    async (store) => {
      const { etag } = await store.put('a', text('1'))
      const next = await store.put('a', text('2'), { ifMatch: etag })
      await rejects(store.put('a', text('3'), { ifMatch: etag }), 'store.conflict')
      assert.equal(await readText(store, 'a'), '2')
      await store.put('a', text('3'), { ifMatch: next.etag })
      await store.put('a', text('4'), { ifMatch: (await store.get('a')).etag })
      assert.equal(await readText(store, 'a'), '4')
    },
  ],
  [
    'ifMatch on an object that is not there is a conflict and creates nothing',
    async (store) => {
      const { etag } = await store.put('a', text('1'))
      await store.delete('a')
      await rejects(store.put('a', text('2'), { ifMatch: etag }), 'store.conflict')
      await rejects(store.put('b', text('2'), { ifMatch: etag }), 'store.conflict')
      await rejects(store.get('a'), 'store.not-found')
      await rejects(store.get('b'), 'store.not-found')
    },
  ],
  [
    `of ${CAS_WRITERS} concurrent writers with the same ifMatch exactly one succeeds`,
    async (store) => {
      let { etag } = await store.put('a', text('start'))
      for (let round = 0; round < 3; round++) {
        const ifMatch = etag
        const winner = await onlyWinner((i) => store.put('a', text(`${round}.${i}`), { ifMatch }))
        assert.equal(await readText(store, 'a'), `${round}.${winner}`, 'the object is the one of the writer who succeeded')
        etag = (await store.get('a')).etag
      }
    },
  ],
  [
    `of ${CAS_WRITERS} concurrent writers with ifNoneMatch exactly one succeeds`,
    async (store) => {
      const winner = await onlyWinner((i) => store.put('new/a', text(`${i}`), { ifNoneMatch: '*' }))
      assert.equal(await readText(store, 'new/a'), `${winner}`)
    },
  ],
  [
    'an object of 100 MB comes back whole',
    async (store) => {
      const bytes = new Uint8Array(LARGEST_BYTES)
      const words = new Uint32Array(bytes.buffer)
      for (let i = 0; i < words.length; i++) words[i] = Math.imul(i, 2654435761)
      await store.put('blobs/large', bytes)
      const read = await store.get('blobs/large')
      assert.ok(Buffer.compare(read.bytes, bytes) === 0, 'the bytes differ')
      assert.deepEqual(await all(store.list('blobs/')), [{ key: 'blobs/large', sizeBytes: LARGEST_BYTES }])
    },
  ],
  [
    'a part of a larger buffer is stored as that part',
    async (store) => {
      const whole = Uint8Array.from({ length: 100 }, (_, i) => i)
      await store.put('part', whole.subarray(10, 20))
      assert.deepEqual([...(await store.get('part')).bytes], [10, 11, 12, 13, 14, 15, 16, 17, 18, 19])
    },
  ],
  [
    'the caller may change its buffer as soon as put is called',
    async (store) => {
      const bytes = filled(1, MEBIBYTE)
      const put = store.put('a', bytes)
      bytes.fill(2)
      await put
      assert.ok(isFilled((await store.get('a')).bytes, 1), 'the object changed during the put')
      bytes.fill(3)
      assert.ok(isFilled((await store.get('a')).bytes, 1), 'the object changed after the put')
    },
  ],
  [
    'the buffer that get returns belongs to the caller',
    async (store) => {
      await store.put('a', filled(1, 1000))
      const first = await store.get('a')
      const second = await store.get('a')
      first.bytes.fill(9)
      assert.ok(isFilled(second.bytes, 1), 'two reads share a buffer')
      assert.ok(isFilled((await store.get('a')).bytes, 1), 'a reader changed the object')
      structuredClone(second.bytes, { transfer: [second.bytes.buffer as ArrayBuffer] })
      assert.ok(isFilled((await store.get('a')).bytes, 1), 'a reader moved the object away')
    },
  ],
]
