import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { RandomStream } from '../../runtime/random.js'
import { fileStore } from '../../runtime/object-store/file-store.js'
import type { FileSystem } from '../../runtime/object-store/file-system.js'
import { memoryObjects, memoryStore } from '../../runtime/object-store/memory-store.js'
import type { ObjectStore } from '../../runtime/object-store/object-store.js'
import type { StoreUnderTest } from '../conformance/object-store.js'
import { crashingFileSystem } from './crashing-file-system.js'

/** Changes a store, to break it. */
export type Alter = (store: ObjectStore) => ObjectStore

/** A file store in a folder of its own that `close` removes. */
export async function fileSubject(): Promise<StoreUnderTest> {
  const folder = await mkdtemp(join(tmpdir(), 'swarmgrad-store-'))
  let store = fileStore({ root: join(folder, 'not', 'yet') })
  return {
    store,
    async reopen() {
      await store.close()
      store = fileStore({ root: join(folder, 'not', 'yet') })
      return store
    },
    async close() {
      await store.close()
      await rm(folder, { recursive: true })
    },
  }
}

/** A memory store; all its objects survive. */
export async function memorySubject(alter: Alter = (store) => store, isForgetful = false): Promise<StoreUnderTest> {
  const objects = memoryObjects()
  let store = alter(memoryStore({ objects }))
  return {
    store,
    async reopen() {
      await store.close()
      store = alter(memoryStore(isForgetful ? {} : { objects }))
      return store
    },
    close: () => store.close(),
  }
}

/** A file store whose power can be cut; what is not synced survives by chance, drawn from `seed`. */
export async function crashingSubject(seed: number, alter: (fs: FileSystem) => FileSystem = (fs) => fs): Promise<StoreUnderTest> {
  const stream = new RandomStream(seed, 'crash')
  let fs = crashingFileSystem()
  let store = fileStore({ root: '/store', fs: alter(fs) })
  return {
    store,
    async reopen() {
      await store.close()
      store = fileStore({ root: '/store', fs: alter(fs) })
      return store
    },
    async crash() {
      fs = fs.crash(() => stream.uniform() < 0.5)
      store = fileStore({ root: '/store', fs: alter(fs) })
      return store
    },
    close: () => store.close(),
  }
}
