import { basename, dirname } from 'node:path'
import { systemClock, type Clock } from '../clock.js'
import { SwarmError } from '../errors.js'
import { hasErrno, nodeFileSystem, type FileSystem } from './file-system.js'
import { makeFolders } from './folders.js'
import { abortedError, checkSignal } from './object-key.js'
import { isGone, pidOf, processIdentity } from './process-identity.js'

/** A lock that this process holds. */
export interface FileLock {
  /** Gives the lock back. A second call does nothing. */
  release(): Promise<void>
}

/** Who holds a lock, for a message to a person. */
export interface LockHolder {
  readonly pid: number
  /** When it was taken, in milliseconds since the epoch by its holder's clock. Nothing is decided by it. */
  readonly since: number
}

export interface LockOptions {
  readonly fs?: FileSystem
  readonly clock?: Clock
}

/**
 * Takes the lock at `path`, or says who holds it: at most one holder among all processes of this machine at any time.
 *
 * A holder that ended without releasing (SIGKILL, a power cut) holds no longer, from the moment its process is gone; no time plays a part,
 * so a stopped or slow holder keeps its lock for ever. Not reentrant: the second `tryLock` of one process is told its own pid. Folders
 * above `path` are made. The holder is written in the lock itself, a link whose text is `v1,<process identity>,<since>`: one atomic call makes the
 * link and its text, without a block of disk, so that it can be taken on a full disk and is never seen half written.
 *
 * Of several processes that find a lock whose holder is gone, one removes it under a second lock of the same kind, `<path>.steal`, after a
 * second look. While a lock names a process that is gone, only the holder of that second lock may touch it, so nobody removes the lock
 * of somebody who was faster. Then all compete for the free lock.
 *
 * @throws SwarmError `store.damaged` if `path` is no lock; the errors of the file system as they are
 */
export async function tryLock(path: string, options: LockOptions = {}): Promise<FileLock | { readonly heldBy: LockHolder }> {
  return attempt(path, options, 0)
}

/**
 * Waits until the lock at `path` is free, and takes it. The wait is by asking again, without order among those who wait.
 * @throws SwarmError `aborted`, and what `tryLock` throws
 */
export async function lock(path: string, options: LockOptions & { readonly signal?: AbortSignal } = {}): Promise<FileLock> {
  const { clock = systemClock, signal } = options
  for (let delayMs = FIRST_DELAY_MS; ; delayMs = Math.min(delayMs * 2, LAST_DELAY_MS)) {
    checkSignal(signal)
    const result = await tryLock(path, options)
    if ('release' in result) return result
    try {
      await clock.sleep(delayMs, signal)
    } catch (error) {
      throw signal?.aborted ? abortedError(signal) : error
    }
  }
}

/** Locks of a store are held for milliseconds, so the first question is early; those of a run for hours, so the later ones are rare. */
const FIRST_DELAY_MS = 1
const LAST_DELAY_MS = 50

/** Each further round means that another process took or gave back the lock meanwhile: after these many it counts as held. */
const MAX_ROUNDS = 16

/** Each level means that a process was killed in the instant of removing a lock of the level before. */
const MAX_STEAL_DEPTH = 8

async function attempt(path: string, options: LockOptions, depth: number): Promise<FileLock | { readonly heldBy: LockHolder }> {
  const { fs = nodeFileSystem, clock = systemClock } = options
  const mark = `v1,${processIdentity()},${Math.floor(clock.now())}`
  let holder: LockHolder = { pid: process.pid, since: clock.now() }
  for (let round = 0; round < MAX_ROUNDS; round++) {
    if (await make(fs, mark, path)) return held(fs, mark, path)
    const found = await readMark(fs, path)
    if (!found) continue
    holder = found.holder
    if (!isGone(found.identity) || depth === MAX_STEAL_DEPTH) return { heldBy: holder }
    const steal = await attempt(`${path}.steal`, options, depth + 1)
    if ('heldBy' in steal) return steal
    try {
      const again = await readMark(fs, path)
      if (again && isGone(again.identity)) await fs.remove(path)
    } finally {
      await steal.release()
    }
  }
  return { heldBy: holder }
}

function held(fs: FileSystem, mark: string, path: string): FileLock {
  let isReleased = false
  return {
    async release() {
      if (isReleased) return
      isReleased = true
      // Somebody may have removed the lock by hand, and another may have taken it: that one is not ours to remove.
      if ((await readMark(fs, path))?.mark === mark) await fs.remove(path)
    },
  }
}

/** Makes the link, and the folders above it if they are missing; false if there is a link. */
async function make(fs: FileSystem, mark: string, path: string): Promise<boolean> {
  try {
    await fs.link(mark, path)
    return true
  } catch (error) {
    if (hasErrno(error, 'EEXIST')) return false
    if (!hasErrno(error, 'ENOENT')) throw error
  }
  await makeFolders(fs, dirname(path))
  try {
    await fs.link(mark, path)
    return true
  } catch (error) {
    if (hasErrno(error, 'EEXIST')) return false
    throw error
  }
}

interface Mark {
  readonly mark: string
  readonly identity: string
  readonly holder: LockHolder
}

/** Who holds the lock; undefined if nobody does. */
async function readMark(fs: FileSystem, path: string): Promise<Mark | undefined> {
  let text: string
  try {
    text = await fs.readLink(path)
  } catch (error) {
    if (hasErrno(error, 'ENOENT')) return undefined
    if (hasErrno(error, 'EINVAL')) throw unreadable(path, 'something that is not a link')
    throw error
  }
  // Windows makes the text of a link an absolute path.
  const mark = basename(text)
  const [, identity = '', since = ''] = /^v1,(.*),(\d+)$/.exec(mark) ?? []
  const pid = pidOf(identity)
  if (pid === undefined) throw unreadable(path, JSON.stringify(mark))
  return { mark, identity, holder: { pid, since: Number(since) } }
}

function unreadable(path: string, got: string): SwarmError {
  return new SwarmError('store.damaged', {
    what: 'a lock that this version cannot read',
    where: path,
    got,
    fix: 'Remove it if no other process is at work here',
  })
}
