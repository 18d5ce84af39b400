import { SwarmError } from '../errors.js'
import { hasErrno } from './file-system.js'

/** The error of the store that a failed call of the file system amounts to, with `where` as the path for a person to look at. */
export function fileError(error: unknown, where: string): SwarmError {
  if (error instanceof SwarmError) return error
  const parts = { where, cause: error }
  if (hasErrno(error, 'ENOSPC', 'EDQUOT'))
    return new SwarmError('store.full', {
      ...parts,
      what: 'no space left for the object',
      fix: 'Free some space, or give the store another folder',
    })
  if (hasErrno(error, 'EROFS', 'EACCES', 'EPERM'))
    return new SwarmError('store.read-only', {
      ...parts,
      what: `the store may not write or read here (${detail(error)})`,
      fix: 'Give this user the right to write there, or give the store another folder',
    })
  return new SwarmError('store.unavailable', {
    ...parts,
    what: `the file system failed (${detail(error)})`,
    fix: 'Check the disk and the path',
    retryable: hasErrno(error, 'EMFILE', 'ENFILE', 'EAGAIN', 'EBUSY', 'EINTR', 'ENOMEM', 'ETIMEDOUT', 'ESTALE'),
  })
}

/** The error of a store that must not go on, as after a crash. */
export function brokenError(error: unknown, what: string, where: string): SwarmError {
  return new SwarmError('store.unavailable', {
    what: `${what} (${detail(error)}), so the store refuses everything from now on`,
    where,
    fix: 'Check the disk, then start again: what was acknowledged before is not touched',
    cause: error,
  })
}

/** `ENOSPC`, where there is a code. */
function detail(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  return 'code' in error ? String(error.code) : error.message
}
