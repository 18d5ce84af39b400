/** What arrives for one VNode: read, checked and counted before its step log hears of it. */
import { isSwarmError } from '../../runtime/errors.js'
import { readFrame } from '../../runtime/frame.js'
import type { Grant, Placed } from '../../runtime/grant.js'
import { decodeSignal, subjectOf } from '../../runtime/signal.js'
import type { StepEvent } from '../../runtime/step-log.js'
import { FrameChecks } from './frame-checks.js'
import { FloodWatch } from './flood-watch.js'
import type { FrameForms } from './frame-forms.js'
import type { VNodeHost } from './vnode-host.js'

export interface VNodeInboxOptions {
  readonly host: VNodeHost
  /** The first one: run and generation stay. */
  readonly grant: Pick<Grant, 'run' | 'generation'>
  /** What frames must look like. */
  readonly forms: FrameForms
  /** Neighbours, as the newest grant names them. */
  readonly peers: ReadonlyMap<string, Placed>
  readonly signal: AbortSignal
  readonly onEvent: (event: StepEvent<Uint8Array>) => void
  readonly onFailure: (error: unknown) => void
}

/** Frames that wait unread at one VNode; credits keep the true number near its window. */
const INBOX_CAPACITY = 4_096

export class VNodeInbox {
  readonly #options: VNodeInboxOptions
  /** Messages, by reason. */
  readonly #dropped = new Map<string, number>()
  readonly #checks: FrameChecks
  readonly #floods = new FloodWatch()
  /** Of the newest frame that could be read. */
  #step = 0
  #drops = 0
  #address: Pick<Grant, 'run' | 'vnode'> = { run: '', vnode: '' }

  constructor(options: VNodeInboxOptions) {
    this.#options = options
    const { host, grant, forms } = options
    const onSuspicion: ConstructorParameters<typeof FrameChecks>[0]['onSuspicion'] = (suspicion) =>
      host.observe({ type: 'suspected', ...this.#address, ...suspicion })
    this.#checks = new FrameChecks({ run: grant.run, forms, pnode: host.pnode, onSuspicion })
  }

  /** Messages that were dropped, by reason. */
  get dropped(): ReadonlyMap<string, number> {
    return this.#dropped
  }

  /** Under the name in the grant; a follower that is promoted gets a second one. */
  listen({ run, pnode, vnode }: Grant): void {
    this.#address = { run, vnode }
    this.#subscribe(subjectOf(run, pnode, vnode, 'frame'), (bytes, from) => this.#onFrame(bytes, from))
    this.#subscribe(subjectOf(run, pnode, vnode, 'signal'), (bytes, from) => this.#onSignal(bytes, from))
  }

  /** Producers were asked to send so many again. */
  asked(count: number): void {
    this.#floods.asked(count)
  }

  drop(reason: string): void {
    this.#drops++
    this.#dropped.set(reason, (this.#dropped.get(reason) ?? 0) + 1)
    this.#options.host.observe({ type: 'dropped', ...this.#address, reason })
  }

  #subscribe(subject: string, onMessage: (bytes: Uint8Array, from: string) => void): void {
    const { host, signal, onEvent, onFailure } = this.#options
    const subscription = host.bus.subscribe(subject, { capacity: INBOX_CAPACITY, signal })
    const read = async () => {
      for await (const delivery of subscription) {
        if (signal.aborted) return
        if (delivery.type === 'lost') onEvent({ type: 'lost' })
        else this.#hear(delivery.from, () => onMessage(delivery.bytes, delivery.from))
      }
    }
    read().catch(onFailure)
  }

  /** What is dropped while it is read is refused, whoever says so. */
  #hear(from: string, read: () => void): void {
    const before = this.#drops
    read()
    if (!this.#floods.heard(from, this.#drops === before)) return
    const producer = [...this.#options.peers].find(([, { pnode }]) => pnode === from)
    if (producer) this.#checks.flooded(producer[0], from, producer[1].term, this.#step)
  }

  #onFrame(bytes: Uint8Array, from: string): void {
    this.#guard(() => {
      const frame = readFrame(bytes)
      const { vnode, position, step, evaluation, marks, generation, term, kind } = frame.header
      if (!this.#isFromOwner(vnode, term, from)) return
      // What is of another time its log refuses unseen.
      const isCurrent = generation === this.#options.grant.generation && term === this.#options.peers.get(vnode)!.term
      const refusal = isCurrent ? this.#checks.refusalOf(frame, bytes, from) : undefined
      if (refusal) return this.#refuse(refusal)
      if (isCurrent) this.#step = step
      const entry = { position, step, evaluation, marks }
      const what = { isTombstone: kind === 'tombstone', isFeedback: kind === 'feedback' }
      this.#options.onEvent({ type: 'frame', from: vnode, generation, term, entry, ref: bytes, ...what })
    })
  }

  /** It is as if it had been lost on its way: it is asked for again. */
  #refuse(reason: string): void {
    this.drop(reason)
    this.#options.onEvent({ type: 'lost' })
  }

  #onSignal(bytes: Uint8Array, from: string): void {
    this.#guard(() => {
      const signal = decodeSignal(bytes)
      if (this.#isFromOwner(signal.vnode, signal.term, from)) this.#options.onEvent({ ...signal, from: signal.vnode })
    })
  }

  /** A message that cannot be read is dropped and counted: it will be asked for again. */
  #guard(read: () => void): void {
    try {
      read()
    } catch (error) {
      if (!isSwarmError(error, 'frame.damaged', 'frame.version')) throw error
      this.drop(error.code)
    }
  }

  /** Nobody but the host that the directory names speaks for a VNode under its term. */
  #isFromOwner(vnode: string, term: number, host: string): boolean {
    const peer = this.#options.peers.get(vnode)
    const isOwner = peer !== undefined && (peer.term !== term || peer.pnode === host)
    if (!isOwner) this.drop('stranger')
    return isOwner
  }
}
