/** What a VNode has read and put out, in hashes that others can compare (PROTOCOL.md rule 24). */
import { type FeedbackDefinition, SOURCE } from '../../components/definition.js'
import { vnodeOf } from '../../runtime/followers.js'
import { readFrame } from '../../runtime/frame.js'
import type { Grant } from '../../runtime/grant.js'
import { LogRoot, type Roots } from '../../runtime/log-root.js'
import type { Entry } from '../../runtime/step-log.js'
import type { Made } from './vnode-frames.js'

/** An entry, and what came for it: in the order of the grant. */
export interface Read {
  readonly entry: Entry
  readonly inputs: readonly Uint8Array[]
  readonly feedback?: readonly Uint8Array[]
}

export class VNodeRoots {
  readonly #output: LogRoot
  readonly #inputs: ReadonlyMap<string, LogRoot>
  /** By the position at which it was given, and by the one that it is for. */
  readonly #given: LogRoot | undefined
  readonly #due: LogRoot | undefined
  /** Given, for positions to come. */
  readonly #pending = new Map<number, Uint8Array>()
  readonly #lag: number
  readonly #got: ReadonlyMap<string, LogRoot>

  /** @param grant whose checkpoint it goes on from */
  constructor({ vnode, inputs, checkpoint }: Pick<Grant, 'vnode' | 'inputs' | 'checkpoint'>, feedback: FeedbackDefinition | undefined) {
    const { position = 0, roots } = checkpoint ?? {}
    const own = vnodeOf(vnode)
    this.#output = new LogRoot({ producer: own, kind: 'output' }, position, roots?.output)
    const read = inputs.filter((input) => !feedback?.from.includes(input.vnode))
    const rootOf = (producer: string) =>
      new LogRoot({ producer, kind: 'output', isOfSource: producer === SOURCE }, position, roots?.inputs[producer])
    this.#inputs = new Map(read.map((input) => [input.vnode, rootOf(input.vnode)]))
    const ofFeedback = (producer: string, root: string | undefined) => new LogRoot({ producer, kind: 'feedback' }, position, root)
    const gives = feedback && feedback.to.length > 0
    this.#given = gives ? ofFeedback(own, roots?.given) : undefined
    this.#due = gives ? ofFeedback(own, roots?.due) : undefined
    this.#lag = feedback?.lag ?? 0
    const givers = inputs.filter((input) => feedback?.from.includes(input.vnode))
    this.#got = new Map(givers.map((giver) => [giver.vnode, ofFeedback(giver.vnode, roots?.feedback?.[giver.vnode])]))
  }

  /** @param given what it has given before the checkpoint for positions behind it, in their order */
  restored(given: readonly Uint8Array[], position: number): void {
    for (const [i, frame] of given.entries()) this.#pending.set(position + 1 + i, frame)
  }

  applied({ entry: { position }, inputs, feedback: got = [] }: Read, { frame, feedback }: Made): void {
    this.#output.add(position, frame)
    for (const [i, root] of [...this.#inputs.values()].entries()) root.add(position, inputs[i])
    for (const [i, root] of [...this.#got.values()].entries()) addFeedback(root, position, got[i])
    if (!this.#given || !this.#due) return
    if (feedback) {
      this.#given.add(position, feedback)
      this.#pending.set(position + this.#lag, feedback)
    }
    addFeedback(this.#due, position, this.#pending.get(position))
    this.#pending.delete(position)
  }

  /** Undefined: it has not come there, or nobody asks about that any more. */
  at(position: number): Roots | undefined {
    const output = this.#output.at(position)
    if (output === undefined) return undefined
    const at = (roots: ReadonlyMap<string, LogRoot>) => Object.fromEntries([...roots].map(([vnode, root]) => [vnode, root.at(position)!]))
    const given = this.#given && { given: this.#given.at(position)!, due: this.#due!.at(position)! }
    return { output, inputs: at(this.#inputs), ...given, ...(this.#got.size > 0 && { feedback: at(this.#got) }) }
  }

  /** What it would have read with the next entry; undefined: it has applied it already. @param inputs in the order of the grant */
  readWith({ position }: Entry, inputs: readonly Uint8Array[]): Roots['inputs'] | undefined {
    if (this.#output.at(position) !== undefined) return undefined
    return Object.fromEntries([...this.#inputs].map(([vnode, root], i) => [vnode, root.with(inputs[i])]))
  }

  /** Nobody asks about what is before this position. */
  release(before: number): void {
    const own = this.#given && this.#due ? [this.#given, this.#due] : []
    for (const root of [this.#output, ...this.#inputs.values(), ...this.#got.values(), ...own]) root.release(before)
  }
}

function addFeedback(root: LogRoot, position: number, frame: Uint8Array | undefined): void {
  if (frame && readFrame(frame, { isWhole: true }).tensors.length > 0) root.add(position, frame)
  else root.pass(position)
}
