import { SwarmError } from '../errors.js'

/** How a request to an S3 server failed. Does not leave the folder. */
export class S3Failure extends Error {
  /** The server's own code (`NoSuchKey`); empty where it gave none. */
  readonly s3Code: string
  /** Of the answer; undefined if there was none, so that nobody knows whether the request was carried out. */
  readonly status: number | undefined
  /** What both clocks said, as far as is known. */
  readonly ours: string | undefined
  readonly theirs: string | undefined

  constructor(parts: { s3Code?: string; status?: number; message: string; ours?: string; theirs?: string; cause?: unknown }) {
    super(parts.message, { cause: parts.cause })
    this.name = 'S3Failure'
    this.s3Code = parts.s3Code ?? ''
    this.status = parts.status
    this.ours = parts.ours
    this.theirs = parts.theirs
  }

  /** Whether the same request may succeed soon. */
  get isTransient(): boolean {
    if (FULL.has(this.s3Code) || REFUSALS.has(this.s3Code)) return false
    return this.status === undefined || TRANSIENT_STATUS.has(this.status) || TRANSIENT.has(this.s3Code)
  }

  /** Whether it says that a condition does not hold: a server may call an object that is not there so, or not found. */
  isConflict(isMatch: boolean): boolean {
    return this.status === 412 || this.s3Code === 'PreconditionFailed' || (isMatch && this.isNotFound)
  }

  get isNotFound(): boolean {
    return this.s3Code === 'NoSuchKey' || (this.status === 404 && (this.s3Code === '' || this.s3Code === 'NotFound'))
  }
}

const TRANSIENT_STATUS = new Set([408, 425, 429, 499, 500, 502, 503, 504, 520])

/** Codes that come with other statuses. The first two say that another writer was at work at the same moment. */
const TRANSIENT = new Set([
  'ConditionalRequestConflict',
  'OperationAborted',
  'RequestTimeout',
  'IncompleteBody',
  'BadDigest',
  'XAmzContentSHA256Mismatch',
  'SlowDown',
  'ServiceUnavailable',
  'InternalError',
])

const FULL = new Set(['XMinioStorageFull', 'QuotaExceeded', 'XMinioAdminBucketQuotaExceeded', 'InsufficientStorage'])

const REFUSALS = new Set([
  'AccessDenied',
  'AllAccessDisabled',
  'AccountProblem',
  'ExpiredToken',
  'InvalidAccessKeyId',
  'InvalidToken',
  'InvalidTokenId',
  'SignatureDoesNotMatch',
])

/** The error of the store that a failed request amounts to. @param where the object, or the address */
export function s3Error(failure: S3Failure, where: string): SwarmError {
  const { s3Code, status, message, cause = failure } = failure
  const detail = [s3Code, message].filter(Boolean).join(': ') || `status ${status}`
  const parts = { where, cause }
  if (s3Code === 'RequestTimeTooSkewed')
    return new SwarmError('cluster.clock', {
      ...parts,
      what: 'the clocks of this machine and of the object store differ by more than signatures allow (15 minutes)',
      expected: failure.theirs ?? 'the time of the object store',
      got: failure.ours ?? 'another time here',
      fix: 'Set the clock of the machine that is wrong, by NTP for instance',
    })
  if (FULL.has(s3Code) || status === 507)
    return new SwarmError('store.full', {
      ...parts,
      what: `no space left for the object (${detail})`,
      fix: 'Free some space on the server of the object store, or give it more: what waits then goes on',
      retryable: true,
    })
  if (REFUSALS.has(s3Code) || status === 401 || status === 403)
    return new SwarmError('store.denied', {
      ...parts,
      what: `the object store refuses us (${detail})`,
      fix: 'Check the access key, the secret key and what they are allowed to do',
    })
  if (s3Code === 'EntityTooLarge' || status === 413)
    return new SwarmError('store.too-large', { ...parts, what: `the object is too large for the server (${detail})` })
  if (s3Code === 'NoSuchBucket')
    return new SwarmError('store.unavailable', {
      ...parts,
      what: 'the bucket does not exist (any more)',
      fix: 'Make the bucket again, or name another one',
    })
  if (s3Code === 'NotImplemented' || status === 501)
    return new SwarmError('store.unsuitable', {
      ...parts,
      what: `the server cannot do what the store needs (${detail})`,
      fix: 'Use MinIO or another S3 server with conditional writes',
    })
  return new SwarmError('store.unavailable', {
    ...parts,
    what: status === undefined ? `the object store does not answer (${detail})` : `the object store failed (${detail})`,
    fix: status === undefined ? 'Check that it runs and that the address is right' : undefined,
    retryable: failure.isTransient,
  })
}
