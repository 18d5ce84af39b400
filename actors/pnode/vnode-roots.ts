/** What a VNode has read and put out, in hashes that others can compare (PROTOCOL.md rule 24). */
import { type FeedbackDefinition, SOURCE } from '../../components/definition.js'
import { vnodeOf } from '../../runtime/followers.js'
import type { Grant } from '../../runtime/grant.js'
import { LogRoot, type Roots } from '../../runtime/log-root.js'
import type { Entry } from '../../runtime/step-log.js'
import type { Made } from './vnode-frames.js'

export class VNodeRoots {
  readonly #output: LogRoot
  readonly #inputs: ReadonlyMap<string, LogRoot>
  /** By the position at which it was given. */
  readonly #given: LogRoot | undefined

  /** @param grant whose checkpoint it goes on from */
  constructor({ vnode, inputs, checkpoint }: Pick<Grant, 'vnode' | 'inputs' | 'checkpoint'>, feedback: FeedbackDefinition | undefined) {
    const { position = 0, roots } = checkpoint ?? {}
    const own = vnodeOf(vnode)
    this.#output = new LogRoot({ producer: own, kind: 'output' }, position, roots?.output)
    const read = inputs.filter((input) => !feedback?.from.includes(input.vnode))
    const rootOf = (producer: string) =>
      new LogRoot({ producer, kind: 'output', isOfSource: producer === SOURCE }, position, roots?.inputs[producer])
    this.#inputs = new Map(read.map((input) => [input.vnode, rootOf(input.vnode)]))
    const gives = feedback && feedback.to.length > 0
    this.#given = gives ? new LogRoot({ producer: own, kind: 'feedback' }, position, roots?.given) : undefined
  }

  /** @param inputs in the order of the grant */
  applied({ position }: Entry, inputs: readonly Uint8Array[], { frame, feedback }: Made): void {
    this.#output.add(position, frame)
    if (feedback) this.#given?.add(position, feedback)
    for (const [i, root] of [...this.#inputs.values()].entries()) root.add(position, inputs[i])
  }

  /** Undefined: it has not come there, or nobody asks about that any more. */
  at(position: number): Roots | undefined {
    const output = this.#output.at(position)
    if (output === undefined) return undefined
    const inputs = Object.fromEntries([...this.#inputs].map(([vnode, root]) => [vnode, root.at(position)!]))
    return { output, inputs, ...(this.#given && { given: this.#given.at(position)! }) }
  }

  /** What it would have read with the next entry; undefined: it has applied it already. @param inputs in the order of the grant */
  readWith({ position }: Entry, inputs: readonly Uint8Array[]): Roots['inputs'] | undefined {
    if (this.#output.at(position) !== undefined) return undefined
    return Object.fromEntries([...this.#inputs].map(([vnode, root], i) => [vnode, root.with(inputs[i])]))
  }

  /** Nobody asks about what is before this position. */
  release(before: number): void {
    for (const root of [this.#output, ...this.#inputs.values(), ...(this.#given ? [this.#given] : [])]) root.release(before)
  }
}
