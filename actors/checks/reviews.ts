/**
 * Checkpoints of a run that is applied more than once (`redundancy`): each counts only when so many PNodes agree on all of it. Where they do not, others are asked
 * until it is known who is wrong; who is wrong has no part in the run any more, which goes back to the newest checkpoint: that one was agreed upon.
 */
import type { ActorContext } from '../../runtime/actor-system/actor-system.js'
import { canonicalJson } from '../../runtime/canonical-json.js'
import { followed, followersIn, followersOf, vnodeOf } from '../../runtime/followers.js'
import type { Head } from '../../runtime/head.js'
import type { ObjectStore } from '../../runtime/object-store/object-store.js'
import { isTransient, type Membership } from '../calls.js'
import { membersAsTrusted } from '../trust/members.js'
import type { Claim, Commit, Evaluated, Failure } from '../reports.js'
import { type Dispute, nextAction, openDispute } from '../trust/dispute.js'
import type { Trust } from '../trust/trust.js'
import { notStored } from '../run/checkpoints.js'
import { type Doubt, Doubts } from './doubts.js'
import { EvaluationWords } from './evaluation-words.js'
import type { Found } from './evidence.js'
import type { Belief } from '../run/failures.js'
import { Feeding, type Misfed } from './feeding.js'
import { type Finding, type Opinion, Review, valueOf } from './review.js'
import type { RunDefinition } from '../run/run-definition.js'

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
  /** They have done what they were to do, up to this step. */
  readonly verified: (said: readonly Opinion[], step: number) => void
  /** The run goes back to the newest checkpoint. */
  readonly goBack: (reason: string) => Promise<void>
  /** Somebody was found to be wrong: the run goes back without them. */
  readonly convict: (found: Found, reason: string) => Promise<void>
  /** A step has failed, and not for what somebody else has sent. */
  readonly believe: (failure: Failure, how: Belief) => Promise<void>
  /** Followers begin anew; elsewhere, if it is their own fault. */
  readonly dismiss: (ids: readonly string[], areToBlame?: boolean) => Promise<void>
  /** A PNode gets nothing for a while, if there is somebody else. */
  readonly shun: (pnode: string) => void
  /** Its PNode has to leave a VNode to somebody else. */
  readonly leave: (vnode: string, reason: string) => Promise<void>
  /** The first step since the newest checkpoint, and before this one, after which an evaluation is missing. */
  readonly unevaluated: (before: number) => number | undefined
  /** The VNode waits for a PNode that is not there. */
  readonly waits: (vnodes: readonly string[], reason: string) => void
  /** How long a cut waits for the word of followers, in ms; Infinity: for ever. */
  readonly patienceMs: number
}

/** Handler of the Run actor, and its timer, for `Reviews.look`. */
export const REVIEW = 'review'
/** How often an open dispute is looked at, in ms: who was asked may be lost. */
const LOOK_MS = 500
/** Who lets others wait again and again is waited for longer each time, so often. */
const MOST_DOUBLINGS = 6

export class Reviews {
  readonly #options: ReviewsOptions
  #redundancy = 1
  #isCompared = false
  #review: Review
  /** Cuts that all VNodes have committed, by step. */
  readonly #complete = new Map<number, readonly Commit[]>()
  readonly #doubts: Doubts
  #evaluations: EvaluationWords
  readonly #feeding = new Feeding()
  /** Since when the oldest cut that all have committed waits for followers, and how often it was too long since something was agreed. */
  #waiting: { readonly sinceMs: number | undefined; readonly times: number } = { sinceMs: undefined, times: 0 }

  /** How often PNodes were asked in vain: they said nothing, could not begin, or nobody was the wiser for it. Others are asked first. */
  readonly #inVain = new Map<string, number>()

  constructor(options: ReviewsOptions) {
    this.#options = options
    const { context, definition, head, trust, patienceMs } = options
    const { network } = definition
    this.#review = this.#newReview(1)
    this.#evaluations = new EvaluationWords(network, 1)
    this.#doubts = new Doubts({ context, network, head, isStillTrusted: (pnode) => !trust || trust.isTrusted(pnode), patienceMs })
  }

  /** As the settings say. @param isCompared whether what VNodes have read is compared with what was put out, where one PNode alone applies each */
  begin(redundancy: number, isCompared: boolean): void {
    this.#redundancy = redundancy
    this.#isCompared = isCompared || redundancy > 1
    this.#review = this.#newReview(redundancy)
    this.#evaluations = new EvaluationWords(this.#options.definition.network, redundancy)
  }

