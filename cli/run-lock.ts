/** Whether a process of this machine is at work on a run in a folder. */
import { lstat } from 'node:fs/promises'
import { runLockPath } from '../actors/train.js'
import { SwarmError } from '../runtime/errors.js'
import { type FileLock, type LockHolder, tryLock } from '../runtime/object-store/file-lock.js'

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

/** The lock of a run. @throws `run.busy` */
export async function lockRun(folder: string, run: string): Promise<FileLock> {
  const lock = await tryLock(runLockPath(folder, run))
  if ('release' in lock) return lock
  throw new SwarmError('run.busy', {
    what: `run ${run} is under way`,
    got: `process ${lock.heldBy.pid}`,
    fix: `Pause it first with: swarmgrad pause ${run}`,
  })
}
