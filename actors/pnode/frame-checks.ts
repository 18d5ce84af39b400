/**
 * What every frame is checked for before the step log of its reader hears of it (M22; the table is in docs/trust.md). The sender's right to speak, term, generation and
 * place in the log are checked before and behind this; here it is what is in the frame. What no honest producer makes is refused however often it comes. What is
 * only odd is refused once: who sends the same again under the same term insists, and is believed, since audits decide what is wrong and not this. So an honest run
 * never stands still here, and nothing here decides a bit.
 */
import { createHash } from 'node:crypto'
import { SOURCE } from '../../components/definition.js'
import { areLabelsOf } from '../../runtime/batch-digest.js'
import type { AnyFrame } from '../../runtime/frame.js'
import { sumOfSquares } from '../../runtime/norm.js'
import type { FormFault, FrameForms } from './frame-forms.js'
import { NormEnvelope } from './norm-envelope.js'

/** Why the content of a frame is refused. */
export const CONTENT_REASONS = ['run', 'step', 'tensors', 'dtype', 'shape', 'labels', 'batch', 'finite', 'norm'] as const
export type ContentReason = (typeof CONTENT_REASONS)[number]

/**
 * Why a producer is under suspicion: a frame that was refused; two for one place under one term, of which one is a lie (`changed`); far more messages than anybody can use
 * (`flood`).
 */
export const SUSPICION_REASONS = [...CONTENT_REASONS, 'changed', 'flood'] as const
export type SuspicionReason = (typeof SUSPICION_REASONS)[number]

/** Something odd about a frame, for people and audits: it changes nothing by itself. */
export interface FrameSuspicion {
  readonly producer: string
  readonly pnode: string
  readonly term: number
  readonly step: number
  readonly reason: SuspicionReason
}

export interface FrameChecksOptions {
  readonly run: string
  readonly forms: FrameForms
  /** The PNode that checks: it need not check what its own worker made. */
  readonly pnode: string
  /** Once for each producer, term and reason. */
  readonly onSuspicion: (suspicion: FrameSuspicion) => void
}

/** Frames that are remembered: many times as many as credits let come. */
const MOST_REMEMBERED = 8_192

export class FrameChecks {
  readonly #options: FrameChecksOptions
  /** By kind of frame and producer. */
  readonly #envelopes = new Map<string, NormEnvelope>()
  /** What was odd and refused, by place: its digest, and the term under which it came. */
  readonly #refused = new Map<string, { readonly digest: string; readonly term: number }>()
  /** The digest of each position's batch, and who has named it. */
  readonly #batches = new Map<number, { readonly batch: string; readonly vnode: string }>()
  readonly #told = new Map<string, true>()

  constructor(options: FrameChecksOptions) {
    this.#options = options
  }

