import { setImmediate as turn } from 'node:timers/promises'
import type { FileSystem } from '../../runtime/object-store/file-system.js'
import { isSwarmError } from '../../runtime/errors.js'
import type { ObjectStore } from '../../runtime/object-store/object-store.js'
import type { StoreUnderTest } from '../conformance/object-store.js'
import { all } from '../conformance/object-store-check.js'
import { crashingSubject, memorySubject } from './store-subjects.js'

/** Stores that break one promise each, by what they do wrong. */
export const BROKEN_STORES: Readonly<Record<string, () => Promise<StoreUnderTest>>> = {
  'forgets its objects when it is opened again': () => memorySubject(undefined, true),
  'ignores ifMatch': () =>
    altered((store) => ({ put: (key, bytes, options) => store.put(key, bytes, { ...options, ifMatch: undefined }) })),
  'ignores ifNoneMatch': () =>
    altered((store) => ({ put: (key, bytes, options) => store.put(key, bytes, { ...options, ifNoneMatch: undefined }) })),
  'looks at ifMatch first and writes later': () =>
    altered((store) => ({
      async put(key, bytes, { ifMatch, ...options } = {}) {
        if (ifMatch === undefined || (await store.get(key).catch(() => undefined))?.etag !== ifMatch)
          return store.put(key, bytes, { ifMatch, ...options })
        const copy = new Uint8Array(bytes)
        await turn()
        return store.put(key, copy, options)
      },
    })),
  'looks at ifNoneMatch first and writes later': () =>
    altered((store) => ({
      async put(key, bytes, { ifNoneMatch, ...options } = {}) {
        if (ifNoneMatch === undefined || (await store.get(key).catch(() => undefined)))
          return store.put(key, bytes, { ifNoneMatch, ...options })
        await turn()
        return store.put(key, bytes, options)
      },
    })),
  'creates an object for an ifMatch without one': () =>
    altered((store) => ({
      put: (key, bytes, options = {}) =>
        store.put(key, bytes, options).catch(async (error: unknown) => {
          const isThere = await store.get(key).catch(() => undefined)
          if (!isSwarmError(error, 'store.conflict') || isThere) throw error
          return store.put(key, bytes)
        }),
    })),
  'lists in no order': () =>
    altered((store) => ({
      async *list(prefix, options) {
        yield* (await all(store.list(prefix, options))).toReversed()
      },
    })),
  'lists a prefix by whole segments': () =>
    altered((store) => ({
      async *list(prefix, options) {
        for await (const entry of store.list(prefix, options)) if (prefix === '' || prefix.endsWith('/')) yield entry
      },
    })),
  'keeps the buffer of the caller': () => {
    const kept = new Map<string, Uint8Array>()
    return altered((store) => ({
      async put(key, bytes, options) {
        const result = await store.put(key, bytes, options)
        kept.set(key, bytes)
        return result
      },
      async get(key, options) {
        const object = await store.get(key, options)
        return { ...object, bytes: new Uint8Array(kept.get(key) ?? object.bytes) }
      },
    }))
  },
  'copies the buffer too late': () =>
    altered((store) => ({
      async put(key, bytes, options) {
        await turn()
        return store.put(key, bytes, options)
      },
    })),
  'returns its own buffer': () => {
    const own = new Map<string, Uint8Array>()
    return altered((store) => ({
      async get(key, options) {
        const object = await store.get(key, options)
        const bytes = own.get(object.etag) ?? object.bytes
        own.set(object.etag, bytes)
        return { ...object, bytes }
      },
    }))
  },
  'reads what was there before': () => {
    const cache = new Map<string, Awaited<ReturnType<ObjectStore['get']>>>()
    return altered((store) => ({
      async get(key, options) {
        const object = cache.get(key) ?? (await store.get(key, options))
        cache.set(key, object)
        return { ...object, bytes: new Uint8Array(object.bytes) }
      },
    }))
  },
  'takes any key': () =>
    altered((store) => ({ put: (key, bytes, options) => store.put(key.replaceAll('..', 'up') || 'none', bytes, options) })),
  'cannot delete what is not there': () =>
    altered((store) => ({
      async delete(key, options) {
        await store.get(key, options)
        await store.delete(key, options)
      },
    })),
  'does not hear an abort': () =>
    altered((store) => ({ put: (key, bytes, options) => store.put(key, bytes, { ...options, signal: undefined }) })),
  'does not wait when it is closed': () =>
    altered((store) => ({
      async put(key, bytes, options) {
        const copy = new Uint8Array(bytes)
        for (let i = 0; i < 20; i++) await turn()
        return store.put(key, copy, options)
      },
    })),
  'is open after close': () => altered(() => ({ close: async () => {} })),
  'loses a file that it did not sync': () =>
    crashingSubject(1, (fs) => ({ ...fs, create: async (path) => ({ ...(await fs.create(path)), sync: async () => {} }) })),
  'loses a name that it did not sync': () => crashingSubject(1, (fs) => ({ ...fs, syncFolder: async () => {} })),
  'tears an object at a crash': () => crashingSubject(1, (fs) => ({ ...fs, rename: (from, to) => copyInPlace(fs, from, to) })),
  'shows an object that is half written': () =>
    crashingSubject(1, (fs) => ({ ...fs, rename: (from, to) => copyInPlace(fs, from, to) })).then(withoutCrash),
}

function altered(alter: (store: ObjectStore) => Partial<ObjectStore>): Promise<StoreUnderTest> {
  return memorySubject((store) => ({
    get: (key, options) => store.get(key, options),
    put: (key, bytes, options) => store.put(key, bytes, options),
    delete: (key, options) => store.delete(key, options),
    list: (prefix, options) => store.list(prefix, options),
    close: () => store.close(),
    ...alter(store),
  }))
}

function withoutCrash(subject: StoreUnderTest): StoreUnderTest {
  return { store: subject.store, reopen: () => subject.reopen(), close: () => subject.close() }
}

/** A put without a rename: durable in the end, and in pieces until then. */
async function copyInPlace(fs: FileSystem, from: string, to: string): Promise<void> {
  const found = await fs.stat(to).catch(() => undefined)
  if (found?.kind === 'folder') return fs.rename(from, to)
  const bytes = await fs.read(from)
  if (found) await fs.remove(to)
  const file = await fs.create(to)
  await file.write(bytes.subarray(0, bytes.length >> 1))
  await file.write(bytes.subarray(bytes.length >> 1))
  await file.sync()
  await file.close()
  await fs.remove(from)
}
