/**
 * The step log of one VNode: which step is applied next, what is sent, resent, kept and granted (PROTOCOL.md rules 6 to 13).
 * Pure and synchronous: events in, commands out. No I/O, no clock, no arithmetic on tensors, so that a simulator can run it
 * by the million. A position is the place of an entry in the run's log, from 1; training and evaluation batches share the numbering.
 */
import { invariant } from './errors.js'
import { followed } from './followers.js'
import { MARK } from './frame.js'
import { Retention } from './retention.js'
import type { DropReason, Entry, FeedbackEdges, Peer, StepCommand, StepEvent, StepLogOptions, Wants } from './step-events.js'

export * from './step-events.js'

interface Input<Ref> {
  readonly vnode: string
  readonly isFeedback: boolean
  term: number
  readonly inbox: Map<number, { entry: Entry; ref: Ref; isTombstone: boolean }>
}

interface Output {
  readonly vnode: string
  readonly isFeedback: boolean
  /** Nobody waits for it: it gets what is kept anyway. */
  readonly isFollower: boolean
  term: number
  /** Highest position sent under the current term. */
  sent: number
  upTo: number
  /** First position that the consumer has not applied. */
  next: number
}

/**
 * How many windows a VNode may run ahead of its slowest consumer: the run goes on while a consumer is being restored,
 * and the memory that this costs stays bounded. As far a follower may be behind the newest manifest.
 */
export const AHEAD_WINDOWS = 8

export class StepLog<Ref> {
  readonly vnode: string
  readonly generation: number
  readonly window: number
  readonly #maxIssued: number
  readonly #maxAhead: number
  readonly #from: number
  readonly #inputs: Input<Ref>[]
  readonly #feedback: FeedbackEdges
  readonly #outputs: Output[]
  /** Outputs after the newest manifest: contiguous from #manifest + 1 to #applied, less what was never sent on. */
  readonly #retained = new Retention<Ref>()
  /** Feedback for positions after it, up to #applied + lag. */
  readonly #given = new Retention<Ref>()
  readonly #issued: Entry[] = []
  readonly #skips: ReadonlySet<number>
  readonly #counts = { received: 0, taken: 0 }
  #manifest: number
  /** What is not kept any more: up to the manifest, or less where a follower lacks something. */
  #released: number
  #applied: number
  /** Credit that the producers have been told of. */
  #granted = 0
  #appliedAtTick = -1
  /** Something was lost since the last tick, and asked for. */
  #hasAsked = false
  #isFollower: boolean
  #isHolding = false
  /** Position of the cut after which nothing is applied. */
  #heldAt: number | undefined

  constructor(options: StepLogOptions) {
    invariant(options.window >= 1 && options.window <= 1024, () => `${options.vnode}: window ${options.window}`)
    this.vnode = options.vnode
    this.generation = options.generation
    this.window = options.window
    this.#maxIssued = options.maxIssued ?? 2
    this.#maxAhead = options.maxAhead ?? Infinity
    this.#skips = new Set(options.skips)
    this.#isFollower = options.isFollower ?? false
    this.#from = options.from
    this.#manifest = options.from
    this.#released = options.from
    this.#applied = options.from
    this.#feedback = options.feedback ?? { from: [], to: [], lag: 1 }
    this.#inputs = options.inputs.map((peer) => ({ ...peer, isFeedback: this.#feedback.from.includes(peer.vnode), inbox: new Map() }))
    this.#outputs = options.outputs.map((peer) => this.#output(peer))
  }

  /** Position of the last applied entry. */
  get applied(): number {
    return this.#applied
  }

  /** Position of the cut after which it applies nothing, once it has come to it. */
  get heldAt(): number | undefined {
    return this.#heldAt
  }

  /** A follower of which the producers keep nothing any more that it lacks: it can only begin anew. */
  get isBehind(): boolean {
    return this.#applied < this.#manifest && this.#isStarved()
  }

  /** Outputs kept for consumers that may have to be restored. */
  get retained(): number {
    return this.#retained.size + this.#given.size
  }

