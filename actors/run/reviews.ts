/**
 * Checkpoints of a run that is applied more than once (`redundancy`): each counts only when so many PNodes agree on all of it. Where they do not, others are asked
 * until it is known who is wrong; who is wrong has no part in the run any more, which goes back to the newest checkpoint: that one was agreed upon.
 */
import type { ActorContext } from '../../runtime/actor-system/actor-system.js'
import { canonicalJson } from '../../runtime/canonical-json.js'
import { followed, followersIn, followersOf, vnodeOf } from '../../runtime/followers.js'
import type { Head } from '../../runtime/head.js'
import type { ObjectStore } from '../../runtime/object-store/object-store.js'
import { actor, call, isTransient, type Membership } from '../calls.js'
import { listMembers } from '../placement/parts.js'
import type { RunEventBody } from '../events.js'
import type { Claim, Commit, Failure } from '../reports.js'
import { type Conviction, type Dispute, nextAction, openDispute } from '../trust/dispute.js'
import type { Trust } from '../trust/trust.js'
import { type Finding, type Opinion, Review, valueOf } from './review.js'
import { rootsAnswer } from '../who-may.js'
import type { NetworkDefinition } from '../../components/definition.js'
import { lineageOf, type RunDefinition } from './run-definition.js'

export interface ReviewsOptions {
  readonly context: ActorContext
  readonly store: ObjectStore
  /** Whose word settles disputes. Absent: of those who had it when they were given something. */
  readonly trust?: Trust
  readonly definition: RunDefinition
  readonly head: () => Head
  /** A cut is complete, and everybody agrees. */
  readonly complete: (commits: readonly Commit[]) => Promise<void>
  /** This PNode is to apply the VNode's log, too. False: it cannot. */
  readonly askAnother: (vnode: string, pnode: string, reason: string) => Promise<boolean>
  readonly tell: (event: RunEventBody) => void
  /** The run goes back to the newest checkpoint, without these PNodes. */
  readonly goBack: (reason: string, convicted: readonly string[]) => Promise<void>
  /** A step has failed, and not for what somebody else has sent. @param isConfirmed two PNodes say so */
  readonly believe: (failure: Failure, isConfirmed: boolean) => Promise<void>
  /** Followers begin anew; elsewhere, if it is their own fault. */
  readonly dismiss: (ids: readonly string[], areToBlame?: boolean) => Promise<void>
  /** How long a cut waits for the word of followers, in ms; Infinity: for ever. */
  readonly patienceMs: number
}

/** What somebody says of a step at which it failed: it is believed when all before it is agreed upon, and somebody else has failed there, too. */
interface Doubt {
  readonly failure: Failure
  readonly pnode: string
  /** On what the VNode has read from, up to that position. */
  readonly review: Review
}

/** Handler of the Run actor, and its timer, for `Reviews.look`. */
export const REVIEW = 'review'
/** How often an open dispute is looked at, in ms: who was asked may be lost. */
const LOOK_MS = 500
/** Who lets others wait again and again is waited for longer each time, so often. */
const MOST_DOUBLINGS = 6
const EVIDENCE_VERSION = 1

export const evidencePrefix = (run: string): string => `runs/${run}/evidence/`

/** Why somebody was convicted, for good: `runs/<run>/evidence/<generation>-<step>-<vnode>`. */
export interface Evidence {
  readonly v: typeof EVIDENCE_VERSION
  readonly run: string
  readonly generation: number
  readonly step: number
  readonly vnode: string
  readonly opinions: readonly Opinion[]
  readonly convicted: readonly Conviction[]
  /** Who said so. */
  readonly by: 'agreement' | 'arbiter' | 'panel'
  /** Of a panel: the probability that one of its size has a lying majority, if a majority of all hosts does not lie. Else 0. */
  readonly wrongWith: number
}

