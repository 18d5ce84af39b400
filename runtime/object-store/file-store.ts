import { createHash, randomUUID, webcrypto } from 'node:crypto'
import { dirname, join, resolve } from 'node:path'
import { systemClock, type Clock } from '../clock.js'
import { isSwarmError, SwarmError } from '../errors.js'
import { brokenError, fileError } from './file-error.js'
import { lock, tryLock, type FileLock } from './file-lock.js'
import { hasErrno, nodeFileSystem, type FileSystem } from './file-system.js'
import { makeFolders, makeIfMissing } from './folders.js'
import { DISPLACED, isMissing, keyFolders, keyPath, listKeys } from './key-path.js'
import { abortedError, checkKey, checkSignal, closedError, conflictError, notFoundError } from './object-key.js'
import type { ListedObject, ObjectStore, PutOptions, StoredObject } from './object-store.js'
import { isGone, processIdentity } from './process-identity.js'

export interface FileStoreOptions {
  /** The folder that holds the objects. Made at the first write; reading never writes. */
  readonly root: string
  /** The machine's own by default; a test may hand in one that fails. */
  readonly fs?: FileSystem
  /** Only for the wait for another process. */
  readonly clock?: Clock
  /** What is larger is hashed by another thread. Default 64 KiB: so few bytes are hashed sooner than another thread is told of them. */
  readonly hashedHereBytes?: number
}

/** How long a write waits for another process that holds the lock of its key: far longer than writing 100 MB takes. */
const LOCK_WAIT_MS = 60_000

/** A signal is looked at between two parts of this size. */
const WRITE_PART_BYTES = 4 * 1024 * 1024

/** Names that no key has. */
const TEMPORARY = '@tmp'
const LOCKS = '@lock'

/**
 * A store in a folder, for any number of processes of one machine. The key is the path of the file below `root` (`key-path.ts` has the exceptions);
 * `@tmp` and `@lock` are the store's own. Folders that become empty stay.
 *
 * A put writes and syncs a temporary file, renames it and syncs the folder, all under a lock of its key, which every put and delete takes.
 * An etag is a hash of the bytes: after A → B → A the first etag is valid again, which is harmless, as a condition is about what
 * is replaced and the bytes are the same.
 *
 * After a failed fsync nobody knows what is durable, and a second one may report success without being one. So none is repeated: the put fails,
 * and so does every later call, as after a crash.
 *
 * A process that reads while another one puts may see an object in the instant before it is durable; only a power cut just then takes it back.
 */
export function fileStore(options: FileStoreOptions): ObjectStore {
  return new FileStore(options)
}

class FileStore implements ObjectStore {
  readonly #root: string
  readonly #fs: FileSystem
  readonly #clock: Clock
  readonly #hashedHereBytes: number
  /** Calls that `close` waits for. */
  readonly #underWay = new Set<Promise<unknown>>()
  /** The last write of each key: the next one waits for it, and so asks the file system for the lock only if no other process is in the way. */
  readonly #turns = new Map<string, Promise<void>>()
  /** Objects that readers see already and a crash could take back. */
  readonly #publishing = new Map<string, Promise<void>>()
  /** Folders that exist durably, or are being made. */
  readonly #folders = new Map<string, Promise<void>>()
  #preparation: Promise<void> | undefined
  #isClosed = false
  #broken: SwarmError | undefined

  constructor({ root, fs = nodeFileSystem, clock = systemClock, hashedHereBytes = 64 * 1024 }: FileStoreOptions) {
    this.#root = resolve(root)
    this.#fs = fs
    this.#clock = clock
    this.#hashedHereBytes = hashedHereBytes
  }

  get(key: string, { signal }: { signal?: AbortSignal } = {}): Promise<StoredObject> {
    return this.#call(key, signal, async () => {
      const bytes = await this.#read(key)
      await this.#publishing.get(key)
      if (this.#broken) throw this.#broken
      if (!bytes) throw notFoundError(key)
      const etag = await etagOf(bytes, this.#hashedHereBytes)
      checkSignal(signal)
      return { bytes, etag }
    })
  }

