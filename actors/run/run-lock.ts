/** One process at a time works on a run in a folder; the operating system says whether it still lives. */
import { resolve as resolvePath } from 'node:path'
import { SwarmError } from '../../runtime/errors.js'
import { fileError } from '../../runtime/object-store/file-error.js'
import { type FileLock, tryLock } from '../../runtime/object-store/file-lock.js'

/** Where the lock of a run in a folder is. */
export function runLockPath(folder: string, run: string): string {
  return `${resolvePath(folder)}/@lock/run-${run}`
}

/** @throws `run.busy`, with what to do about it @throws codes of the file system */
export async function lockRun(folder: string, run: string, fix: string): Promise<FileLock> {
  const path = runLockPath(folder, run)
  const lock = await tryLock(path).catch((error: unknown) => {
    throw fileError(error, path)
  })
  if ('release' in lock) return lock
  throw new SwarmError('run.busy', { what: `run ${run} is under way in another process`, got: `process ${lock.heldBy.pid}`, fix })
}
