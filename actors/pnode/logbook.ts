/** What a VNode can say of the log that it has applied: of the steps since its newest cut, of its outputs and of the batches that they are of; and the roots of all of it. */
import { createHash } from 'node:crypto'
import { batchOf, payloadDigest } from '../../runtime/frame.js'
import type { FeedbackDefinition } from '../../components/definition.js'
import type { Grant } from '../../runtime/grant.js'
import type { Roots } from '../../runtime/log-root.js'
import { type Entry, isTraining } from '../../runtime/step-log.js'
import type { Commit, Evaluated } from '../reports.js'
import type { Made } from './vnode-frames.js'
import { type Read, VNodeRoots } from './vnode-roots.js'

export class Logbook {
  /** By step, from the first on: CRC-32 of the outputs, and the digest of the batch. */
  readonly #digests: number[] = []
  readonly #batches: string[] = []
  #firstStep: number
  readonly #roots: VNodeRoots | undefined

  /** @param isReviewed what it has read and put out is compared with what others say of it */
  constructor(grant: Grant, feedback: FeedbackDefinition | undefined, isReviewed: boolean) {
    this.#firstStep = (grant.checkpoint?.step ?? 0) + 1
    this.#roots = isReviewed ? new VNodeRoots(grant, feedback) : undefined
  }

  /** @param given what it has given before the checkpoint for positions behind it, in their order */
  restored(given: readonly Uint8Array[], position: number): void {
    this.#roots?.restored(given, position)
  }

  /** An entry was applied, or buried. @param made its output or tombstone */
  applied(read: Read, made: Made): void {
    this.#roots?.applied(read, made)
    if (!isTraining(read.entry)) return
    this.#digests.push(payloadDigest(made.frame))
    this.#batches.push(batchOf(made.frame))
  }

  /** Up to a position; undefined: it has not come there, or nobody compares it. */
  rootsAt(position: number): Roots | undefined {
    return this.#roots?.at(position)
  }

  /** What is said with an answer at an entry that has been applied; nothing, if nobody compares it. */
  vouchedAt({ position }: Entry): Pick<Evaluated, 'position' | 'roots'> {
    const roots = this.rootsAt(position)
    return roots ? { position, roots } : {}
  }

  /** What it would have read with the entry that it fails at; undefined: nobody compares it, or it has not failed at the next one. */
  readWith(entry: Entry, inputs: readonly Uint8Array[]): Roots['inputs'] | undefined {
    return this.#roots?.readWith(entry, inputs)
  }

  /** A checkpoint is complete: nobody asks about what is before it. */
  release(before: number): void {
    this.#roots?.release(before)
  }

  /** What the commit of a cut says of the log up to it. */
  take({ step, position }: Entry): Pick<Commit, 'firstStep' | 'digests' | 'batches' | 'roots'> {
    const firstStep = this.#firstStep
    const count = step - firstStep + 1
    this.#firstStep = step + 1
    const { buffer } = Uint32Array.from(this.#digests.splice(0, count))
    const batches = createHash('sha256').update(this.#batches.splice(0, count).join('\n')).digest('hex')
    const roots = this.rootsAt(position)
    return { firstStep, digests: Buffer.from(buffer).toString('base64'), batches, ...(roots && { roots }) }
  }
}
