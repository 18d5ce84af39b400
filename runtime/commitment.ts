/**
 * Commitments: what a host says of a segment before it knows whether it will be looked at (PROTOCOL.md rules 24 and 25). Each is the SHA-256 of a
 * canonical JSON text that begins with what it is, so that none can be taken for another. Golden bytes are in test/runtime/commitment.test.ts.
 *
 * 1. Control draws a secret for the segment and tells its hash.
 * 2. The host applies the segment, and tells its commitment: H(run, generation, segment, host, salt, root).
 * 3. Control audits it if HMAC(secret, commitment) < p. The host then opens its commitment: it tells salt and roots.
 * 4. After settlement control tells the secret, and everybody can check what was audited and what was not.
 */
import { createHash, createHmac, randomBytes } from 'node:crypto'
import { canonicalJson } from './canonical-json.js'
import { invariant, SwarmError } from './errors.js'

export const COMMITMENT_VERSION = 1
const SECRET_BYTES = 32
const HASH = /^[0-9a-f]{64}$/

/** Steps of one VNode between two cuts. */
export interface Segment {
  readonly vnode: string
  /** The position of the cut that it begins behind; 0: the start. */
  readonly from: number
  /** The position of the cut that it ends with, above `from`. */
  readonly to: number
}

/** Everything that a host vouches for. All are SHA-256, in hex. */
export interface SegmentRoots {
  /** Hash of the state (state.ts) before the segment, and after it. */
  readonly before: string
  readonly after: string
  /** Root of the log of each edge that it reads, by producer. */
  readonly inputs: { readonly [producer: string]: string }
  /** Root of the log of what it made. Absent: it makes nothing. */
  readonly output?: string
  /** Roots of the feedback that it reads, by who gives it. Absent: none. */
  readonly feedback?: { readonly [producer: string]: string }
  /** Root of the feedback that it gives. Absent: none. */
  readonly given?: string
}

/** Who vouches, and for what. */
export interface Claimed {
  readonly run: string
  readonly generation: number
  readonly segment: Segment
  /** The PNode. */
  readonly host: string
}

export interface Commitment extends Claimed {
  readonly v: typeof COMMITMENT_VERSION
  /** SHA-256, in hex. */
  readonly hash: string
}

/** What opens a commitment. */
export interface Opening {
  /** 32 bytes in hex, of `createSecret`: without it nobody can try which roots a commitment may stand for. */
  readonly salt: string
  readonly roots: SegmentRoots
}

/** Thirty-two random bytes, in hex: a host's salt, control's key. */
export function createSecret(): string {
  return randomBytes(SECRET_BYTES).toString('hex')
}

/** One hash for all that a host vouches for, in hex. */
export function rootOf({ before, after, inputs, output, feedback = {}, given }: SegmentRoots): string {
  return hashOf('root', { before, after, inputs, output, feedback, given })
}

/** One hash for what a segment starts from and reads, in hex: replays can only be compared where it is equal. */
export function inputsRootOf({ before, inputs, feedback = {} }: SegmentRoots): string {
  return hashOf('inputs', { before, inputs, feedback })
}

/** The commitment of a host. Another host's, or for another segment, is another one: to copy it is of no use. */
export function commit(claimed: Claimed, opening: Opening): Commitment {
  const { run, generation, segment, host } = claimed
  const { vnode, from, to } = segment
  return { v: COMMITMENT_VERSION, run, generation, segment: { vnode, from, to }, host, hash: commitmentHash(claimed, opening) }
}

/**
 * Checks what a host says that it has vouched for.
 * @throws `commitment.version`, `commitment.broken` if it has vouched for something else
 */
export function checkOpening(commitment: Commitment, opening: unknown): asserts opening is Opening {
  const { v, segment, host, hash } = commitment
  const where = `${segment.vnode}, positions ${segment.from} to ${segment.to}, of ${host}`
  if (v !== COMMITMENT_VERSION) {
    const what = 'commitment of an unknown version'
    const fix = 'Use the same version of swarmgrad on all hosts'
    throw new SwarmError('commitment.version', { what, where, expected: COMMITMENT_VERSION, got: String(v), fix })
  }
  if (!isOpening(opening)) throw new SwarmError('commitment.broken', { what: 'an opening that cannot be read', where })
  const got = commitmentHash(commitment, opening)
  if (got !== hash) throw new SwarmError('commitment.broken', { what: 'not what was committed to', where, expected: hash, got })
}

