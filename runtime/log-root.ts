/** The roots of the logs that a VNode reads and makes, position by position, from the start of the run on: those after a checkpoint are part of it. */
import {
  type BatchFrame,
  batchEntryOf,
  type EdgeEntry,
  edgeEntryOf,
  type EdgeRoot,
  type EdgeStream,
  extendEdgeRoot,
  receivedBatchEntryOf,
  startEdgeRoot,
} from './edge-root.js'
import { readFrame } from './frame.js'

/** What a VNode has read and put out up to some position: SHA-256, in hex. */
export interface Roots {
  readonly output: string
  /** Of the feedback that it has given. Absent: it gives none. */
  readonly given?: string
  /** Of that, what was to be applied up to there. What is empty does not count: it is made anew after a restart, and may say so in other words. */
  readonly due?: string
  /** By producer; feedback is not in it. */
  readonly inputs: { readonly [producer: string]: string }
  /** Of the feedback that it has got and applied, by giver; as in `due`. Absent: it gets none. */
  readonly feedback?: { readonly [giver: string]: string }
}

export interface LogRootOptions extends Omit<EdgeStream, 'from'> {
  /** It is the log of the source: its frames are batches. Default false. */
  readonly isOfSource?: boolean
}

export class LogRoot {
  readonly #isOfSource: boolean
  /** By position, since the newest manifest. */
  readonly #roots = new Map<number, string>()
  #newest: EdgeRoot

  /** @param root after `position`, in hex. Absent: there was nothing before */
  constructor({ isOfSource = false, ...stream }: LogRootOptions, position: number, root?: string) {
    this.#isOfSource = isOfSource
    const start = startEdgeRoot({ ...stream, from: 0 })
    this.#newest = root === undefined ? start : { ...start, position, root: Buffer.from(root, 'hex') }
    this.#roots.set(position, hex(this.#newest))
  }

  /** Of the newest frame that is in it. */
  get position(): number {
    return this.#newest.position
  }

  /** @param position of the entry: feedback is for a later one */
  add(position: number, frame: Uint8Array): void {
    this.#extend(position, this.#entryOf(frame))
  }

  /** There is nothing at this position. */
  pass(position: number): void {
    this.#roots.set(position, hex(this.#newest))
  }

  /** A batch of the source of which there is no frame. @param batch its digest is that of its tensors */
  addBatch(batch: BatchFrame): void {
    this.#extend(batch.header.position, batchEntryOf(batch))
  }

  /** What it would be with this frame, which is of the next position. */
  with(frame: Uint8Array): string {
    return hex(extendEdgeRoot(this.#newest, this.#entryOf(frame)))
  }

  /** Up to and with a position; undefined: it has not come yet, or is not kept any more. */
  at(position: number): string | undefined {
    return this.#roots.get(position)
  }

  /** Nobody asks about what is before this position. */
  release(before: number): void {
    for (const position of this.#roots.keys()) {
      if (position >= before) return
      this.#roots.delete(position)
    }
  }

  #extend(position: number, entry: EdgeEntry): void {
    this.#newest = extendEdgeRoot(this.#newest, entry)
    this.#roots.set(position, hex(this.#newest))
  }

  #entryOf(frame: Uint8Array): EdgeEntry {
    const entry =
      entries.get(frame) ??
      (this.#isOfSource ? receivedBatchEntryOf(readFrame(frame, { isWhole: true })) : edgeEntryOf(frame, { isWhole: true }))
    entries.set(frame, entry)
    return entry
  }
}

const hex = ({ root }: EdgeRoot): string => Buffer.from(root).toString('hex')

/** One frame may be made by one VNode of this process, and read by several. */
const entries = new WeakMap<Uint8Array, EdgeEntry>()

/** Whoever has made a frame has hashed it already. */
export function entryIsKnown(frame: Uint8Array, entry: EdgeEntry): void {
  entries.set(frame, entry)
}
