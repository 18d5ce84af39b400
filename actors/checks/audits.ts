/**
 * Audits (PROTOCOL.md rules 25 to 27): of the segments that a checkpoint ends with, some are drawn after their PNodes have said what they give, and applied by somebody else.
 * Until he agrees, everybody keeps what that needs. Who is wrong has no part in the run any more, which goes back before all that he has done and nobody has verified.
 */
import { SOURCE } from '../../components/definition.js'
import type { ActorContext } from '../../runtime/actor-system/actor-system.js'
import { auditSecret } from '../../runtime/commitment.js'
import { audited, auditing, baseOf, type Head, type Manifest, type OpenAudit, type SegmentRef } from '../../runtime/head.js'
import type { ObjectStore } from '../../runtime/object-store/object-store.js'
import type { Membership } from '../calls.js'
import type { RunEventBody } from '../events.js'
import type { Claim, Commit } from '../reports.js'
import { afterDisputeEvent, type Dispute, type DisputeAction, nextAction } from '../trust/dispute.js'
import { membersAsTrusted } from '../trust/members.js'
import type { Trust } from '../trust/trust.js'
import { happens, inDrawnOrder, isDrawn } from '../trust/draw.js'
import { AuditPace } from './audit-pace.js'
import { Contradictions } from './contradictions.js'
import type { Found } from './evidence.js'
import type { KeptManifests } from './kept-manifests.js'
import type { Opinion } from './review.js'
import type { SourceAudits } from './source-audits.js'
import { claimOf, disputeOver, excludedFrom, feederOf, keyOf, type Looked, type Outcome } from './audit-dispute.js'

export interface AuditsOptions {
  readonly context: ActorContext
  readonly store: ObjectStore
  /** Absent: as placement says. */
  readonly trust?: Trust
  readonly manifests: KeptManifests
  readonly source: SourceAudits
  /** In graph order. */
  readonly vnodes: readonly string[]
  readonly head: () => Head
  /** 32 bytes in hex: whoever does not know it cannot know what will be audited. */
  readonly auditKey: string
  /** The share of the segments of each PNode that is audited, above 0, at most 1. @param share of those that nothing is known against */
  readonly shares: (pnodes: readonly string[], share: number) => Promise<readonly number[]>
  readonly update: (change: (head: Head) => Head) => Promise<void>
  /** This PNode is to apply the segment, too. @returns under which name; undefined: it cannot */
  readonly ask: (vnode: string, pnode: string, segment: SegmentRef) => Promise<string | undefined>
  /** They are done, or have said nothing. */
  readonly dismiss: (ids: readonly string[], areToBlame: boolean) => Promise<void>
  /** What was kept for audits is not needed any more. */
  readonly released: () => Promise<void>
  /** The run goes back to where everybody can begin. */
  readonly goBack: (reason: string) => Promise<void>
  /** Somebody was found to be wrong: the run goes back without them. */
  readonly convict: (found: Found, reason: string) => Promise<void>
  /** Somebody was found to be right. */
  readonly verified: (said: readonly Pick<Opinion, 'id' | 'vnode' | 'pnode'>[], audit: OpenAudit) => void
  readonly tell: (event: RunEventBody) => void
  /** How long somebody who was asked may take, in ms. */
  readonly patienceMs: number
}

/** Handler of the Run actor, and its timer, for `Audits.look`. */
export const AUDIT = 'audit'
/** How often it is looked whether somebody has room, or is too late, in ms. */
const LOOK_MS = 500
/** The share of segments on which two agree that a trusted PNode applies as well: who audits is audited. */
const SHARE_OF_AGREED = 0.1
/** Who is there has said so within so long, in ms, whatever placement has forgotten: only then is it believed that there is nobody. */
export const ALONE_MS = 5_000
/** How often one who is lost is asked again. */
const MOST_LOSSES = 3

export class Audits {
  readonly #options: AuditsOptions
  #share = 0
  readonly #manifests: KeptManifests
  #looked: Looked[] = []
  /** What was kept is not needed any more, and what follows from that has not come about yet. */
  #isReleasing = false
  /** VNodes that were restored from the base, and may not have come to the newest manifest yet: what they read is kept. */
  readonly #behind = new Set<string>()
  /** VNodes that have had another owner in this generation, as far as is known. */
  readonly #moved = new Set<string>()
  readonly #pace: AuditPace
  /** Who has said different things of one segment: whatever they do from then on is audited, until it is known which of the two lies. */
  readonly #contradictions = new Contradictions()