  /** Who was trusted when he said something, and is not any more, is one of many. */
  #newReview(redundancy: number): Review {
    const { definition, trust } = this.#options
    return new Review(definition.network, redundancy, { isStillTrusted: (pnode) => !trust || trust.isTrusted(pnode) })
  }

  /** Everything begins anew. */
  clear(): void {
    this.#doubts.clear()
    this.#review.clear()
    this.#evaluations.clear()
    this.#complete.clear()
    this.#feeding.begin()
    this.#waiting = { ...this.#waiting, sinceMs: undefined }
  }

  /** PNodes that get nothing more of the run, as it looks now: they contradict others. */
  get suspects(): readonly string[] {
    return this.#feeding.suspects
  }

  /** A PNode says that it has not sent what these have read. */
  contradict(says: string, others: readonly string[]): void {
    for (const other of others) this.#feeding.contradict(says, other)
  }

  /** Step of the newest cut that anybody has said something about; 0: there is none. */
  get newestStep(): number {
    return this.#review.steps.at(-1) ?? 0
  }

  get isOn(): boolean {
    return this.#redundancy > 1
  }

  /** A state is in the store. @param complete all states of its cut, if it was the last one */
  async committed(commit: Commit, complete: readonly Commit[] | undefined): Promise<void> {
    if (!this.#isCompared) return complete && this.#options.complete(complete)
    if (complete) this.#complete.set(commit.step, complete)
    await this.#heard(commit)
  }

  /** A follower says what it makes of the log. */
  async claimed(claim: Claim): Promise<void> {
    // An owner commits; it claims nothing besides.
    if (this.isOn && followed(claim.vnode) !== undefined) await this.#heard(claim)
  }

  /** Somebody says what a head has answered. */
  async evaluated({ vnode: id, step, position, roots, sums }: Evaluated): Promise<void> {
    if (!this.isOn || position === undefined || !roots) return
    const { pnode, isTrusted } = this.#options.head().directory[id]
    this.#evaluations.add(step, {
      vnode: vnodeOf(id),
      id,
      pnode,
      position,
      hash: canonicalJson(sums),
      roots,
      ...(isTrusted && { isTrusted }),
    })
    await this.look()
  }

  /** Whether what heads have answered after a step counts. */
  agreesOn(step: number): boolean {
    return !this.isOn || this.#evaluations.agreesOn(step)
  }

  /** A VNode or a follower has stopped at a step. @param isOdd nobody can have failed there */
  async failed(failure: Failure, isOdd: boolean): Promise<void> {
    this.#doubts.heard(failure, isOdd)
    if (followed(failure.vnode) !== undefined) this.#askedInVain(this.#options.head().directory[failure.vnode].pnode)
    await this.look()
  }

  /** Whether two PNodes have failed at the same place of the log of what this one follows. */
  isMetByTwo(follower: string): boolean {
    return this.isOn && this.#doubts.isMetByTwo(vnodeOf(follower))
  }

  /** A VNode gets another owner. @param from who had it before, if anybody */
  moved(vnode: string, from: string | undefined): void {
    this.#feeding.moved(vnode, from)
    this.#review.forget(vnode)
    this.#evaluations.forget(vnode)
    this.#waiting = { ...this.#waiting, sinceMs: undefined }
    this.#doubts.moved(vnode)
    for (const [step, commits] of this.#complete) if (commits.some((commit) => commit.vnode === vnode)) this.#complete.delete(step)
  }

  /** The cut is the newest checkpoint. */
  close(step: number): void {
    this.#review.close(step)
    this.#evaluations.close(step)
    for (const open of this.#complete.keys()) if (open <= step) this.#complete.delete(open)
  }

  /** What can be settled is. */
  async look(): Promise<void> {
    const { context, unevaluated, trust } = this.#options
    try {
      await trust?.refresh()
    } catch (error) {
      if (!isTransient(error)) throw error
      return context.setTimer(REVIEW, REVIEW, { afterMs: LOOK_MS })
    }
    for (const step of this.#review.steps) {
      const finding = this.#review.finding(step)
      if (finding.type === 'dispute') return this.#settle(step, finding)
      if (finding.type === 'misfed') return this.#feedAnew(step, this.#review, finding)
    }
    for (const difference of this.#evaluations.differences) this.#doubts.differ(difference)
    const isAgreed = (step: number) => this.#complete.has(step) && this.#review.finding(step).type === 'agreed'
    // Whoever is to evaluate again begins at the newest checkpoint.
    const agreed = this.#review.steps.findLast((step) => isAgreed(step) && (!this.isOn || unevaluated(step) === undefined))
    if (agreed !== undefined) {
      this.#waiting = { sinceMs: undefined, times: 0 }
      if (this.isOn) this.#options.verified(this.#review.said(agreed), agreed)
      return this.#agreed(this.#complete.get(agreed)!)
    }
    if (this.#doubts.open.length === 0) return this.#waitFor(this.#silentFollowers())
    this.#options.context.setTimer(REVIEW, REVIEW, { afterMs: LOOK_MS })
    for (const doubt of this.#doubts.open) if (await this.#consider(doubt)) return
  }

  /** Nobody can go on from what is not there, whatever was said of it. */
  async #agreed(commits: readonly Commit[]): Promise<void> {
    const { context, head, store, complete, shun, leave } = this.#options
    const { run, generation, directory } = head()
    const [missing] = await notStored(store, run, generation, commits)
    if (!missing) return complete(commits)
    const { vnode, step } = missing
    context.setTimer(REVIEW, REVIEW, { afterMs: LOOK_MS })
    shun(directory[vnode].pnode)
    await leave(vnode, `the state of ${vnode} after step ${step} is not in the store, or not all of it`)
  }

  /** Who says nothing about a cut that everybody else is done with, or was asked about a dispute, is replaced. @param silent followers */
  async #waitFor(silent: readonly string[]): Promise<void> {
    const { context, head, dismiss, patienceMs } = this.#options
    if (patienceMs === Infinity) return
    // Who is to have his say may not have a place yet, and may say nothing when he has.
    if (silent.length === 0) return this.isOn && this.#complete.size > 0 ? this.lookAgain(patienceMs) : undefined
    const { sinceMs = context.clock.now(), times } = this.#waiting
    this.#waiting = { sinceMs, times }
    const leftMs = sinceMs + patienceMs * (1 << Math.min(times, MOST_DOUBLINGS)) - context.clock.now()
    if (leftMs > 0) return this.lookAgain(leftMs)
    this.#waiting = { sinceMs: undefined, times: times + 1 }
    for (const id of silent) this.#askedInVain(head().directory[id].pnode)
    // Nobody tells us that those in their places say nothing, either.
    this.lookAgain()
    await dismiss(silent, true)
  }

  lookAgain(afterMs = LOOK_MS): void {
    this.#options.context.setTimer(REVIEW, REVIEW, { afterMs })
  }

  #askedInVain(pnode: string): void {
    this.#inVain.set(pnode, (this.#inVain.get(pnode) ?? 0) + 1)
  }

  #silentFollowers(): string[] {
    const { head, definition, unevaluated } = this.#options
    if (!this.isOn) return []
    const { directory } = head()
    const step = this.#review.steps.find((each) => this.#complete.has(each))
    const evaluation = unevaluated(Math.max(step ?? 0, this.#evaluations.newestStep + 1))
    const heads = definition.network.vnodes.flatMap(({ id, hasHead }) => (hasHead ? [id] : []))
    const followers = followersIn(head()).filter((id) => !directory[id].audits)
    return followers.filter((id) => {
      const who = { id, pnode: directory[id].pnode }
      const isLate = step !== undefined && !this.#review.has(step, who)
      const owner = { id: vnodeOf(id), pnode: directory[vnodeOf(id)].pnode }
      const isAsked = evaluation !== undefined && heads.includes(owner.id) && this.#evaluations.has(evaluation, owner)
      return isLate || (isAsked && !this.#evaluations.has(evaluation, who))
    })
  }

  /** What it has read may be a lie: of what is before it everybody says how far they agree. @returns whether anything follows */
  async #consider(doubt: Doubt): Promise<boolean> {
    const { head, believe, shun, leave } = this.#options
    const { failure, step, review, isOdd } = doubt
    const judgement = await this.#doubts.consider(doubt)
    if (judgement.type === 'dispute') await this.#settle(step, judgement)
    else if (judgement.type === 'misfed') await this.#feedAnew(step, review, judgement)
    else if (judgement.type === 'believed' && failure) await believe(failure, { isConfirmed: judgement.isConfirmed, isOdd })
    else if (judgement.type === 'silent') {
      shun(head().directory[judgement.vnode].pnode)
      await leave(judgement.vnode, `${judgement.vnode} does not say what others have read of it`)
    }
    return judgement.type !== 'open'
  }

  async #heard({ vnode: id, step, position, hash, roots }: Claim): Promise<void> {
    if (!roots) return
    const { pnode, isTrusted } = this.#options.head().directory[id]
    this.#review.add(step, { vnode: vnodeOf(id), id, pnode, position, hash, roots, ...(isTrusted && { isTrusted }) })
    await this.look()
  }

  async #settle(step: number, { vnode, opinions }: Finding & { readonly type: 'dispute' }): Promise<void> {
    const { context, head, askAnother, goBack, trust, waits } = this.#options
    const members = await membersAsTrusted(context, trust)
    const action = nextAction(disputeOf(opinions, members, step), () => false)
    if (action.type === 'settled') {
      const { by, wrongWith } = action
      const hosts = action.convicted.map(({ host }) => host)
      // Of one owner are one voice: who is not heard beside another is no follower.
      const others = opinions.filter((opinion) => opinion.id !== vnode && valueOf(opinion) !== action.right.root)
      if (hosts.length === 0 && others.length > 0) return this.#beginAnew(others, true)
      const found = { step, vnode, opinions, convicted: action.convicted, by, wrongWith }
      const reason = `${hosts.join(', ')} gave something else for ${vnode} than its log does`
      return hosts.length > 0 ? this.#convict(found, reason) : goBack(reason)
    }
    if (action.type === 'undecided') {
      // The same panel would come to the same end.
      for (const { pnode } of opinions) this.#askedInVain(pnode)
      return goBack(`nobody knows what is right for ${vnode}: ${action.why}`)
    }
    context.setTimer(REVIEW, REVIEW, { afterMs: LOOK_MS })
    // Somebody is at it already.
    const { directory } = head()
    const isAtIt = (id: string) => !directory[id].audits && opinions.every((opinion) => opinion.id !== id)
    if (action.type === 'wait') return
    const atIt = followersOf(head(), vnode).filter(isAtIt)
    if (atIt.length > 0) {
      await this.#waitFor(atIt)
      return this.lookAgain()
    }
    // Of an arbiter it is not the number of voices that counts.
    const isFree = ({ pnode, owner = pnode, isTrusted }: Membership) =>
      !action.excluded.hosts.includes(pnode) &&
      (action.type === 'ask arbiter' ? isTrusted === true : !action.excluded.owners.includes(owner))
    const ready = members.filter((member) => isFree(member) && member.state === 'ready')
    const timesInVain = ({ pnode }: Membership) => this.#inVain.get(pnode) ?? 0
    const free = ready.toSorted((a, b) => timesInVain(a) - timesInVain(b))
    const reason = `settles a dispute about step ${step}`
    for (const { pnode } of free) if (await askAnother(vnode, pnode, reason)) return
    if (free.length === 0) waits([vnode], `whoever is there has had a say in a dispute about ${vnode} after step ${step}`)
  }

  /** It goes back to where it was agreed upon what it had read. Who lies is not known, unless one of the two is trusted. */
  async #feedAnew(step: number, review: Review, finding: Misfed): Promise<void> {
    const { head, goBack, shun } = this.#options
    const { opinion, producer } = finding
    const { convicted, left, isBeginningEnough } = this.#feeding.judge(finding, head())
    const reason = `${opinion.vnode} has read what ${producer} has not put out`
    for (const pnode of left) shun(pnode)
    if (convicted.length > 0) {
      const isOwner = opinion.id === opinion.vnode
      const crimes = convicted.map((host) => ({
        host,
        for: !isOwner && host === opinion.pnode ? ('slander' as const) : ('claim' as const),
      }))
      const opinions = [opinion, ...review.about(step, producer)]
      const by = opinions.some(({ isTrusted }) => isTrusted) ? 'arbiter' : 'agreement'
      return this.#convict({ step, vnode: opinion.vnode, opinions, convicted: crimes, by, wrongWith: 0 }, reason)
    }
    if (!isBeginningEnough) return goBack(reason)
    await this.#beginAnew([opinion])
  }

  /** Followers whose words do not count. */
  async #beginAnew(opinions: readonly Opinion[], areToBlame = false): Promise<void> {
    for (const words of [this.#review, this.#doubts, this.#evaluations]) for (const opinion of opinions) words.discard(opinion)
    await this.#options.dismiss(
      opinions.map(({ id }) => id),
      areToBlame,
    )
  }

  /** What is known is known after a crash, too: the same dispute is found again, and the same evidence convicts once. */
  async #convict(found: Found, reason: string): Promise<void> {
    this.#options.context.setTimer(REVIEW, REVIEW, { afterMs: LOOK_MS })
    await this.#options.convict(found, reason)
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
    // One that is lost is waited for: without it those who lie together may be a majority.
    hasArbiter: members.some((member) => member.isTrusted),
    population: { hosts, liars: Math.floor((hosts - 1) / 2) },
    owners: claimOf(own),
    others: others.filter((opinion) => !isTrusted(opinion)).map(claimOf),
  })
  const arbiter = opinions.find(isTrusted)
  if (!arbiter) return dispute
  return { ...dispute, verdict: claimOf(arbiter) }
}
