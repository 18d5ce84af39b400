/** What a VNode has given and somebody may need again, by the position that it is for. */
import type { Entry } from './step-events.js'

export interface Kept<Ref> {
  readonly entry: Entry
  readonly ref: Ref
}

export class Retention<Ref> {
  readonly #kept = new Map<number, Kept<Ref>>()
  #enqueued = 0
  #released = 0

  get size(): number {
    return this.#kept.size
  }

  /** Since it started. */
  get counts(): { readonly kept: number; readonly released: number } {
    return { kept: this.#enqueued, released: this.#released }
  }

  get(position: number): Kept<Ref> | undefined {
    return this.#kept.get(position)
  }

  keep(entry: Entry, ref: Ref): void {
    this.#kept.set(entry.position, { entry, ref })
    this.#enqueued++
  }

  /** Lets go of what is for positions after `from`, up to `upTo`. */
  release(from: number, upTo: number): void {
    for (let position = from + 1; position <= upTo; position++) if (this.#kept.delete(position)) this.#released++
  }
}
