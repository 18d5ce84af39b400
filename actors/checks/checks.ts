/** How the work of a run is checked: by all who apply it as well (reviews), and by samples (audits). Who is found to be wrong has no part in it any more. */
import { createHash } from 'node:crypto'
import { isBitwise } from '../../components/backends.js'
import { SOURCE } from '../../components/definition.js'
import type { ActorContext } from '../../runtime/actor-system/actor-system.js'
import { SwarmError } from '../../runtime/errors.js'
import type { ControlKey } from '../../runtime/grant.js'
import { excluding, type Head, rolledBack, rolledBackBeforeUnverified } from '../../runtime/head.js'
import type { HeadWriter } from '../../runtime/head-store.js'
import type { ObjectStore } from '../../runtime/object-store/object-store.js'
import { actor, call, type HostStanding, type TrustEvent } from '../calls.js'
import { DEFAULT_MEMBERSHIP } from '../placement/placement.js'
import type { Claim, Commit, Evaluated, Failure } from '../reports.js'
import { multiplyAddsOf } from '../trust/ledger-entry.js'
import { DEFAULT_REPUTATION_RULES } from '../trust/reputation.js'
import type { Trust } from '../trust/trust.js'
import { TrustReports } from '../trust/trust-reports.js'
import { Audits } from './audits.js'
import { type Found, keepEvidence } from './evidence.js'
import type { Evaluations } from '../run/evaluations.js'
import type { Belief } from '../run/failures.js'
import { KeptManifests } from './kept-manifests.js'
import type { Moves } from '../run/moves.js'
import { Reviews } from './reviews.js'
import type { Opinion } from './review.js'
import { consumersOf, type RunDefinition, samplesOf } from '../run/run-definition.js'
import type { RunMonitor } from '../run/run-monitor.js'
import { type RunSettings, settingsIfAny } from '../run/run-settings.js'
import { SourceAudits } from './source-audits.js'

export interface ChecksOptions {
  readonly context: ActorContext
  readonly store: ObjectStore
  /** Absent: as placement says. */
  readonly trust?: Trust
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
  readonly evaluations: Evaluations
  readonly standstillMs?: number
}

export class Checks {
  /** Whether those who apply the same log agree. */
  readonly reviews: Reviews
  /** Whether somebody who is asked agrees. */
  readonly audits: Audits
  /** Where runs may have to begin. */
  readonly manifests: KeptManifests
  readonly #options: ChecksOptions
  readonly #trust: TrustReports
  /** Audits are on since a trainer has said nothing of them. */
  #areNotAskedFor = false

  constructor(options: ChecksOptions) {
    this.#options = options
    const {
      context,
      store,
      trust,
      definition,
      writer,
      controlKey,
      monitor,
      moves,
      complete,
      released,
      back,
      believe,
      leave,
      evaluations,
      standstillMs,
    } = options
    this.#trust = new TrustReports(context, (error) => monitor.emit({ type: 'warning', error: error.toJSON() }))
    const patienceMs = 2 * (standstillMs ?? DEFAULT_MEMBERSHIP.standstillMs)
    const shared = {
      context,
      store,
      trust,
      head: () => writer.head,
      dismiss: (ids: readonly string[], areToBlame?: boolean) => moves().dismiss(ids, { areToBlame }),
      goBack: (reason: string) => back(reason, rolledBack),
      convict: (found: Found, reason: string) => this.#convict(found, reason),
      patienceMs,
    }
    this.reviews = new Reviews({
      ...shared,
      definition,
      complete,
      verified: (said, step) => this.#verified(said, writer.head.manifests[0]?.step ?? 0, step),
      askAnother: async (vnode, pnode, reason) => (await moves().followers.another(vnode, pnode, reason)) !== undefined,
      believe: (failure, how) => {
        // Others may have been blamed for what they met, too.
        if (how.isConfirmed) moves().standstill.forgive()
        return believe(failure, how)
      },
      shun: (pnode) => moves().standstill.shun(pnode),
      leave,
      waits: (vnodes, reason) => monitor.waits(vnodes, reason),
      unevaluated: (before) => evaluations.firstMissing(writer.head.manifests[0]?.step ?? 0, before),
    })
    this.manifests = new KeptManifests(() => writer.head)
    this.audits = new Audits({
      ...shared,
      manifests: this.manifests,
      patienceMs: Number.isFinite(patienceMs) ? patienceMs : 2 * DEFAULT_MEMBERSHIP.standstillMs,
      source: new SourceAudits({
        ...shared,
        readers: consumersOf(definition.network, SOURCE),
        contradict: (says, others) => this.reviews.contradict(says, others),
        shun: (pnode) => moves().standstill.shun(pnode),
      }),
      vnodes: definition.network.vnodes.map(({ id }) => id),
      auditKey: auditKeyOf(controlKey),
      tell: monitor.emit.bind(monitor),
      shares: (pnodes, share) => this.#shares(pnodes, share),
      update: async (change) => void (await writer.update(change)),
      ask: (vnode, pnode, segment) =>
        moves().followers.another(vnode, pnode, `audits it from step ${segment.from + 1} to ${segment.to}`, segment),
      released,
      verified: (said, { vnode, from, to }) => this.#verified(said, from, to, vnode),
    })
  }

  /** As the settings say: a resume may have others. */
  async begin(): Promise<RunSettings | undefined> {
    const { store, writer } = this.#options
    const settings = await settingsIfAny(store, writer.head.run)
    const { redundancy = 1, audits = 0, areAuditsDefault = false } = settings ?? {}
    this.#areNotAskedFor = areAuditsDefault && redundancy === 1
    this.reviews.begin(redundancy, audits > 0)
    this.audits.begin(audits)
    return settings
  }