  constructor(options: AuditsOptions) {
    this.#options = options
    this.#manifests = options.manifests
    this.#pace = new AuditPace(options)
  }

  /** As the settings say. @param share from 0 (none at all) to 1 */
  begin(share: number): void {
    this.#share = share
  }

  get areOn(): boolean {
    return this.#share > 0
  }

  /** Everything begins anew, from this manifest. */
  clear(manifest: Manifest | undefined): void {
    this.#looked = []
    this.#behind.clear()
    this.#moved.clear()
    this.#pace.clear()
    this.#options.source.clear()
    this.#isReleasing = false
    this.#manifests.clear(manifest)
  }

  /** An owner that has just begun goes on with what is open. @throws codes of the store */
  async wake(manifest: Manifest | undefined): Promise<void> {
    const { head, store, vnodes, context, dismiss } = this.#options
    this.clear(manifest)
    // Where the source was before is not known.
    this.#moved.add(SOURCE)
    const { audits = [], directory } = head()
    // What they were asked for is not known any more: others are asked.
    const asked = Object.keys(directory).filter((id) => directory[id].audits)
    if (asked.length > 0) await dismiss(asked, false)
    await this.#manifests.read(store, vnodes)
    if (audits.length === 0) return
    // Who has not come so far yet is not known, either.
    for (const vnode of vnodes) {
      this.#behind.add(vnode)
      this.#moved.add(vnode)
    }
    context.setTimer(AUDIT, AUDIT, { afterMs: LOOK_MS })
  }

  /** A VNode has another owner, which begins at the base. @param from who had it before, if anybody */
  moved(id: string, from: string | undefined): void {
    const { head, vnodes, source } = this.#options
    if (id === SOURCE && from !== undefined) {
      source.moved(from)
      this.#moved.add(id)
    }
    if (!vnodes.includes(id)) return
    this.#moved.add(id)
    if (head().audits) this.#behind.add(id)
  }

