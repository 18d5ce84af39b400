/** What a VNode can say of the steps since its newest cut: of its outputs, and of the batches that they are of. */
import { createHash } from 'node:crypto'
import { batchOf, payloadDigest } from '../../runtime/frame.js'
import type { Commit } from '../reports.js'

export class StepDigests {
  /** By step, from the first on: CRC-32 of the outputs, and the digest of the batch. */
  readonly #digests: number[] = []
  readonly #batches: string[] = []
  #firstStep: number

  /** @param firstStep that it will apply */
  constructor(firstStep: number) {
    this.#firstStep = firstStep
  }

  /** A training batch was applied, or buried. @param frame its output or tombstone */
  add(frame: Uint8Array): void {
    this.#digests.push(payloadDigest(frame))
    this.#batches.push(batchOf(frame))
  }

  /** What the commit of a cut says of the steps up to it. */
  take(step: number): Pick<Commit, 'firstStep' | 'digests' | 'batches'> {
    const firstStep = this.#firstStep
    const count = step - firstStep + 1
    this.#firstStep = step + 1
    const { buffer } = Uint32Array.from(this.#digests.splice(0, count))
    const batches = createHash('sha256').update(this.#batches.splice(0, count).join('\n')).digest('hex')
    return { firstStep, digests: Buffer.from(buffer).toString('base64'), batches }
  }
}
