import assert from 'node:assert/strict'
import { all, readText, rejects, text, type StoreCheck } from './object-store-check.js'

/** What keys, listings and deletions promise. */
export const KEY_CHECKS: readonly StoreCheck[] = [
  [
    'an object that is not there is not found, by code',
    async (store) => {
      await store.put('a/b/c', text('1'))
      for (const key of ['b', 'a', 'a/b', 'a/b/c/d', 'a/b/cc']) await rejects(store.get(key), 'store.not-found')
    },
  ],
  [
    'an object of no bytes is an object',
    async (store) => {
      await store.put('empty', new Uint8Array(0))
      assert.equal((await store.get('empty')).bytes.length, 0)
      assert.deepEqual(await all(store.list('')), [{ key: 'empty', sizeBytes: 0 }])
      await rejects(store.put('empty', text('1'), { ifNoneMatch: '*' }), 'store.conflict')
      await store.put('empty', text('1'), { ifMatch: (await store.get('empty')).etag })
    },
  ],
  [
    'a listing is in ascending order of keys by UTF-16 code unit',
    async (store) => {
      const keys = [
        'a',
        'a-b',
        'a.b',
        'a/b',
        'a/b-c',
        'a/b.c',
        'a/b/c',
        'a0',
        'aB',
        'a_',
        'ab',
        'B',
        '_',
        '-',
        '.x',
        '0',
        'z/y',
        'z-y/a',
        'z.y/a',
      ]
      for (const key of keys) await store.put(key, text(key))
      const sorted = [...keys].sort()
      assert.deepEqual(
        await all(store.list('')),
        sorted.map((key) => ({ key, sizeBytes: key.length })),
      )
    },
  ],
  [
    'a listing holds exactly the keys that start with its prefix, wherever that ends',
    async (store) => {
      const keys = ['runs/1/blobs/a', 'runs/1/blobs/ab', 'runs/1/blobs/b', 'runs/1/head', 'runs/10/head', 'runs/2/head', 'runs-old', 'r']
      for (const key of keys) await store.put(key, text('1'))
      const prefixes = [
        '',
        'r',
        'runs',
        'runs/',
        'runs/1',
        'runs/1/',
        'runs/1/b',
        'runs/1/blobs/a',
        'runs/1/blobs/ab',
        'x',
        'runs/1/head/',
        '/',
        '../',
        'runs//',
      ]
      for (const prefix of prefixes) {
        const expected = keys.filter((key) => key.startsWith(prefix)).sort()
        assert.deepEqual(
          (await all(store.list(prefix))).map((entry) => entry.key),
          expected,
          `prefix ${JSON.stringify(prefix)}`,
        )
      }
    },
  ],
  [
    'a listing survives objects that come and go meanwhile and holds every one that stays',
    async (store) => {
      for (let i = 0; i < 40; i++) await store.put(`x/${i % 4}/${i}`, text(`${i}`))
      const seen: string[] = []
      for await (const { key } of store.list('x/')) {
        seen.push(key)
        if (seen.length > 1) continue
        for (let i = 1; i < 40; i += 2) await store.delete(`x/${i % 4}/${i}`)
        await store.put('x/0/new', text('new'))
      }
      assert.deepEqual(seen, [...new Set(seen)].sort(), 'in order, each once')
      for (let i = 0; i < 40; i += 2) assert.ok(seen.includes(`x/${i % 4}/${i}`), `x/${i % 4}/${i} is missing`)
    },
  ],
  [
    'a key may be the folder of another, whichever comes first',
    async (store) => {
      for (const key of ['a', 'a/b', 'c/d/e', 'c/d', 'c']) await store.put(key, text(key))
      for (const key of ['a', 'a/b', 'c/d/e', 'c/d', 'c']) assert.equal(await readText(store, key), key)
      assert.deepEqual(
        (await all(store.list(''))).map(({ key }) => key),
        ['a', 'a/b', 'c', 'c/d', 'c/d/e'],
      )
      await rejects(store.put('a', text('2'), { ifNoneMatch: '*' }), 'store.conflict')
      await store.put('a', text('2'), { ifMatch: (await store.get('a')).etag })
      await store.delete('a')
      await rejects(store.get('a'), 'store.not-found')
      assert.equal(await readText(store, 'a/b'), 'a/b')
      await store.put('a', text('3'), { ifNoneMatch: '*' })
      assert.equal(await readText(store, 'a'), '3')
    },
  ],
  [
    'keys of 512 characters are keys, in one segment or in many',
    async (store) => {
      const keys = [
        'k'.repeat(512),
        `${'k'.repeat(500)}-other`,
        `${'k/'.repeat(255)}kk`,
        `${'.'.repeat(1)}${'d'.repeat(511)}`,
        `x${'.'.repeat(511)}`,
      ]
      for (const key of keys) await store.put(key, text(key))
      for (const key of keys) assert.equal(await readText(store, key), key)
      assert.deepEqual(
        (await all(store.list(''))).map(({ key }) => key),
        [...keys].sort(),
      )
      assert.deepEqual(
        (await all(store.list('k'.repeat(400)))).map(({ key }) => key),
        [keys[1], keys[0]].sort(),
      )
    },
  ],
  [
    'a key that could mean anything else is refused by every call',
    async (store) => {
      const keys = [
        '',
        '/',
        '/a',
        'a/',
        'a//b',
        '.',
        '..',
        '...',
        '../a',
        'a/..',
        'a/../b',
        'a/./b',
        'a b',
        'ä',
        'a\\b',
        'a\0',
        'a%',
        'a@',
        'a~',
        'k'.repeat(513),
      ]
      for (const key of keys) {
        await rejects(store.put(key, text('1')), 'store.invalid-key')
        await rejects(store.get(key), 'store.invalid-key')
        await rejects(store.delete(key), 'store.invalid-key')
      }
      for (const key of ['.a', '..a', 'a..', 'a/.b', '-', '_', 'A/..z', 'tmp/x', '.tmp/x', '.lock']) await store.put(key, text('1'))
    },
  ],
  [
    'delete removes an object, and resolves where there is none',
    async (store) => {
      await store.delete('a')
      await store.put('a', text('1'))
      await store.put('a-b', text('2'))
      await Promise.all([store.delete('a'), store.delete('a')])
      await store.delete('a')
      await store.delete('a/b/c')
      await rejects(store.get('a'), 'store.not-found')
      assert.deepEqual(
        (await all(store.list(''))).map(({ key }) => key),
        ['a-b'],
      )
    },
  ],
]