  /**
   * An owner says again what was said of a checkpoint before: it has come so far. If it says something else, the one or the other is wrong, and what would follow from
   * either cannot be held against anybody; all that the two do from then on is audited.
   * @returns whether the newest checkpoint can stay
   */
  async passed(commit: Commit): Promise<boolean> {
    const { vnode, step } = commit
    if (this.areOn && this.#manifests.contradict(commit)) {
      const { pnode } = this.#options.head().directory[vnode]
      this.#contradictions.add(pnode, this.#manifests.whoSaid(commit) ?? pnode)
      return false
    }
    if (step === this.#manifests.newest?.step && this.#behind.delete(vnode)) await this.#letGo()
    return true
  }

  /** Draws what is audited of the segments that these commits end. @param manifest of them @returns what the head becomes by it */
  async draw(commits: readonly Commit[], manifest: Manifest): Promise<(head: Head) => Head> {
    const { head, shares, source } = this.#options
    const { run, generation, directory, excluded = [] } = head()
    const hosts = commits.map(({ vnode }) => directory[vnode].pnode)
    this.#manifests.announce(manifest, new Map(commits.map(({ vnode }, i) => [vnode, hosts[i]])))
    if (!this.areOn) return (before) => before
    const [from, secret] = [this.#manifests.newest?.step ?? 0, this.#secretBehind(this.#manifests.newest)]
    const watched = this.#contradictions.partiesBeside(excluded)
    const shareOf = (await shares(hosts, this.#share)).map((share, i) => (watched.has(hosts[i]) ? 1 : share))
    const isAudited = commits.map((commit, i) => isDrawn({ secret, run, generation }, hosts[i], commit, this.#manifests.newest, shareOf[i]))
    const audits = commits.flatMap(({ vnode, step }, i): OpenAudit[] => (isAudited[i] ? [{ vnode, pnode: hosts[i], from, to: step }] : []))
    const unaudited = hosts.flatMap((pnode, i) => (isAudited[i] ? [] : [{ pnode, from }]))
    const ofSource = source.drawn({ from, to: manifest.step })
    return (before) => auditing(before, [...audits, ...ofSource], unaudited)
  }

  /** The cut is the newest manifest. */
  async opened(manifest: Manifest): Promise<void> {
    this.#pace.opened(manifest, this.#manifests.newest, this.#options.context.clock.now())
    this.#manifests.advance(manifest)
    // All of them have committed it.
    this.#behind.clear()
    await this.look()
  }

  /** Somebody who was asked says what the segment gives. */
  async claimed(claim: Claim): Promise<void> {
    const { context, trust, head, dismiss, source } = this.#options
    const looked = this.#looked.find(({ id }) => id === claim.vnode)
    if (!looked || claim.step !== looked.audit.to || !claim.roots) return
    const [{ pnode }, { vnode: id, position, hash }] = [head().directory[claim.vnode], claim]
    const opinion: Opinion = { vnode: looked.audit.vnode, id, pnode, position, hash, roots: claim.roots }
    await dismiss([claim.vnode], false)
    const members = await membersAsTrusted(context, trust)
    const feeder = feederOf(this.#manifests.at(claim.step)!, claim.roots, source.isRight(claim.step))
    // Who has a VNode that somebody else had before says nothing of what that one has said.
    if (feeder !== undefined && looked.dispute.asked!.isArbiter && !this.#moved.has(feeder))
      return this.#convictFeeder(looked, opinion, feeder)
    const dispute = afterDisputeEvent(looked.dispute, { type: 'claimed', claim: claimOf(opinion, members) })
    this.#put(looked, { dispute, opinions: [...looked.opinions, opinion], id: undefined })
    await this.look()
  }

  /** Whoever was asked cannot begin at the checkpoint: two of them are believed. @returns whether it is damaged, and behind which step to go */
  damaged(id: string): number | undefined {
    const looked = this.#looked.find((each) => each.id === id)
    if (!looked) return undefined
    const damagedFor = new Set([...looked.damagedFor, this.#options.head().directory[id].pnode])
    this.#put(looked, { damagedFor: [...damagedFor] })
    return damagedFor.size > 1 ? looked.audit.from : undefined
  }

  /** What can be settled is; who is missing is asked for. */
  async look(): Promise<void> {
    const { head, context } = this.#options
    const { audits = [], generation } = head()
    if (audits.length === 0 && !this.#isReleasing) return
    // Whatever is thrown below may pass.
    context.setTimer(AUDIT, AUDIT, { afterMs: LOOK_MS })
    if (this.#isReleasing) await this.#release()
    const members = await membersAsTrusted(context, this.#options.trust)
    const known = this.#looked.map(({ audit }) => keyOf(audit))
    for (const audit of audits) if (!known.includes(keyOf(audit))) this.#looked.push(this.#open(audit, members))
    for (const audit of audits) {
      while (await this.#lookAt(audit, members)) continue
      // It went back: nothing of it is open any more.
      if (head().generation !== generation) return
    }
    await this.#letGo()
  }

  /** @returns whether there is more to do about it at once */
  async #lookAt(audit: OpenAudit, members: readonly Membership[]): Promise<boolean> {
    const { context, head, dismiss, patienceMs } = this.#options
    const looked = this.#looked.find((each) => keyOf(each.audit) === keyOf(audit))
    if (!looked || looked.isOver) return false
    const { id, sinceMs } = looked
    const isOwnTrusted = members.some(({ pnode, isTrusted }) => pnode === audit.pnode && isTrusted)
    // Where the owner is trusted its own word settles what others say; of the source others say what it was.
    const isItsWord = isOwnTrusted && audit.vnode !== SOURCE && looked.dispute.claims.length > 1 && !looked.dispute.verdict
    const dispute: Dispute = isItsWord ? { ...looked.dispute, verdict: looked.dispute.claims[0] } : looked.dispute
    if (id !== undefined) {
      const isThere = id in head().directory
      if (isThere && !this.#pace.isLate(id, audit, sinceMs)) return false
      if (isThere) await dismiss([id], true)
      // Who was lost may be asked again, but not for ever.
      const { host } = dispute.asked!
      const lost = [...looked.lost, host]
      const isSilent = isThere || lost.filter((each) => each === host).length > MOST_LOSSES
      const after = isSilent ? afterDisputeEvent(dispute, { type: 'silent', host }) : { ...dispute, asked: undefined }
      this.#put(looked, { dispute: after, id: undefined, lost, sinceMs: context.clock.now() })
      return true
    }
    const action = nextAction(dispute, () => false)
    if (action.type === 'wait') return false
    const isArbiter = action.type === 'ask arbiter' || this.#isToBeChecked(looked, action, members)
    if (!isArbiter && (action.type === 'settled' || action.type === 'undecided')) return this.#settle(looked, action)
    const excluded = excludedFrom(dispute, audit, members)
    const { computeClass } = head()
    const isFree = ({ pnode, owner = pnode }: Membership) => !excluded.has(pnode) && !excluded.has(owner)
    const isAble = ({ isTrusted, ...member }: Membership) => member.computeClass === computeClass && (isTrusted || !isArbiter)
    const known = members.filter((member) => isFree(member) && isAble(member))
    const others = known.filter(({ state }) => state !== 'lost')
    const now = context.clock.now()
    const nobodySinceMs = this.#pace.nobodySinceMs([isArbiter, ...[...excluded].toSorted()], known.length > 0, now)
    if (await this.#ask(looked, others, isArbiter)) return false
    // Where nobody at all is heard, of nobody it is known that he is not there.
    if (members.every(({ state }) => state === 'lost')) {
      this.#pace.forgetNobody()
      this.#put(looked, { sinceMs: now, aloneSinceMs: undefined })
      return false
    }
    // Whoever is lost may come back, and whoever has no room now may have some later; but nobody waits for that for ever.
    const aloneSinceMs = others.length > 0 ? undefined : (nobodySinceMs ?? looked.aloneSinceMs ?? now)
    if (aloneSinceMs !== looked.aloneSinceMs) this.#put(looked, { aloneSinceMs })
    if (aloneSinceMs === undefined ? now - sinceMs <= patienceMs : now - aloneSinceMs < ALONE_MS) return false
    const isCheck = action.type === 'settled'
    const after = isCheck ? dispute : afterDisputeEvent(dispute, { type: 'exhausted', of: isArbiter ? 'arbiters' : 'hosts' })
    this.#put(looked, { dispute: after, ...(isCheck && { isChecked: true }) })
    return true
  }

  /** Whether somebody of them begins with it. They are asked in an order that nobody knows before. */
  async #ask(looked: Looked, hosts: readonly Membership[], isArbiter: boolean): Promise<boolean> {
    const { ask, context, source } = this.#options
    const { audit, dispute } = looked
    const ready = hosts.filter(({ state }) => state === 'ready')
    const drawn = inDrawnOrder(this.#secretBehind(this.#manifests.at(audit.from)), keyOf(audit), ready)
    for (const { pnode, owner = pnode, isTrusted } of audit.vnode === SOURCE ? source.first(drawn) : drawn) {
      const id = await ask(audit.vnode, pnode, { from: audit.from, to: audit.to })
      if (id === undefined) continue
      const isCheck = isArbiter && nextAction(dispute, () => false).type === 'settled'
      // Whoever is trusted settles it, whatever it was asked for.
      const asked = afterDisputeEvent(dispute, { type: 'asked', host: pnode, owner, isArbiter: isArbiter || isTrusted === true })
      const change = { id, dispute: asked, sinceMs: context.clock.now(), aloneSinceMs: undefined }
      this.#put(looked, { ...change, ...(isCheck && { isChecked: true }) })
      return true
    }
    return false
  }

  /** A random share of what two agree on is looked at by one whose word counts more. */
  #isToBeChecked({ audit, isChecked }: Looked, action: DisputeAction, members: readonly Membership[]): boolean {
    if (isChecked || action.type !== 'settled' || action.by !== 'agreement') return false
    const hasArbiter = members.some(({ isTrusted, state }) => isTrusted && state !== 'lost')
    return hasArbiter && happens(this.#secretBehind(this.#manifests.at(audit.from)), `agreed ${keyOf(audit)}`, SHARE_OF_AGREED)
  }

  /** @returns false */
  async #settle(looked: Looked, action: Outcome): Promise<boolean> {
    const { goBack, tell, verified, source } = this.#options
    const { audit, opinions, dispute } = looked
    const { vnode, to, pnode } = audit
    if (action.type === 'settled' && action.convicted.length > 0) {
      const known = { position: this.#said(audit).position, moved: this.#moved }
      const convicted = vnode === SOURCE ? await source.proven(audit, action, known) : action.convicted
      if (convicted.length > 0) await this.#convict(looked, { ...action, convicted })
      else await goBack(`what was read of the source up to step ${to} is not what it was to send`)
    } else if (action.type === 'settled') {
      const by = opinions.filter((opinion) => [...dispute.claims, dispute.verdict].some((claim) => claim?.host === opinion.pnode))
      tell({ type: 'audited', vnode, pnode, step: to, by: by.map((opinion) => opinion.pnode) })
      if (vnode === SOURCE) source.verified(to)
      verified([this.#said(audit), ...by], audit)
      this.#put(looked, { isOver: true })
    } else {
      tell({ type: 'unaudited', vnode, pnode, step: to, reason: action.why })
      // Where they differ one of them is wrong: nothing goes on from that.
      if (dispute.claims.length > 1) await goBack(`nobody knows what is right for ${vnode}: ${action.why}`)
      else this.#put(looked, { isOver: true, isUnsettled: true })
    }
    return false
  }

  async #convict(
    { audit, opinions }: Looked,
    { convicted, by, wrongWith }: Omit<Outcome & { type: 'settled' }, 'type' | 'right'>,
  ): Promise<void> {
    const { vnode, to } = audit
    const found = { step: to, vnode, opinions: [this.#said(audit), ...opinions], convicted, by, wrongWith }
    const names = [...new Set(convicted.map(({ host }) => host))].join(', ')
    await this.#options.convict(found, `${names} gave something else for ${vnode} than its log does`)
  }

  /** Who has sent something else to an arbiter than it has said to have put out is wrong about either. */
  async #convictFeeder(looked: Looked, opinion: Opinion, vnode: string): Promise<void> {
    const { pnode: host } = this.#options.head().directory[vnode]
    const found = { ...looked, opinions: [...looked.opinions, opinion] }
    await this.#convict(found, { convicted: [{ host, for: 'claim' }], by: 'arbiter', wrongWith: 0 })
  }

  /** What the owner has said; of the source, who has read it. */
  #said(audit: OpenAudit): Opinion {
    const { vnode, pnode, to } = audit
    const manifest = this.#manifests.at(to)!
    if (vnode === SOURCE) return this.#options.source.said(audit, manifest)
    const { hash, roots } = manifest.vnodes.find((entry) => entry.vnode === vnode)!
    return { vnode, id: vnode, pnode, position: manifest.position, hash, roots: roots! }
  }

  #open(audit: OpenAudit, members: readonly Membership[]): Looked {
    const dispute = disputeOver(audit, this.#said(audit), members)
    // Whoever was asked before is asked for by nobody any more.
    return { audit, dispute, opinions: [], lost: [], damagedFor: [], sinceMs: this.#options.context.clock.now() }
  }

  /** What nobody needs any more is let go, once it is durable that nobody does. */
  async #letGo(): Promise<void> {
    const { context, head, update } = this.#options
    const base = baseOf(head())
    const over = this.#looked.filter(({ isOver }) => isOver)
    if (over.length === 0 || this.#behind.size > 0 || this.#looked.some(({ isOver, audit }) => !isOver && audit.from === base)) return
    const [all, unsettled] = [over, over.filter(({ isUnsettled }) => isUnsettled)].map((some) => some.map(({ audit }) => audit))
    await update((before) => audited(before, all, unsettled))
    this.#looked = this.#looked.filter(({ isOver }) => !isOver)
    this.#manifests.advance(this.#manifests.newest)
    this.#isReleasing = true
    context.setTimer(AUDIT, AUDIT, { afterMs: LOOK_MS })
    await this.#release()
  }

  /** What follows is tried until it does. */
  async #release(): Promise<void> {
    await this.#options.released()
    this.#isReleasing = false
    if (this.#looked.length === 0) this.#options.context.clearTimer(AUDIT)
  }

  #secretBehind(manifest: Manifest | undefined): string {
    const { head, auditKey } = this.#options
    const { run, generation } = head()
    return auditSecret(auditKey, { run, generation, from: manifest?.position ?? 0 })
  }

  #put(looked: Looked, change: Partial<Looked>): void {
    this.#looked = this.#looked.map((each) => (each.audit === looked.audit ? { ...each, ...change } : each))
  }
}
