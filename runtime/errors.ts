/**
 * Every code that crosses a folder boundary, with the area before the dot.
 * Callers match on the code, never on the message.
 */
export type ErrorCode =
  | 'usage' // a flag, an option or an argument that makes no sense
  | 'definition.invalid' // a module, a YAML file or an object that does not define what it should
  | 'definition.threw' // the user's module threw while it was loaded
  | 'definition.version' // a definition written by a newer swarmgrad
  | 'graph.cycle'
  | 'graph.dangling'
  | 'graph.shape'
  | 'graph.unknown' // an unknown layer, rule, optimizer, data set or option
  | 'dataset.missing'
  | 'dataset.damaged'
  | 'dataset.invalid'
  | 'store.not-found'
  | 'store.conflict'
  | 'store.damaged' // bytes that do not have the hash they are named by
  | 'store.full'
  | 'store.read-only'
  | 'store.unavailable'
  | 'store.invalid-key'
  | 'store.too-large'
  | 'store.denied' // the key is not ours, or the credentials have run out
  | 'store.unsuitable' // a server that cannot do conditional writes
  | 'frame.damaged'
  | 'frame.version'
  | 'checkpoint.damaged'
  | 'checkpoint.version'
  | 'checkpoint.class' // written under another compute class
  | 'weights.missing' // no such file of weights
  | 'weights.damaged' // a file of weights that is cut short, or none
  | 'weights.version' // a file of weights of another format version
  | 'weights.mismatch' // weights of another network: a tensor is missing, unknown, or of another shape
  | 'export.unsupported' // a layer or a rule that the wanted format has nothing for
  | 'manifest.version'
  | 'head.version'
  | 'grant.version'
  | 'grant.refused' // wrong signature or wrong run
  | 'commitment.version'
  | 'commitment.broken' // not what was committed to before
  | 'reputation.version'
  | 'reputation.damaged'
  | 'follower.behind' // what it lacks is kept by nobody any more
  | 'bus.closed'
  | 'bus.too-large'
  | 'bus.unreachable'
  | 'bus.denied' // the broker refuses the credentials or the subject
  | 'actor.not-found' // no such actor type or no such handler
  | 'actor.busy' // the mailbox is full
  | 'actor.timeout'
  | 'actor.failed' // a handler threw something that is not a SwarmError
  | 'actor.closed'
  | 'actor.unreachable' // the host of the actor, or our own sidecar, does not answer
  | 'actor.too-large'
  | 'compute.lost' // the worker ended
  | 'compute.hung' // the worker did not answer within its deadline
  | 'compute.failed' // the machine threw: the same input would throw again
  | 'compute.not-loaded'
  | 'compute.closed'
  | 'backend.missing' // asked for, and not installed, or without the device that it needs
  | 'backend.unsuitable' // installed, but another one than this version of swarmgrad can use
  | 'backend.memory' // the device has no room for what is computed
  | 'run.not-found'
  | 'run.ambiguous'
  | 'run.busy' // another process is at work on the run
  | 'run.changed' // a resume with other hyper-parameters
  | 'run.diverged' // non-finite loss
  | 'run.failed'
  | 'run.poisoned' // more dead letters than it may have
  | 'run.hash' // --expect-hash did not match
  | 'run.writer' // a newer writer owns the run
  | 'placement.no-pnode'
  | 'service.missing' // a server program that is not there and could not be built
  | 'service.failed' // a server that did not start, or ended
  | 'port.taken'
  | 'cluster.unreachable' // nobody answers at the address
  | 'cluster.token' // no token, a wrong one, or one that has run out
  | 'cluster.version' // another version of swarmgrad
  | 'cluster.clock' // clocks differ by more than signatures allow
  | 'host.name-taken' // another machine has joined under this name
  | 'host.unknown' // no machine of this name has joined
  | 'host.lost' // the machine is not there
  | 'host.code' // code that the owner of the machine did not allow
  | 'host.restarted' // the process that a VNode was given to has ended; the one that is there now knows nothing of it
  | 'host.disk' // the owner of the machine does not lend that much disk
  | 'trust.damaged' // a trust descriptor that cannot be read
  | 'trust.version'
  | 'trust.signature' // not signed by a key that control has now
  | 'trust.host' // for another machine
  | 'trust.replaced' // control has said something else since
  | 'trust.revoked'
  | 'trust.expired' // or not valid yet
  | 'ledger.edited' // an entry or the head is not as it was signed
  | 'ledger.order' // an entry that is not the next one: something was removed, swapped or doubled
  | 'ledger.cut' // its end, a page or its head is missing
  | 'ledger.unsigned'
  | 'ledger.key' // signed by another key
  | 'ledger.version'
  | 'ledger.invalid' // what no ledger may say: steps twice, points that are not there
  | 'key.missing' // the key of a machine is not where it was
  | 'key.unreadable' // no right to read it, or no file
  | 'key.exposed' // others on the machine can read it
  | 'key.damaged' // no key
  | 'key.kind' // a key for something else
  | 'message.unsigned' // a control message that nobody has signed
  | 'message.signature' // signed, but not by whom it is said to be from
  | 'message.expired' // said too long ago, or by a clock that is wrong
  | 'message.replayed' // said before
  | 'message.damaged' // malformed
  | 'message.too-large'
  | 'message.version'
  | 'message.denied' // well signed, and not the sender's to say
  | 'internal' // a broken invariant: a bug in swarmgrad
  | 'aborted'