  put(key: string, bytes: Uint8Array, options: PutOptions = {}): Promise<{ etag: string }> {
    return this.#call(key, options.signal, async () => {
      const copy = new Uint8Array(bytes)
      const etag = await etagOf(copy, this.#hashedHereBytes)
      await this.#write(key, options.signal, async () => {
        await this.#checkCondition(key, options)
        const temporary = await this.#writeTemporary(copy, options.signal)
        const publishing = this.#publish(key, temporary)
        const settled = publishing.catch(() => {})
        this.#publishing.set(key, settled)
        try {
          await publishing
        } finally {
          this.#publishing.delete(key)
        }
      })
      return { etag }
    })
  }

  delete(key: string, { signal }: { signal?: AbortSignal } = {}): Promise<void> {
    return this.#call(key, signal, async () => {
      // Where nothing was ever stored nothing is made; a put under way elsewhere may come after this delete as well.
      if (!(await this.#find(key)) && !this.#turns.has(key)) return
      await this.#write(key, signal, async () => {
        // The displaced one first, and durably: it may be an older copy, which must not appear when the other one is gone.
        for (const path of this.#placesOf(key).toReversed()) {
          if (!(await this.#isFile(path))) continue
          await this.#fs.remove(path)
          await this.#syncFolder(dirname(path))
        }
      })
    })
  }

  async *list(prefix: string, { signal }: { signal?: AbortSignal } = {}): AsyncGenerator<ListedObject> {
    const found = listKeys(this.#fs, this.#root, prefix)
    for (;;) {
      const next = await this.#call(undefined, signal, () => found.next())
      if (next.done) return
      yield next.value
    }
  }

  async close(): Promise<void> {
    this.#isClosed = true
    await Promise.allSettled(this.#underWay)
  }

  /** Runs one call: refused if the store is closed or broken, waited for by `close`, its errors by code. Starts `work` at once. */
  async #call<T>(key: string | undefined, signal: AbortSignal | undefined, work: () => Promise<T>): Promise<T> {
    if (this.#isClosed) throw closedError()
    if (this.#broken) throw this.#broken
    checkSignal(signal)
    const where = key === undefined ? this.#root : this.#pathOf(checkKey(key))
    const call = work()
    this.#underWay.add(call)
    try {
      return await call
    } catch (error) {
      throw fileError(error, where)
    } finally {
      this.#underWay.delete(call)
    }
  }

  /** Runs `work`, which changes the object `key`, alone among all processes, with the folders it needs. */
  async #write(key: string, signal: AbortSignal | undefined, work: () => Promise<void>): Promise<void> {
    for (let isRetry = false; ; isRetry = true) {
      await this.#prepare()
      try {
        for (const folder of keyFolders(key)) await this.#ensureFolder(folder.path, folder.displacedKey)
        return await this.#exclusively(key, signal, work)
      } catch (error) {
        if (isRetry || !hasErrno(error, 'ENOENT')) throw error
        // Somebody removed a folder that was there before, with a whole run perhaps: what is known of folders is void.
        this.#folders.clear()
        this.#preparation = undefined
      }
    }
  }

  async #exclusively(key: string, signal: AbortSignal | undefined, work: () => Promise<void>): Promise<void> {
    const result = (this.#turns.get(key) ?? Promise.resolve()).then(() => this.#withLock(key, signal, work))
    const turn = result.catch(() => {})
    this.#turns.set(key, turn)
    try {
      await result
    } finally {
      if (this.#turns.get(key) === turn) this.#turns.delete(key)
    }
  }

  async #withLock(key: string, signal: AbortSignal | undefined, work: () => Promise<void>): Promise<void> {
    if (this.#broken) throw this.#broken
    const held = await this.#lock(key, signal)
    try {
      checkSignal(signal)
      await work()
      // Another call's failed sync may have taken the error that this call's sync should have had.
      if (this.#broken) throw this.#broken
    } finally {
      await held.release().catch((error: unknown) => this.#break(error, 'a lock could not be given back', this.#pathOf(LOCKS)))
    }
  }

  async #lock(key: string, signal: AbortSignal | undefined): Promise<FileLock> {
    const name = createHash('sha256').update(key).digest('hex').slice(0, 32)
    const path = this.#pathOf(`${LOCKS}/${name}`)
    const options = { fs: this.#fs, clock: this.#clock }
    const late = new AbortController()
    const cancel = this.#clock.after(LOCK_WAIT_MS, () => late.abort())
    try {
      return await lock(path, { ...options, signal: signal ? AbortSignal.any([signal, late.signal]) : late.signal })
    } catch (error) {
      if (!isSwarmError(error, 'aborted')) throw error
      if (signal?.aborted) throw abortedError(signal)
      const last = await tryLock(path, options)
      if ('release' in last) return last
      throw new SwarmError('store.unavailable', {
        what: `process ${last.heldBy.pid} has held the lock of ${key} for more than ${LOCK_WAIT_MS / 1000} s`,
        where: path,
        fix: 'End that process; if it is gone, remove the lock',
        retryable: true,
      })
    } finally {
      cancel()
    }
  }

  async #checkCondition(key: string, options: PutOptions): Promise<void> {
    if (options.ifNoneMatch === undefined && options.ifMatch === undefined) return
    let etag: string | undefined
    if (options.ifMatch === undefined) {
      if (!(await this.#find(key))) return
      etag = 'of an object that exists'
    } else {
      const bytes = await this.#read(key)
      etag = bytes && (await etagOf(bytes, this.#hashedHereBytes))
      if (etag === options.ifMatch && options.ifNoneMatch === undefined) return
    }
    // Who hears of a conflict may rely on what is there, whose writer may have been killed just before its own sync.
    await this.#syncFolder(dirname(this.#pathOf(keyPath(key))))
    throw conflictError(key, etag, options)
  }

  /** Writes a durable file under a name that nobody else has. */
  async #writeTemporary(bytes: Uint8Array, signal: AbortSignal | undefined): Promise<string> {
    const path = this.#pathOf(`${TEMPORARY}/${processIdentity()},${randomUUID()}`)
    const file = await this.#fs.create(path)
    try {
      try {
        for (let done = 0; done < bytes.length; done += WRITE_PART_BYTES) {
          checkSignal(signal)
          await file.write(bytes.subarray(done, done + WRITE_PART_BYTES))
        }
        checkSignal(signal)
        await file.sync().catch((error: unknown) => {
          throw this.#break(error, 'fsync of a file failed', path)
        })
      } finally {
        await file.close()
      }
      return path
    } catch (error) {
      await this.#fs.remove(path).catch(() => {})
      throw error
    }
  }

  /** Puts a temporary file in the place of `key`, durably. */
  async #publish(key: string, temporary: string): Promise<void> {
    const path = this.#pathOf(keyPath(key))
    try {
      const place = (await this.#find(key)) ?? path
      try {
        await this.#fs.rename(temporary, place)
      } catch (error) {
        if (!hasErrno(error, 'EISDIR')) throw error
        await this.#fs.rename(temporary, path + DISPLACED)
      }
    } catch (error) {
      await this.#fs.remove(temporary).catch(() => {})
      throw error
    }
    await this.#syncFolder(dirname(path))
  }

  /** The path of the file of `key`, if there is one. Steady only under the lock. */
  async #find(key: string): Promise<string | undefined> {
    for (const path of this.#placesOf(key)) if (await this.#isFile(path)) return path
    return undefined
  }

  async #isFile(path: string): Promise<boolean> {
    try {
      return (await this.#fs.stat(path)).kind === 'file'
    } catch (error) {
      if (isMissing(error)) return false
      throw error
    }
  }

  /** Where the file of `key` may be. It only ever moves from the first place to the second, so a reader without a lock looks in this order. */
  #placesOf(key: string): string[] {
    const path = this.#pathOf(keyPath(key))
    return [path, path + DISPLACED]
  }

  async #read(key: string): Promise<Uint8Array | undefined> {
    for (const path of this.#placesOf(key)) {
      try {
        return await this.#fs.read(path)
      } catch (error) {
        if (!isMissing(error)) throw error
      }
    }
    return undefined
  }

  /** Makes the store's own folders and removes the temporary files of processes that are gone, once. */
  #prepare(): Promise<void> {
    this.#preparation ??= this.#makeRoot().catch((error: unknown) => {
      this.#preparation = undefined
      throw error
    })
    return this.#preparation
  }

  async #makeRoot(): Promise<void> {
    const made = await makeFolders(this.#fs, this.#root)
    for (const path of made.length > 0 ? made : [this.#root]) await this.#syncAbove(path)
    for (const name of [TEMPORARY, LOCKS]) await makeIfMissing(this.#fs, this.#pathOf(name))
    for (const { name } of await this.#fs.entries(this.#pathOf(TEMPORARY))) {
      if (isLeftOver(name)) await this.#fs.remove(this.#pathOf(`${TEMPORARY}/${name}`)).catch(() => {})
    }
  }

  /** Makes the name of the root, or of a folder above it, durable. */
  async #syncAbove(path: string): Promise<void> {
    try {
      await this.#fs.syncFolder(dirname(path))
    } catch (error) {
      // A folder above the root may be closed to this user: then it was not this user who made something in it.
      if (!hasErrno(error, 'EACCES', 'EPERM')) throw this.#break(error, 'fsync of a folder failed', dirname(path))
    }
  }

  /** Makes a folder durable below its parent, which is. Each store syncs for itself, since another process may have been killed in between. */
  #ensureFolder(path: string, displacedKey: string | undefined): Promise<void> {
    const known = this.#folders.get(path)
    if (known) return known
    const made = this.#makeFolder(this.#pathOf(path), displacedKey)
    this.#folders.set(path, made)
    made.catch(() => this.#folders.delete(path))
    return made
  }

  async #makeFolder(path: string, displacedKey: string | undefined): Promise<void> {
    if (!(await makeIfMissing(this.#fs, path)) && displacedKey !== undefined)
      await this.#exclusively(displacedKey, undefined, async () => {
        // The file may have gone since, and the folder may have come.
        if (await this.#isFile(path)) await this.#displace(path)
        await makeIfMissing(this.#fs, path)
      })
    await this.#syncFolder(dirname(path))
  }

  /** Moves a file out of the way of a folder. By a copy, durable before the file goes: POSIX lets a crash keep half of a rename. */
  async #displace(path: string): Promise<void> {
    const temporary = await this.#writeTemporary(await this.#fs.read(path), undefined)
    await this.#fs.rename(temporary, path + DISPLACED)
    await this.#syncFolder(dirname(path))
    await this.#fs.remove(path)
  }

  async #syncFolder(path: string): Promise<void> {
    await this.#fs.syncFolder(path).catch((error: unknown) => {
      throw hasErrno(error, 'ENOENT') ? error : this.#break(error, 'fsync of a folder failed', path)
    })
  }

  #break(error: unknown, what: string, where: string): SwarmError {
    this.#broken ??= brokenError(error, what, where)
    return this.#broken
  }

  #pathOf(path: string): string {
    return join(this.#root, path)
  }
}

/** True if the writer of a temporary file is gone. */
function isLeftOver(name: string): boolean {
  return isGone(name.split(',').slice(0, 4).join(','))
}

/** Large objects off the main thread, since 100 MB would hold up everything else. */
async function etagOf(bytes: Uint8Array, hashedHereBytes: number): Promise<string> {
  if (bytes.byteLength <= hashedHereBytes) return createHash('sha256').update(bytes).digest('hex').slice(0, 32)
  const hash = await webcrypto.subtle.digest('SHA-256', bytes)
  return Buffer.from(hash, 0, 16).toString('hex')
}
