/** Whether a process of this machine is at work on a run in a folder. */
import { lstat } from 'node:fs/promises'
import { runLockPath } from '../actors/run/run-lock.js'
import { type LockHolder, tryLock } from '../runtime/object-store/file-lock.js'

/** The process that is at work on a run; undefined if there is none. Takes no lock that is free. */
export async function runHolder(folder: string, run: string): Promise<LockHolder | undefined> {
  const path = runLockPath(folder, run)
  if (!(await lstat(path).catch(() => undefined))) return undefined
  // Of a holder that was killed the link is still there: only the lock knows.
  const lock = await tryLock(path)
  if ('heldBy' in lock) return lock.heldBy
  await lock.release()
  return undefined
}
