/** The folder of a host, a control host or a whole cluster: secrets, and the lock by which others find its process. */
import { chmod, mkdir, readFile, rename, stat, writeFile } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { SwarmError } from '../../runtime/errors.js'
import { type FileLock, lock, tryLock } from '../../runtime/object-store/file-lock.js'
import { userDataPath } from '../settings.js'

export const LOCK_FILE = 'lock'
/** Whoever else on this machine may read or write. */
const OTHERS = 0o077

/** `named`, or the one of this user under `parts`. */
export async function folderOf(named: string | undefined, ...parts: readonly string[]): Promise<string> {
  return named === undefined ? join(await userDataPath(), ...parts) : resolve(named)
}

/** Makes the folder, and takes it for this process. @param what uses it. @throws `run.busy` */
export async function takeFolder(folder: string, what: string): Promise<FileLock> {
  await mkdir(folder, { recursive: true, mode: 0o700 })
  const taken = await tryLock(join(folder, LOCK_FILE))
  if ('release' in taken) return taken
  const fix = 'Choose another --folder, or end that process'
  throw new SwarmError('run.busy', { what: `${what} runs already`, where: folder, got: `process ${taken.heldBy.pid}`, fix })
}

/**
 * Asks the process that has the folder to end, and waits until it has.
 * @returns its pid; undefined: there is none
 * @throws `aborted` when the signal says so first
 */
export async function endHolder(folder: string, signal: AbortSignal): Promise<number | undefined> {
  const path = join(folder, LOCK_FILE)
  if (!(await exists(folder))) return undefined
  const taken = await tryLock(path)
  if ('release' in taken) {
    await taken.release()
    return undefined
  }
  const { pid } = taken.heldBy
  try {
    process.kill(pid, 'SIGTERM')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
  const free = await lock(path, { signal })
  await free.release()
  return pid
}

/** JSON that is nobody else's business; undefined: there is none. @throws `cluster.token` for one that others can read or that is damaged */
export async function readSecret<T>(folder: string, name: string): Promise<T | undefined> {
  const path = join(folder, name)
  try {
    const { mode } = await stat(path)
    if (process.platform !== 'win32' && (mode & OTHERS) !== 0) {
      const got = (mode & 0o777).toString(8)
      throw new SwarmError('cluster.token', {
        what: 'others can read a secret',
        where: path,
        expected: '600',
        got,
        fix: `chmod 600 ${path}`,
      })
    }
    return JSON.parse(await readFile(path, 'utf8')) as T
  } catch (error) {
    if (error instanceof SwarmError) throw error
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw new SwarmError('cluster.token', { what: 'unreadable secret', where: path, got: (error as Error).message, cause: error })
  }
}

/** Replaces it, for its owner alone. */
export async function writeSecret(folder: string, name: string, value: object): Promise<void> {
  const path = join(folder, name)
  await mkdir(dirname(path), { recursive: true, mode: 0o700 })
  const temporary = `${path}.${process.pid}.partial`
  await writeFile(temporary, `${JSON.stringify(value)}\n`, { mode: 0o600 })
  await chmod(temporary, 0o600)
  await rename(temporary, path)
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  )
}
