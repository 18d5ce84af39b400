/** What is audited, and by whom: drawn with a secret that nobody knows before, so that nobody can do better where it is looked at (PROTOCOL.md rule 25). Pure. */
import { createHmac } from 'node:crypto'
import { commit, isSelected } from '../../runtime/commitment.js'
import type { Manifest } from '../../runtime/head.js'
import type { Commit } from '../reports.js'

/** Of the seed: there is no state before it. */
const NO_STATE = '0'.repeat(64)
/** Control alone hears what a host commits to, so nothing has to be hidden in it from others. */
const NO_SALT = '0'.repeat(64)

export interface Drawing {
  /** Of the segments behind one cut: `auditSecret`. 32 bytes in hex. */
  readonly secret: string
  readonly run: string
  readonly generation: number
}

/**
 * Whether a segment is audited.
 * @param host who has committed to it
 * @param before the manifest that it begins behind; undefined: the seed
 * @param share from 0 (never) to 1 (always)
 */
export function isDrawn({ secret, ...of }: Drawing, host: string, committed: Commit, before: Manifest | undefined, share: number): boolean {
  const { vnode, position, hash, roots } = committed
  if (!roots) return share > 0
  const segment = { vnode, from: before?.position ?? 0, to: position }
  const state = before?.vnodes.find((entry) => entry.vnode === vnode)?.hash ?? NO_STATE
  const { output, inputs, feedback, given } = roots
  const said = { before: state, after: hash, inputs, output, ...(feedback && { feedback }), ...(given !== undefined && { given }) }
  const opening = { salt: NO_SALT, roots: said }
  return isSelected(secret, commit({ ...of, segment, host }, opening), share)
}

/** Those who may be asked, in the order in which they are. */
export function inDrawnOrder<T extends { readonly pnode: string }>(secret: string, what: string, hosts: readonly T[]): T[] {
  const draws = hosts.map((host) => [draw(secret, `${what} ${host.pnode}`), host] as const)
  return draws.toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([, host]) => host)
}

/** Whether something happens that happens with this probability, 0 to 1. */
export function happens(secret: string, what: string, probability: number): boolean {
  return Number.parseInt(draw(secret, what).slice(0, 12), 16) < probability * 2 ** 48
}

function draw(secret: string, what: string): string {
  return createHmac('sha256', Buffer.from(secret, 'hex')).update(what).digest('hex')
}