/** The parts of one clear sentence: what, where, expected, got, and what to do. */
export interface ErrorParts {
  /** What went wrong, as the start of a sentence without its full stop. */
  readonly what: string
  /** Where: a layer's name, a file with its line, a key. */
  readonly where?: string
  readonly expected?: string | number
  readonly got?: string | number
  /** What the reader can do about it: an imperative sentence without its full stop. */
  readonly fix?: string
  /** Whether the very same call may succeed later. Default false (terminal). */
  readonly retryable?: boolean
  readonly cause?: unknown
}

/** A SwarmError as it travels in messages and in `--json` output. */
export interface ErrorRecord {
  readonly code: ErrorCode
  readonly message: string
  readonly retryable: boolean
}

/** The one error type of swarmgrad. The message is one line; match on `code`. */
export class SwarmError extends Error {
  readonly code: ErrorCode
  readonly retryable: boolean

  constructor(code: ErrorCode, parts: ErrorParts | string) {
    const { cause, retryable = false } = typeof parts === 'string' ? {} : parts
    super(typeof parts === 'string' ? parts : sentence(parts), cause === undefined ? {} : { cause })
    this.name = 'SwarmError'
    this.code = code
    this.retryable = retryable
  }

  /** The record form, which survives JSON and `structuredClone`. */
  toJSON(): ErrorRecord {
    return { code: this.code, message: this.message, retryable: this.retryable }
  }

  /** The error that `toJSON` described. */
  static from(record: ErrorRecord): SwarmError {
    return new SwarmError(record.code, { what: record.message, retryable: record.retryable })
  }
}

/** True if `error` is a SwarmError, with one of `codes` if any are given. */
export function isSwarmError(error: unknown, ...codes: ErrorCode[]): error is SwarmError {
  return error instanceof SwarmError && (codes.length === 0 || codes.includes(error.code))
}

/** `error` itself if it is a SwarmError, else a terminal one with `code` that has it as its cause. */
export function toSwarmError(error: unknown, code: ErrorCode, what?: string): SwarmError {
  if (error instanceof SwarmError) return error
  const detail = error instanceof Error ? error.message : String(error)
  return new SwarmError(code, { what: what ? `${what}: ${detail}` : detail, cause: error })
}

/**
 * Asserts an invariant, in production too: a failed one stops its VNode, never corrupts it.
 * @throws SwarmError `internal`
 */
export function invariant(condition: boolean, what: () => string): asserts condition {
  if (!condition) throw new SwarmError('internal', { what: `invariant broken: ${what()}` })
}

function sentence({ what, where, expected, got, fix }: ErrorParts): string {
  const place = where ? ` (${where})` : ''
  const wanted = expected === undefined ? '' : `: expected ${expected}`
  const had = got === undefined ? '' : `${expected === undefined ? ':' : ','} got ${got}`
  const mend = fix ? `. ${fix}` : ''
  return `${what}${place}${wanted}${had}${mend}`.replaceAll('\n', ' ')
}
