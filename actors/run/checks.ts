/** How the work of a run is checked: by all who apply it as well (reviews), and by samples (audits). Who is found to be wrong has no part in it any more. */
import { createHash } from 'node:crypto'
import type { ActorContext } from '../../runtime/actor-system/actor-system.js'
import type { ControlKey } from '../../runtime/grant.js'
import { excluding, type Head, rolledBackBeforeUnverified } from '../../runtime/head.js'
import type { HeadWriter } from '../../runtime/head-store.js'
import type { ObjectStore } from '../../runtime/object-store/object-store.js'
import { DEFAULT_MEMBERSHIP } from '../placement/placement.js'
import type { Claim, Commit, Failure } from '../reports.js'
import { Audits } from './audits.js'
import type { Belief } from './failures.js'
import type { Moves } from './moves.js'
import { Reviews } from './reviews.js'
import type { RunDefinition } from './run-definition.js'
import type { RunMonitor } from './run-monitor.js'
import { type RunSettings, settingsIfAny } from './run-settings.js'

export interface ChecksOptions {
  readonly context: ActorContext
  readonly store: ObjectStore
  readonly definition: RunDefinition
  readonly writer: HeadWriter
  readonly controlKey: ControlKey
  readonly monitor: RunMonitor
  readonly moves: () => Moves
  /** A cut is complete, and nobody has anything against it. */
  readonly complete: (commits: readonly Commit[]) => Promise<void>
  /** What was kept for audits is not needed any more. */
  readonly released: () => Promise<void>
  /** Recovery two; what it cannot do ends the run. */
  readonly back: (reason: string, change: (head: Head) => Head) => Promise<void>
  /** A step has failed, and not for what somebody else has sent. */
  readonly believe: (failure: Failure, how: Belief) => Promise<void>
  /** Its PNode has to leave a VNode to somebody else. */
  readonly leave: (vnode: string, reason: string) => Promise<void>
  readonly standstillMs?: number
}

export class Checks {
  /** Whether those who apply the same log agree. */
  readonly reviews: Reviews
  /** Whether somebody who is asked agrees. */
  readonly audits: Audits
  readonly #options: ChecksOptions

  constructor(options: ChecksOptions) {
    this.#options = options
    const { context, store, definition, writer, controlKey, monitor, moves, complete, released, believe, leave, standstillMs } = options
    const patienceMs = 2 * (standstillMs ?? DEFAULT_MEMBERSHIP.standstillMs)
    const shared = {
      context,
      store,
      head: () => writer.head,
      tell: monitor.emit.bind(monitor),
      dismiss: (ids: readonly string[], areToBlame?: boolean) => moves().dismiss(ids, { areToBlame }),
      goBack: (reason: string, convicted: readonly string[]) => this.#goBack(reason, convicted),
      patienceMs,
    }
    this.reviews = new Reviews({
      ...shared,
      definition,
      complete,
      askAnother: async (vnode, pnode, reason) => (await moves().followers.another(vnode, pnode, reason)) !== undefined,
      believe: (failure, how) => {
        // Others may have been blamed for what they met, too.
        if (how.isConfirmed) moves().standstill.forgive()
        return believe(failure, how)
      },
      shun: (pnode) => moves().standstill.shun(pnode),
      leave,
    })
    this.audits = new Audits({
      ...shared,
      patienceMs: Number.isFinite(patienceMs) ? patienceMs : 2 * DEFAULT_MEMBERSHIP.standstillMs,
      vnodes: definition.network.vnodes.map(({ id }) => id),
      auditKey: auditKeyOf(controlKey),
      shares: async (pnodes, share) => pnodes.map(() => share),
      update: async (change) => void (await writer.update(change)),
      ask: (vnode, pnode, segment) =>
        moves().followers.another(vnode, pnode, `audits it from step ${segment.from + 1} to ${segment.to}`, segment),
      released,
      verified: () => undefined,
    })
  }

  /** As the settings say: a resume may have others. */
  async begin(): Promise<RunSettings | undefined> {
    const { store, writer } = this.#options
    const settings = await settingsIfAny(store, writer.head.run)
    const { redundancy = 1, audits = 0 } = settings ?? {}
    this.reviews.begin(redundancy, audits > 0)
    this.audits.begin(audits)
    return settings
  }

  /** Whether commits have to say what was read and put out. */
  get areOn(): boolean {
    return this.reviews.isOn || this.audits.areOn
  }

  /** A follower says what it makes of the log. */
  async claimed(claim: Claim, newestStep: number): Promise<void> {
    if (this.#options.writer.head.directory[claim.vnode].audits) await this.audits.claimed(claim)
    else if (claim.step > newestStep) await this.reviews.claimed(claim)
  }

  /** A VNode, or a follower, gets another owner. @param from who had it before, if anybody */
  moved(id: string, from: string | undefined): void {
    this.reviews.moved(id, from)
    this.audits.moved(id)
  }

  async #goBack(reason: string, convicted: readonly string[]): Promise<void> {
    const { writer, moves, back } = this.#options
    if (convicted.length > 0) moves().standstill.forgive()
    await writer.update((head) => excluding(head, convicted))
    await back(reason, (head) => rolledBackBeforeUnverified(head, convicted))
  }
}

/** What audits are drawn with: nobody but control knows it, and it says nothing of the key. 32 bytes in hex. */
function auditKeyOf({ privateKey }: ControlKey): string {
  return createHash('sha256')
    .update('swarmgrad audit key\n')
    .update(privateKey.export({ type: 'pkcs8', format: 'der' }))
    .digest('hex')
}