  /**
   * Looks at a frame of the present term of its producer.
   * @param frame all of it, as `readFrame` gives it
   * @param bytes the same frame
   * @param from the PNode that sent it
   * @returns why it is refused; undefined: it is good, or insisted on
   */
  refusalOf(frame: AnyFrame, bytes: Uint8Array, from: string): ContentReason | undefined {
    const wrong = this.#wrongIn(frame)
    if (wrong) return this.#suspect(frame, from, wrong)
    const norm = from === this.#options.pnode ? undefined : normOf(frame)
    const isFinite = norm === undefined || Number.isFinite(norm)
    // What data there is may have such numbers, and then its readers say so: a run must not wait for others.
    if (!isFinite && frame.header.vnode !== SOURCE) return this.#suspect(frame, from, 'finite')
    const envelope = this.#envelopeOf(frame)
    const isBatchKnown = this.#isOfTheBatch(frame)
    // Data are as large as they are: one batch may be nothing like the one before.
    const isNormal = norm === undefined || frame.header.vnode === SOURCE || envelope.admits(norm)
    const odd = isFinite ? (isBatchKnown ? (isNormal ? undefined : 'norm') : 'batch') : 'finite'
    if (odd && !this.#isInsisted(frame, bytes, from)) return this.#suspect(frame, from, odd)
    if (!odd) this.#forget(frame, bytes, from)
    if (!isNormal) envelope.restart()
    if (norm !== undefined && isFinite) envelope.learn(norm)
    return undefined
  }

  /** A producer sends far more than its readers can use. */
  flooded(producer: string, pnode: string, term: number, step: number): void {
    this.#tell({ producer, pnode, term, step, reason: 'flood' })
  }

  /** What no honest producer does. */
  #wrongIn(frame: AnyFrame): FormFault | 'run' | 'labels' | undefined {
    const { header, batch, tensors } = frame
    if (header.run !== this.#options.run) return 'run'
    const fault = this.#options.forms.faultOf(frame)
    if (fault || header.kind !== 'output') return fault
    const labels = tensors.find(([name]) => name === 'labels')![1]
    return areLabelsOf(batch, labels.bytes) ? undefined : 'labels'
  }

  /** Inputs of one position are of one batch. Whoever comes second is not the liar for that. */
  #isOfTheBatch({ header: { kind, position, vnode }, batch }: AnyFrame): boolean {
    if (kind === 'feedback') return true
    const known = this.#batches.get(position)
    if (known && known.vnode !== vnode) return known.batch === batch
    remember(this.#batches, position, { batch, vnode })
    return true
  }

  /** Whether the very same was refused before under this term. If the two differ, one of them is a lie. */
  #isInsisted(frame: AnyFrame, bytes: Uint8Array, from: string): boolean {
    const place = placeOf(frame)
    const { term } = frame.header
    const digest = digestOf(bytes)
    const before = this.#refused.get(place)
    if (before?.term === term && before.digest === digest) return this.#refused.delete(place)
    if (before?.term === term) this.#suspect(frame, from, 'changed')
    remember(this.#refused, place, { digest, term })
    return false
  }

  /** Nothing is odd about what has come now. Is it what was odd before, when less was known, or is it another? */
  #forget(frame: AnyFrame, bytes: Uint8Array, from: string): void {
    const place = placeOf(frame)
    const before = this.#refused.get(place)
    if (!before) return
    if (before.term === frame.header.term && before.digest !== digestOf(bytes)) this.#suspect(frame, from, 'changed')
    this.#refused.delete(place)
  }

  #envelopeOf({ header: { kind, vnode, evaluation } }: AnyFrame): NormEnvelope {
    const key = `${kind} ${evaluation > 0 ? 'evaluation' : ''} ${vnode}`
    const known = this.#envelopes.get(key)
    if (known) return known
    const envelope = new NormEnvelope(kind === 'feedback' ? 'feedback' : 'outputs')
    this.#envelopes.set(key, envelope)
    return envelope
  }

  #suspect<R extends SuspicionReason>({ header: { vnode: producer, term, step } }: AnyFrame, pnode: string, reason: R): R {
    this.#tell({ producer, pnode, term, step, reason })
    return reason
  }

  #tell(suspicion: FrameSuspicion): void {
    const { producer, term, reason } = suspicion
    const key = `${producer} ${term} ${reason}`
    if (!this.#told.has(key)) this.#options.onSuspicion(suspicion)
    remember(this.#told, key, true)
  }
}

/** Root mean square of all that is to be finite; undefined: there is nothing. */
function normOf({ tensors }: AnyFrame): number | undefined {
  let sum = 0
  let count = 0
  for (const [name, { dtype, bytes }] of tensors) {
    if (dtype !== 'float32' || bytes.byteLength === 0) continue
    const { buffer, byteOffset, byteLength } = bytes.byteOffset % 4 === 0 ? bytes : bytes.slice()
    const squares = sumOfSquares(new Float32Array(buffer, byteOffset, byteLength / 4))
    // Labels that are numbers are the batch's, and as large as they are.
    if (name === 'labels' && Number.isFinite(squares)) continue
    sum += squares
    count += byteLength / 4
  }
  return count > 0 ? Math.sqrt(sum / count) : undefined
}

const placeOf = ({ header: { kind, vnode, position } }: AnyFrame): string => `${kind} ${vnode} ${position}`

/** Of all but the fixed header, in which the marks may change under a new source. */
const digestOf = (bytes: Uint8Array): string => createHash('sha256').update(bytes.subarray(56)).digest('hex')

/** The newest stay. */
function remember<K, V>(map: Map<K, V>, key: K, value: V): void {
  map.set(key, value)
  if (map.size > MOST_REMEMBERED) map.delete(map.keys().next().value!)
}