export class Reviews {
  readonly #options: ReviewsOptions
  #redundancy = 1
  #review: Review
  /** Cuts that all VNodes have committed, by step. */
  readonly #complete = new Map<number, readonly Commit[]>()
  #doubt: Doubt | undefined
  /** Since when the oldest cut that all have committed waits for followers, and how often it was too long since something was agreed. */
  #waiting: { readonly sinceMs: number | undefined; readonly times: number } = { sinceMs: undefined, times: 0 }
  /** The newest failure of each VNode, and where it was met. */
  readonly #failed = new Map<string, { readonly what: string; readonly pnodes: Set<string> }>()

  constructor(options: ReviewsOptions) {
    this.#options = options
    this.#review = this.#newReview(options.definition.network, 1)
  }

  /** As the settings say. */
  begin(redundancy: number): void {
    this.#redundancy = redundancy
    this.#review = this.#newReview(this.#options.definition.network, redundancy)
  }

  /** Who was trusted when he said something, and is not any more, is one of many. */
  #newReview(network: Pick<NetworkDefinition, 'vnodes'>, redundancy: number): Review {
    const { trust } = this.#options
    return new Review(network, redundancy, (pnode) => !trust || trust.isTrusted(pnode))
  }

  /** Everything begins anew. */
  clear(): void {
    this.#doubt = undefined
    this.#review.clear()
    this.#complete.clear()
  }

  get isOn(): boolean {
    return this.#redundancy > 1
  }

  /** A state is in the store. @param complete all states of its cut, if it was the last one */
  async committed(commit: Commit, complete: readonly Commit[] | undefined): Promise<void> {
    if (!this.isOn) return complete && this.#options.complete(complete)
    if (complete) this.#complete.set(commit.step, complete)
    await this.#heard(commit)
  }

  /** A follower says what it makes of the log. */
  async claimed(claim: Claim): Promise<void> {
    // An owner commits; it claims nothing besides.
    if (this.isOn && followed(claim.vnode) !== undefined) await this.#heard(claim)
  }

  /** A VNode or a follower has stopped at a step. Of a follower it is no more than what confirms what its VNode says. */
  async failed(failure: Failure): Promise<void> {
    const { head, definition } = this.#options
    const vnode = vnodeOf(failure.vnode)
    const { pnode } = head().directory[failure.vnode]
    const what = `${failure.error.code} at ${failure.entry?.position ?? 'the start'}`
    const before = this.#failed.get(vnode)
    this.#failed.set(vnode, { what, pnodes: new Set([...(before?.what === what ? before.pnodes : []), pnode]) })
    if (failure.vnode !== vnode) return
    const lineage = lineageOf(definition.network, vnode)
    const ancestors = definition.network.vnodes.filter(({ id }) => id !== vnode && lineage.includes(id))
    this.#doubt = { failure, pnode, review: this.#newReview({ vnodes: ancestors }, 2) }
    await this.look()
  }

  /** A VNode gets another owner. */
  moved(vnode: string): void {
    this.#review.forget(vnode)
    this.#waiting = { ...this.#waiting, sinceMs: undefined }
    if (this.#doubt?.failure.vnode === vnode) this.#doubt = undefined
    this.#doubt?.review.forget(vnode)
    for (const [step, commits] of this.#complete) if (commits.some((commit) => commit.vnode === vnode)) this.#complete.delete(step)
  }

  /** The cut is the newest checkpoint. */
  close(step: number): void {
    this.#review.close(step)
    for (const open of this.#complete.keys()) if (open <= step) this.#complete.delete(open)
  }

  /** What can be settled is. */
  async look(): Promise<void> {
    const { context, complete, trust } = this.#options
    try {
      await trust?.refresh()
    } catch (error) {
      if (!isTransient(error)) throw error
      return context.setTimer(REVIEW, REVIEW, { afterMs: LOOK_MS })
    }
    for (const step of this.#review.steps) {
      const finding = this.#review.finding(step)
      if (finding.type === 'dispute') return this.#settle(step, finding)
      if (finding.type === 'misfed') return this.#feedAnew(finding)
    }
    const agreed = this.#review.steps.findLast((step) => this.#complete.has(step) && this.#review.finding(step).type === 'agreed')
    if (agreed !== undefined) {
      this.#waiting = { sinceMs: undefined, times: 0 }
      return complete(this.#complete.get(agreed)!)
    }
    if (this.#doubt) return this.#consider(this.#doubt)
    await this.#waitForFollowers()
  }

  /** Who says nothing about a cut that everybody else is done with is replaced. */
  async #waitForFollowers(): Promise<void> {
    const { context, head, dismiss, patienceMs } = this.#options
    const { directory } = head()
    const step = this.#review.steps.find((each) => this.#complete.has(each))
    const silent = step === undefined ? [] : followersIn(head()).filter((id) => !this.#review.has(step, { id, ...directory[id] }))
    if (silent.length === 0 || patienceMs === Infinity) return
    const { sinceMs = context.clock.now(), times } = this.#waiting
    this.#waiting = { sinceMs, times }
    const leftMs = sinceMs + patienceMs * (1 << Math.min(times, MOST_DOUBLINGS)) - context.clock.now()
    if (leftMs > 0) return context.setTimer(REVIEW, REVIEW, { afterMs: leftMs })
    this.#waiting = { sinceMs: undefined, times: times + 1 }
    await dismiss(silent, true)
  }

  /** What it has read may be a lie: of what is before it everybody says how far they agree. */
  async #consider(doubt: Doubt): Promise<void> {
    const { context, believe } = this.#options
    const { failure, review } = doubt
    const { position, step } = failure.entry ?? { position: 0, step: 0 }
    for (const opinion of await this.#opinionsAt(position, lineageOf(this.#options.definition.network, failure.vnode)))
      review.add(step, opinion)
    if (this.#doubt !== doubt) return
    const finding: Finding = position === 0 ? { type: 'agreed' } : review.finding(step)
    if (finding.type === 'dispute') return this.#settle(step, finding)
    if (finding.type === 'misfed') return this.#feedAnew(finding)
    if (finding.type === 'open') return context.setTimer(REVIEW, REVIEW, { afterMs: LOOK_MS })
    this.#doubt = undefined
    await believe(failure, this.#failed.get(failure.vnode)!.pnodes.size > 1)
  }

  /** What VNodes and their followers have read and put out up to a position, of those who are there. */
  async #opinionsAt(position: number, vnodes: readonly string[]): Promise<Opinion[]> {
    const { context, head } = this.#options
    const { run, directory } = head()
    const asked = Object.entries(directory).filter(([id]) => vnodes.includes(vnodeOf(id)))
    const pnodes = [...new Set(asked.map(([, { pnode }]) => pnode))]
    const answers = pnodes.map(async (pnode): Promise<Opinion[]> => {
      const here = asked.filter(([, place]) => place.pnode === pnode)
      const request = { run, position, vnodes: here.map(([id, { term }]) => [id, term] as const) }
      // Whoever does not answer, or not what was asked, has said nothing.
      const answer = await call<'PNode', 'roots'>(context, actor.pnode(pnode), 'roots', request, context.signal).catch(() => [])
      const { data: roots = [] } = rootsAnswer.safeParse(answer)
      return here.flatMap(([id, { isTrusted }], i) =>
        roots[i] ? [{ vnode: vnodeOf(id), id, pnode, position, hash: '', roots: roots[i], ...(isTrusted && { isTrusted }) }] : [],
      )
    })
    return (await Promise.all(answers)).flat()
  }

  async #heard({ vnode: id, step, position, hash, roots }: Claim): Promise<void> {
    if (!roots) return
    const { pnode, isTrusted } = this.#options.head().directory[id]
    this.#review.add(step, { vnode: vnodeOf(id), id, pnode, position, hash, roots, ...(isTrusted && { isTrusted }) })
    await this.look()
  }

  async #settle(step: number, { vnode, opinions }: Finding & { readonly type: 'dispute' }): Promise<void> {
    const { context, head, askAnother, goBack, tell, trust } = this.#options
    const all = await listMembers(context)
    const now = ({ pnode }: Membership) => ({ isTrusted: trust!.isTrusted(pnode) ? (true as const) : undefined })
    const members = trust ? all.map((member) => ({ ...member, ...now(member) })) : all
    const action = nextAction(disputeOf(opinions, members, step), () => false)
    if (action.type === 'settled') {
      const { by, wrongWith } = action
      const hosts = action.convicted.map(({ host }) => host)
      // Of one owner are one voice: who is not heard beside another is no follower.
      const others = opinions.filter((opinion) => opinion.id !== vnode && valueOf(opinion) !== action.right.root).map(({ id }) => id)
      if (hosts.length === 0 && others.length > 0) return this.#options.dismiss(others, true)
      const evidence = await this.#keepEvidence({ step, vnode, opinions, convicted: action.convicted, by, wrongWith })
      await goBack(`${hosts.join(', ')} gave something else for ${vnode} than its log does`, hosts)
      for (const { host, for: what } of action.convicted) tell({ type: 'convicted', pnode: host, vnode, step, for: what, by, evidence })
      return
    }
    if (action.type === 'undecided') return goBack(`nobody knows what is right for ${vnode}: ${action.why}`, [])
    context.setTimer(REVIEW, REVIEW, { afterMs: LOOK_MS })
    // Somebody is at it already.
    if (action.type === 'wait' || followersOf(head(), vnode).some((id) => opinions.every((opinion) => opinion.id !== id))) return
    // Of an arbiter it is not the number of voices that counts.
    const isFree = ({ pnode, owner = pnode, isTrusted }: Membership) =>
      !action.excluded.hosts.includes(pnode) &&
      (action.type === 'ask arbiter' ? isTrusted === true : !action.excluded.owners.includes(owner))
    const free = members.filter((member) => isFree(member) && member.state === 'ready')
    const reason = `settles a dispute about step ${step}`
    for (const { pnode } of free) if (await askAnother(vnode, pnode, reason)) return
  }

  /** It goes back to where it was agreed upon what it had read; nobody knows who of the two it was. */
  async #feedAnew({ opinion, producer }: Finding & { readonly type: 'misfed' }): Promise<void> {
    const { goBack, dismiss } = this.#options
    if (opinion.id === opinion.vnode) return goBack(`${opinion.vnode} has read what ${producer} has not put out`, [])
    this.#review.discard(opinion)
    await dismiss([opinion.id])
  }

  /** @returns its key */
  async #keepEvidence(found: Omit<Evidence, 'v' | 'run' | 'generation'>): Promise<string> {
    const { run, generation } = this.#options.head()
    const evidence: Evidence = { v: EVIDENCE_VERSION, run, generation, ...found }
    const key = `${evidencePrefix(run)}${generation}-${found.step}-${found.vnode}`
    await this.#options.store.put(key, new TextEncoder().encode(canonicalJson(evidence)))
    return key
  }
}

/** What is known so far, the owner's word first: all of them have read the same. As many may lie as leave the others a majority. */
function disputeOf(opinions: readonly Opinion[], members: readonly Membership[], step: number): Dispute {
  const known = new Map(members.map((member) => [member.pnode, member]))
  const claimOf = (opinion: Opinion) => {
    const { owner = opinion.pnode, computeClass = '' } = known.get(opinion.pnode) ?? {}
    return { host: opinion.pnode, owner, computeClass, inputs: '', root: valueOf(opinion) }
  }
  const isTrusted = ({ pnode }: Opinion) => known.get(pnode)?.isTrusted === true
  const [own, ...others] = opinions.toSorted((a, b) => (a.id < b.id ? -1 : 1))
  const hosts = Math.max(opinions.length, members.filter(({ state }) => state === 'ready').length)
  const dispute = openDispute({
    segment: { vnode: own.vnode, from: 0, to: step },
    hasArbiter: members.some((member) => member.isTrusted && member.state !== 'lost'),
    population: { hosts, liars: Math.floor((hosts - 1) / 2) },
    owners: claimOf(own),
    others: others.filter((opinion) => !isTrusted(opinion)).map(claimOf),
  })
  const arbiter = opinions.find(isTrusted)
  if (!arbiter) return dispute
  return { ...dispute, verdict: claimOf(arbiter) }
}