  /** Who gives other bits each time cannot be checked by their bits: nobody is then, unless somebody has asked for it. @throws `usage` */
  suit(computeClass: string | undefined): void {
    if (!this.areOn || isBitwise(computeClass)) return
    const error = new SwarmError('usage', {
      what: 'redundancy or audits',
      expected: 'a compute class that gives the same bits',
      got: computeClass,
      fix: 'Believe these hosts (--audits 0, no --redundancy), or leave those out that compute on a GPU',
    })
    if (!this.#areNotAskedFor) throw error
    this.reviews.begin(1, false)
    this.audits.begin(0)
    this.#options.monitor.emit({ type: 'warning', error: { ...error.toJSON(), message: `nobody is audited: ${error.message}` } })
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

  /** An owner before this one has excluded somebody, and did not come to undo what he had done. */
  async wentBack(): Promise<boolean> {
    const { writer, back } = this.#options
    const { excluded = [], unverified = {}, audits = [] } = writer.head
    const hosts = excluded.filter((pnode) => pnode in unverified || audits.some((audit) => audit.pnode === pnode))
    if (hosts.length === 0) return false
    await back(`${hosts.join(', ')} gave something else than its log does`, (head) => rolledBackBeforeUnverified(head, hosts))
    return true
  }

  /** An owner says something else of a checkpoint than was said before: it is no place to go on from, and nobody knows whose lie it was. */
  async contradicted({ vnode, step }: Commit): Promise<void> {
    await this.#options.back(`two have said different things of ${vnode} after step ${step}`, (head) =>
      rolledBack(head, (each) => each.step < step),
    )
  }

  /** A VNode, or a follower, has answered all evaluation batches after a step: it is told once so many agree. */
  async evaluated(result: Evaluated): Promise<void> {
    const { evaluations, monitor } = this.#options
    const { step } = result
    evaluations.add(result)
    if (!evaluations.has(step)) await this.reviews.evaluated(result)
    const row = this.reviews.agreesOn(step) ? await evaluations.complete(step) : undefined
    if (!row) return
    monitor.emit({ type: 'evaluated', ...row })
    // A checkpoint may have waited for it.
    if (this.reviews.isOn) await this.reviews.look()
  }

  /** A VNode, or a follower, gets another owner. @param from who had it before, if anybody */
  moved(id: string, from: string | undefined): void {
    if (this.reviews.isOn) this.#options.evaluations.forget(id)
    this.reviews.moved(id, from)
    this.audits.moved(id, from)
  }

  /** They are in quarantine first, then out of the run, which goes back before all that they have done and nobody has verified; the same told again counts once. */
  async #convict(found: Found, reason: string): Promise<void> {
    const { store, writer, moves, monitor, back } = this.#options
    const { run } = writer.head
    const { convicted, vnode, step, by } = found
    const evidence = await keepEvidence(store, writer.head, found)
    const hosts = [...new Set(convicted.map(({ host }) => host))]
    const events = hosts.map((pnode): TrustEvent => ({ pnode, event: 'convicted', vnode, step, evidence }))
    await this.#trust.convicted({ key: evidence, run, events })
    moves().standstill.forgive()
    await writer.update((head) => excluding(head, hosts))
    await back(reason, (head) => rolledBackBeforeUnverified(head, hosts))
    for (const { host, for: what } of convicted) monitor.emit({ type: 'convicted', pnode: host, vnode, step, for: what, by, evidence })
  }

  /** Each of them has done what it was to do, of the steps behind `from` up to `to`. @param what another one for each that is told of these steps */
  #verified(said: readonly Pick<Opinion, 'id' | 'vnode' | 'pnode'>[], from: number, to: number, what = 'all'): void {
    const { definition, writer } = this.#options
    const { run, generation } = writer.head
    const samples = samplesOf(definition, from + 1, to)
    const costs = new Map(definition.network.vnodes.map(({ id, cost }) => [id, cost]))
    const events = said.map(({ id, vnode, pnode }): TrustEvent => {
      const cost = costs.get(vnode)
      // Batches are made without a multiplication: they are worth trust and no points.
      if (cost === undefined) return { pnode, event: 'verified', vnode: id, step: to }
      const work = { generation, firstStep: from + 1, multiplyAdds: multiplyAddsOf({ cost, samples }) }
      return { pnode, event: 'verified', vnode: id, step: to, work }
    })
    this.#trust.verified({ key: `runs/${run}/verified/${generation}-${to} ${what}`, run, events })
  }

  /** All segments of those on probation. Whom nobody can ask about is one of them. */
  async #shares(pnodes: readonly string[], share: number): Promise<readonly number[]> {
    const { context } = this.#options
    const asked = [...new Set(pnodes)]
    const standings = await call<'Quarantine', 'standings'>(
      context,
      actor.quarantine,
      'standings',
      { pnodes: asked },
      context.signal,
    ).catch((): readonly HostStanding[] => [])
    const { auditShare: usual } = DEFAULT_REPUTATION_RULES
    const shareOf = new Map(
      standings.map(({ pnode, auditShare, isOnProbation }) => [pnode, isOnProbation ? 1 : (share * auditShare) / usual]),
    )
    return pnodes.map((pnode) => Math.min(1, shareOf.get(pnode) ?? 1))
  }
}

/** What audits are drawn with: nobody but control knows it, and it says nothing of the key. 32 bytes in hex. */
function auditKeyOf({ privateKey }: ControlKey): string {
  return createHash('sha256')
    .update('swarmgrad audit key\n')
    .update(privateKey.export({ type: 'pkcs8', format: 'der' }))
    .digest('hex')
}