  /** Inputs received, and taken for a step; outputs kept, and let go after a checkpoint: since it started. */
  get counts(): { readonly received: number; readonly taken: number; readonly kept: number; readonly released: number } {
    const [{ kept, released }, given] = [this.#retained.counts, this.#given.counts]
    return { ...this.#counts, kept: kept + given.kept, released: released + given.released }
  }

  /** What it waits for; nothing while it computes, stands still for a move, or has come to where retention ends. */
  get wants(): Wants {
    const position = this.#applied + 1
    if (this.#issued.length > 0 || this.#heldAt !== undefined || position > this.#manifest + this.#maxAhead) return {}
    if (this.#isStarved()) {
      const lacking = this.#inputs.filter(({ inbox }) => !inbox.has(position))
      const feedback = lacking.filter(({ isFeedback }) => isFeedback).map(({ vnode }) => [vnode, position - this.#feedback.lag])
      const inputs = lacking.filter(({ isFeedback }) => !isFeedback).map(({ vnode }) => vnode)
      return { ...(inputs.length > 0 && { inputs }), ...(feedback.length > 0 && { feedback: Object.fromEntries(feedback) }) }
    }
    const full = this.#outputs.filter((output) => !this.#leavesRoom(output, position))
    return full.length > 0 ? { readers: Object.fromEntries(full.map(({ vnode, next }) => [vnode, next])) } : {}
  }

  /** Inputs that wait for their turn. */
  get waiting(): number {
    return this.#inputs.reduce((sum, { inbox }) => sum + inbox.size, 0)
  }

  /**
   * Call once, when the state is loaded: greets the consumers and asks the producers.
   * @param given the feedback that it gave for the `lag` positions after `from`: it is part of the state
   */
  start(given: readonly Ref[] = []): StepCommand<Ref>[] {
    const out: StepCommand<Ref>[] = []
    given.forEach((ref, i) => {
      const position = this.#from + 1 + i
      if (position > this.#released) this.#given.keep({ position, step: 0, evaluation: 0, marks: 0 }, ref)
    })
    if (!this.#isFollower) for (const { vnode } of this.#outputs) out.push({ type: 'hello', to: vnode })
    this.#grant(out, true)
    return out
  }

  /** Takes one event and says what to do. */
  handle(event: StepEvent<Ref>): StepCommand<Ref>[] {
    const out: StepCommand<Ref>[] = []
    switch (event.type) {
      case 'frame':
        this.#onFrame(event, out)
        break
      case 'credit':
        this.#onCredit(event, out)
        break
      case 'hello':
        this.#onHello(event, out)
        break
      case 'granted':
        this.#onGranted(event.peer, out)
        break
      case 'promoted':
        this.#onPromoted(event, out)
        break
      case 'applied':
        this.#onApplied(event, out)
        break
      case 'manifest':
        this.#onManifest(event.position)
        break
      case 'lost':
        // Once until the next tick: what is sent again may be lost again, and each loss would ask for more than was lost.
        if (!this.#hasAsked) this.#grant(out, true)
        this.#hasAsked = true
        break
      case 'hold':
      case 'release':
        this.#isHolding = event.type === 'hold'
        if (!this.#isHolding) this.#heldAt = undefined
        break
      case 'tick':
        // No progress since the last tick: whatever we wait for may have been lost, in either direction.
        this.#grant(out, this.#applied === this.#appliedAtTick && this.#isStarved())
        this.#appliedAtTick = this.#applied
        this.#hasAsked = false
        break
    }
    this.#issue(out)
    return out
  }

  /**
   * For the source, which has no inputs: issues the next entry, if consumers leave room for it.
   * @returns undefined if they do not
   */
  offer(entry: Entry): StepCommand<Ref>[] | undefined {
    invariant(this.#inputs.length === 0, () => `${this.vnode} has inputs`)
    if (!this.canOffer()) return undefined
    invariant(entry.position === this.#applied + 1, () => `${this.vnode}: offered ${entry.position} after ${this.#applied}`)
    return [{ type: 'apply', entry, inputs: [] }, ...this.#take(entry)]
  }

  /** Whether `offer` would take the next entry. */
  canOffer(): boolean {
    return this.#issued.length === 0 && this.#hasRoom(this.#applied + 1)
  }

  #onFrame(event: StepEvent<Ref> & { type: 'frame' }, out: StepCommand<Ref>[]): void {
    const { entry, ref, isTombstone = false, isFeedback = false } = event
    const drop = (reason: DropReason) => void out.push({ type: 'drop', reason, from: event.from })
    if (event.generation !== this.generation) return drop('generation')
    const inputs = this.#inputs.filter((input) => input.vnode === event.from && input.isFeedback === isFeedback)
    if (inputs.length === 0) return drop('stranger')
    for (const input of inputs) {
      if (event.term < input.term) return drop('term')
      if (event.term > input.term) return drop('ungranted')
      if (entry.position <= this.#applied + this.#issued.length || input.inbox.has(entry.position)) return drop('duplicate')
      if (entry.position > this.#applied + this.window) return drop('beyond-credit')
      input.inbox.set(entry.position, { entry, ref, isTombstone })
      this.#counts.received++
    }
  }

  #onCredit(event: StepEvent<Ref> & { type: 'credit' }, out: StepCommand<Ref>[]): void {
    const drop = (reason: DropReason) => void out.push({ type: 'drop', reason, from: event.from })
    if (event.generation !== this.generation) return drop('generation')
    const output = this.#outputs.find(({ vnode }) => vnode === event.from)
    if (!output) return drop('stranger')
    if (event.term < output.term) return drop('term')
    if (event.term > output.term) return drop('ungranted')
    // A late message: nobody is restored from before the newest manifest. A follower may be a little behind it.
    if (event.next <= (output.isFollower ? this.#released : this.#manifest)) return drop('behind-manifest')
    // Credits may arrive in any order; absolute numbers make the newest the largest.
    output.upTo = Math.max(output.upTo, event.upTo)
    output.next = Math.max(output.next, event.next)
    // A request that was overtaken gets no more than what is missing now.
    output.sent = event.resend ? output.next - 1 : Math.max(output.sent, output.next - 1)
    this.#send(output, out)
    if (output.isFollower) this.#release()
  }

  #onHello(event: StepEvent<Ref> & { type: 'hello' }, out: StepCommand<Ref>[]): void {
    const drop = (reason: DropReason) => void out.push({ type: 'drop', reason, from: event.from })
    if (event.generation !== this.generation) return drop('generation')
    const input = this.#inputs.find(({ vnode }) => vnode === event.from)
    if (!input) return drop('stranger')
    if (event.term < input.term) return drop('term')
    if (event.term > input.term) return drop('ungranted')
    out.push({ type: 'credit', to: input.vnode, ...this.#credit(), resend: true })
  }

  #onGranted(peer: Peer, out: StepCommand<Ref>[]): void {
    for (const input of this.#inputs) {
      if (input.vnode !== peer.vnode || input.term >= peer.term) continue
      input.term = peer.term
      // What the old term sent stays: a producer's output is the same under any term.
      out.push({ type: 'credit', to: input.vnode, ...this.#credit(), resend: true })
    }
    // Followers come and go.
    const reader = followed(peer.vnode)
    const isNew = reader !== undefined && this.#outputs.every(({ vnode }) => vnode !== peer.vnode)
    if (isNew && this.#outputs.some(({ vnode }) => vnode === reader)) this.#outputs.push(this.#output({ ...peer, term: -1 }))
    for (const output of this.#outputs) {
      if (output.vnode !== peer.vnode || output.term >= peer.term) continue
      // The new owner starts from the newest manifest, or a later one: its first credit says where.
      Object.assign(output, this.#output(peer))
      if (!this.#isFollower) out.push({ type: 'hello', to: output.vnode })
    }
  }

  /** A follower becomes the owner: what it has kept is what the owner before it has sent, or would have. */
  #onPromoted({ inputs, outputs }: StepEvent<Ref> & { type: 'promoted' }, out: StepCommand<Ref>[]): void {
    invariant(this.#isFollower && this.#applied >= this.#manifest, () => `${this.vnode}: promoted at ${this.#applied}`)
    this.#isFollower = false
    for (const input of this.#inputs)
      input.term = Math.max(input.term, ...inputs.flatMap(({ vnode, term }) => (vnode === input.vnode ? [term] : [])))
    this.#outputs.splice(0, Infinity, ...outputs.map((peer) => this.#output(peer)))
    out.push(...this.start())
  }

  #output({ vnode, term }: Peer): Output {
    const reader = followed(vnode)
    const isFeedback = this.#feedback.to.includes(reader ?? vnode)
    return { vnode, isFeedback, isFollower: reader !== undefined, term, sent: this.#manifest, upTo: 0, next: this.#manifest + 1 }
  }

  #onApplied({ position, ref, feedback }: StepEvent<Ref> & { type: 'applied' }, out: StepCommand<Ref>[]): void {
    const entry = this.#issued.shift()
    invariant(entry !== undefined && entry.position === position, () => `${this.vnode}: applied ${position}, issued ${entry?.position}`)
    invariant(position === this.#applied + 1, () => `${this.vnode}: applied ${position} after ${this.#applied}`)
    this.#applied = position
    if (this.#outputs.length > 0 && position > this.#manifest) this.#retained.keep(entry, ref)
    const readAt = position + this.#feedback.lag
    if (feedback !== undefined && readAt > this.#manifest) this.#given.keep({ ...entry, position: readAt }, feedback)
    for (const output of this.#outputs) this.#send(output, out)
    // Half a window at a time: fewer messages, and the producer never runs dry.
    if (this.#applied + this.window - this.#granted >= Math.ceil(this.window / 2)) this.#grant(out, false)
  }

  #onManifest(position: number): void {
    if (position <= this.#manifest) return
    // A source that starts anew has no part in the cut and no state: what everybody has applied it need not make again.
    if (this.#inputs.length === 0 && this.#issued.length === 0) this.#applied = Math.max(this.#applied, position)
    invariant(position <= this.#applied || this.#isFollower, () => `${this.vnode}: manifest ${position} beyond ${this.#applied}`)
    this.#manifest = position
    this.#release()
    // Every consumer has applied it: one that is being restored starts from here, whatever it was told of.
    for (const output of this.#outputs) {
      if (output.isFollower) continue
      output.sent = Math.max(output.sent, position)
      output.next = Math.max(output.next, position + 1)
    }
  }

  /** Lets go of what no checkpoint needs, and no follower that is only a little behind it. */
  #release(): void {
    const least = this.#manifest - AHEAD_WINDOWS * this.window
    const lacking = this.#outputs.filter(({ isFollower, next }) => isFollower && next > least)
    const upTo = Math.min(this.#manifest, ...lacking.map(({ next }) => next - 1))
    this.#retained.release(this.#released, upTo)
    this.#given.release(this.#released, upTo)
    this.#released = Math.max(this.#released, upTo)
  }

  /** Issues what has all its inputs, in order. */
  #issue(out: StepCommand<Ref>[]): void {
    if (this.#inputs.length === 0) return
    while (this.#issued.length < this.#maxIssued && this.#heldAt === undefined) {
      const position = this.#applied + this.#issued.length + 1
      if (!this.#hasRoom(position)) return
      if (!this.#inputs.every(({ inbox }) => inbox.has(position))) return
      const frames = this.#come(position, false)
      const feedback = this.#come(position, true).map(({ ref }) => ref)
      // What was issued is answered in order, and a tombstone at once: it waits until it is alone.
      const isSkipped = this.#skips.has(position) || frames.some(({ isTombstone }) => isTombstone)
      if (isSkipped && this.#issued.length > 0) return
      const { step, evaluation } = frames[0].entry
      const isSame = frames.every((frame) => frame.entry.step === step && frame.entry.evaluation === evaluation)
      invariant(isSame, () => `${this.vnode}: inputs disagree on position ${position}: ${JSON.stringify(frames.map((f) => f.entry))}`)
      // A source that was started again asks for cuts elsewhere than the one before, and a branch may still carry the older frame. A
      // cut that not everybody takes part in never completes, and the next one takes its place.
      const entry = { position, step, evaluation, marks: frames.reduce((marks, frame) => marks | frame.entry.marks, 0) }
      for (const { inbox } of this.#inputs) inbox.delete(position)
      this.#counts.taken += this.#inputs.length
      const read = { entry, inputs: frames.map(({ ref }) => ref), ...(feedback.length > 0 && { feedback }) }
      if (isSkipped) return void out.push(...this.#take(entry), { type: 'bury', ...read })
      out.push({ type: 'apply', ...read }, ...this.#take(entry))
    }
  }

  #come(position: number, isBack: boolean) {
    return this.#inputs.flatMap(({ isFeedback, inbox }) => (isFeedback === isBack ? [inbox.get(position)!] : []))
  }

  #take(entry: Entry): StepCommand<Ref>[] {
    this.#issued.push(entry)
    const isCut = (entry.marks & MARK.cut) !== 0 && entry.evaluation === 0
    if (isCut && this.#isHolding) this.#heldAt = entry.position
    return isCut ? [{ type: 'snapshot', entry }] : []
  }

  /** Idle for want of an input, and not because of a slow step or a slow consumer: those need nothing sent again. */
  #isStarved(): boolean {
    return this.#issued.length === 0 && this.#heldAt === undefined && this.#inputs.some(({ inbox }) => !inbox.has(this.#applied + 1))
  }

  /** No further ahead of any consumer, or of the newest manifest, than the retention allows. */
  #hasRoom(position: number): boolean {
    if (position > this.#manifest + this.#maxAhead) return false
    if (this.#isFollower) return true
    return this.#outputs.every((output) => this.#leavesRoom(output, position))
  }

  #leavesRoom({ next, isFollower }: Output, position: number): boolean {
    return isFollower || position < next + AHEAD_WINDOWS * this.window
  }

  #send(output: Output, out: StepCommand<Ref>[]): void {
    if (this.#isFollower) return
    while (output.sent < output.upTo) {
      const kept = (output.isFeedback ? this.#given : this.#retained).get(output.sent + 1)
      if (!kept) return
      output.sent++
      out.push({ type: 'send', to: output.vnode, ...kept })
    }
  }

  #credit() {
    return { next: this.#applied + 1, upTo: this.#applied + this.window }
  }

  #grant(out: StepCommand<Ref>[], resend: boolean): void {
    const credit = this.#credit()
    this.#granted = credit.upTo
    for (const vnode of new Set(this.#inputs.map((input) => input.vnode))) out.push({ type: 'credit', to: vnode, ...credit, resend })
  }
}