/** It comes from a host that nobody has to trust. */
function isOpening(opening: unknown): opening is Opening {
  const isHash = (value: unknown): boolean => typeof value === 'string' && HASH.test(value)
  const areHashes = (value: unknown): boolean => typeof value === 'object' && value !== null && Object.values(value).every(isHash)
  const { salt, roots } = (opening ?? {}) as Partial<Opening>
  if (!isHash(salt) || typeof roots !== 'object' || roots === null) return false
  const { before, after, inputs, output, feedback, given } = roots as Partial<SegmentRoots>
  const hashes = [before, after, ...(output === undefined ? [] : [output]), ...(given === undefined ? [] : [given])]
  return hashes.every(isHash) && areHashes(inputs) && (feedback === undefined || areHashes(feedback))
}

/** The rule of chains that a segment breaks, by name: none where it continues what is known. */
export type BrokenLink = 'state' | `input ${string}` | `feedback ${string}`

/**
 * Where a segment does not continue the segments that it follows from: its state is not the one before, or it has read what nobody says to have made.
 * Of an input that differs either end of the edge may lie: nobody is convicted for it.
 * @param known of the state before, and of the logs of its producers as they have committed to them
 */
export function brokenLinks(roots: SegmentRoots, known: Pick<SegmentRoots, 'before' | 'inputs' | 'feedback'>): BrokenLink[] {
  const differing = (kind: 'input' | 'feedback', got: SegmentRoots['inputs'], expected: SegmentRoots['inputs']): BrokenLink[] =>
    [...new Set([...Object.keys(got), ...Object.keys(expected)])]
      .toSorted()
      .filter((producer) => got[producer] !== expected[producer])
      .map((producer): BrokenLink => `${kind} ${producer}`)
  return [
    ...(roots.before === known.before ? [] : (['state'] as const)),
    ...differing('input', roots.inputs, known.inputs),
    ...differing('feedback', roots.feedback ?? {}, known.feedback ?? {}),
  ]
}

/** Which segments a secret is for: those of all VNodes that begin at one cut. */
export interface SecretOf {
  readonly run: string
  readonly generation: number
  readonly from: number
}

/**
 * Control's secret for the segments behind a cut, 32 bytes in hex. It follows from control's key, so that a control host that is started again has it, and
 * says nothing of the key or of other secrets.
 * @param key 32 bytes in hex, of `createSecret`; for nothing else
 */
export function auditSecret(key: string, { run, generation, from }: SecretOf): string {
  return createHmac('sha256', Buffer.from(key, 'hex')).update(textOf('audit secret', { run, generation, from })).digest('hex')
}

/** What control tells of its secret before the segments begin, in hex. */
export function secretHash(secret: string, { run, generation, from }: SecretOf): string {
  return hashOf('audit secret told', { run, generation, from, secret })
}

/** @throws `commitment.broken` if a secret is not the one whose hash was told */
export function checkSecret(secret: string, of: SecretOf, expected: string): void {
  const got = secretHash(secret, of)
  const where = `run ${of.run}, generation ${of.generation}, behind position ${of.from}`
  if (got !== expected) throw new SwarmError('commitment.broken', { what: 'not the secret of these segments', where, expected, got })
}

/** 2²⁵⁶, as exact as a number as it is as an integer. */
const DRAWS = 2 ** 256

/**
 * Whether a segment is audited. Exact: the HMAC is an integer below 2²⁵⁶, and p·2²⁵⁶ a number without rounding.
 * @param share p, from 0 (never) to 1 (always)
 */
export function isSelected(secret: string, { hash }: Pick<Commitment, 'hash'>, share: number): boolean {
  invariant(share >= 0 && share <= 1, () => `share of audited segments: 0 to 1, got ${share}`)
  // No hash at all: it can be opened by nothing, and whoever looks will see that.
  if (!HASH.test(hash)) return share > 0
  const draw = createHmac('sha256', Buffer.from(secret, 'hex')).update(Buffer.from(hash, 'hex')).digest('hex')
  return BigInt(`0x${draw}`) < BigInt(Math.ceil(share * DRAWS))
}

function commitmentHash({ run, generation, segment: { vnode, from, to }, host }: Claimed, { salt, roots }: Opening): string {
  invariant(HASH.test(salt), () => `salt of ${vnode} on ${host}: 32 bytes in hex`)
  return hashOf('commitment', { run, generation, vnode, from, to, host, salt, root: rootOf(roots) })
}

/** The text that is hashed: for golden bytes. */
export function textOf(what: 'root' | 'inputs' | 'commitment' | 'audit secret' | 'audit secret told', members: object): string {
  return `swarmgrad ${what} ${COMMITMENT_VERSION}\n${canonicalJson(members)}`
}

const hashOf = (...text: Parameters<typeof textOf>): string =>
  createHash('sha256')
    .update(textOf(...text))
    .digest('hex')
