/** What the answers of PNodes prove about a run that stands still; pure. `standstill.ts` asks for them, and acts. */
import { SOURCE } from '../../components/definition.js'
import { type Head, type Manifest, vnodesOn } from '../../runtime/head.js'
import type { Demand, Membership } from '../calls.js'
import type { Whereabouts } from '../reports.js'
import type { Awaited } from './awaited.js'
import type { OpenCuts } from './open-cuts.js'
import type { Refusals } from './refusals.js'

/** By VNode; null: it is not there under its term, or not yet. Those of a PNode that did not answer are missing. */
export type Answers = ReadonlyMap<string, Whereabouts | null>

/** What is on its way takes no longer than so many times as long as its bytes should; a state, to the store or from there, has so long in any case, in ms. */
const [TRANSFER_MS, TRANSFER_FACTOR] = [30_000, 4]
/** Of so few PNodes a third that does not answer says nothing of us (PROTOCOL.md rule 16). */
const LEAST_FOR_DOUBT = 4

/** What is wrong, by what the answers say. The same suspicion twice is taken for true. */
export interface Suspicion {
  /** Says nothing that changes while nothing goes on. */
  readonly key: string
  readonly vnodes: readonly string[]
  readonly reason: string
  /** A VNode that says nothing, if it is that. */
  readonly silent?: string
  /** What was sent by them is not to be relied on, nor what was made of it: the whole run goes back. */
  readonly isForAll?: true
  /** What was sent did arrive, and was refused. */
  readonly isRefused?: true
}

export interface Evidence {
  readonly directory: Head['directory']
  readonly manifest: Pick<Manifest, 'vnodes'> | undefined
  /** The newest cut that some have stored their states of, and those who have not. */
  readonly cut: OpenCuts['newest']
  /** Whose words the run waits for. Absent: nobody's. */
  readonly awaited?: Awaited
  /** How often each VNode had to move already because it said nothing. */
  readonly silent?: ReadonlyMap<string, number>
  /** It has stood still for so long that what its VNodes say of it counts no more. */
  readonly isOverdue?: boolean
  readonly members: readonly Membership[]
  /** What is known of sizes without a manifest. */
  readonly demands: readonly Demand[]
  /** Of the outputs of each VNode, and of the source, that may be on their way at once. */
  readonly windowBytes: ReadonlyMap<string, number>
  /** Of VNodes that are in the directory. */
  readonly answers: Answers
  readonly stillMs: number
  /** Frames that did arrive, and were refused. */
  readonly refusals?: Pick<Refusals, 'openIn' | 'opponentsOf'>
  /** How often each PNode had to give something up since something last went on. */
  readonly blamed: ReadonlyMap<string, number>
  /** How often each VNode had to move since then. Absent: never. */
  readonly moved?: ReadonlyMap<string, number>
}

/** What keeps a run that stands still, the plainest kind first; the others may follow from that. */
export function suspicions(evidence: Evidence): Suspicion[] {
  const late = evidence.isOverdue ? unsaid(evidence) : []
  for (const kind of [unanswered, untold, unheard, unstored, unrestored, unsaid]) {
    const found = kind(evidence)
    if (found.length > 0) return found.some(({ silent }) => silent !== undefined) ? found : [...found, ...late]
  }
  return []
}

/** PNodes that have VNodes of the run, and are heard. */
function heardOf({ directory, members }: Evidence): string[] {
  const used = new Set(Object.values(directory).map(({ pnode }) => pnode))
  return members.flatMap(({ pnode, state }) => (used.has(pnode) && state !== 'lost' && state !== 'suspect' ? [pnode] : []))
}

/** Were it many of those who are heard, or all of them, it would rather be us whom nobody hears, or who hear nobody. */
function isRatherUs(few: number, heard: number): boolean {
  return (heard >= LEAST_FOR_DOUBT && few * 3 > heard) || (heard > 1 && few === heard)
}

/** PNodes that are heard and do not answer. */
function unanswered(evidence: Evidence): Suspicion[] {
  const { directory, answers } = evidence
  const heard = heardOf(evidence)
  const deaf = heard.flatMap((pnode) => {
    const vnodes = vnodesOn(directory, pnode)
    return vnodes.some((vnode) => answers.has(vnode)) ? [] : [{ key: `deaf ${pnode}`, vnodes, reason: 'it is heard, and does not answer' }]
  })
  return isRatherUs(deaf.length, heard.length) ? [] : deaf
}

/** They have something to say that the run's owner, who asks, has not been told. */
function untold(evidence: Evidence): Suspicion[] {
  const { directory, answers } = evidence
  const found = [...answers].flatMap(([vnode, stands]) => {
    if (stands?.untold === undefined) return []
    return [{ key: `untold ${vnode} ${stands.untold}`, vnodes: [vnode], reason: `what ${vnode} reports does not arrive` }]
  })
  const pnodes = new Set(found.flatMap(({ vnodes }) => vnodes.map((vnode) => directory[vnode].pnode)))
  return isRatherUs(pnodes.size, heardOf(evidence).length) ? [] : found
}

/**
 * A VNode lacks an output that its producer has, or a producer waits for a consumer that lacks nothing of it: what goes from one PNode to the other,
 * or back, does not arrive, and has had time enough. To blame is the PNode that has a part in most of that; if there is no such, the end of an edge that has not moved
 * before, or one that was not blamed before: whoever sends what nobody can take is found though each of its readers is on a PNode that is new to it.
 * Where what arrives is refused, it is first who is in that with most others, and then who has sent it.
 */
function unheard({ directory, members, windowBytes, answers, stillMs, blamed, moved = new Map(), refusals }: Evidence): Suspicion[] {
  const lineOf = (vnode: string) => members.find(({ pnode }) => pnode === directory[vnode].pnode)
  const broken: { readonly producer: string; readonly consumer: string; readonly sizeOf?: string }[] = []
  for (const [vnode, stands] of answers) {
    if (!stands) continue
    for (const producer of stands.wants.inputs ?? [])
      if ((answers.get(producer)?.applied ?? 0) > stands.applied) broken.push({ producer, consumer: vnode })
    for (const [producer, position] of Object.entries(stands.wants.feedback ?? {})) {
      const gives = answers.get(producer)
      // Who is being restored gives it when it has begun. A derivative is as large as what it is of.
      if (gives && !gives.isRestoring && gives.applied >= position) broken.push({ producer, consumer: vnode, sizeOf: vnode })
    }
    for (const [consumer, next] of Object.entries(stands.wants.readers ?? {}))
      if ((answers.get(consumer)?.applied ?? 0) >= next) broken.push({ producer: vnode, consumer })
  }
  const edges = broken.filter(({ producer, consumer, sizeOf = producer }) => {
    const { uploadBytesPerS = Infinity } = lineOf(producer) ?? {}
    const { downloadBytesPerS = Infinity } = lineOf(consumer) ?? {}
    return stillMs >= bytesMs(windowBytes.get(sizeOf) ?? 0, Math.min(uploadBytesPerS, downloadBytesPerS))
  })
  const endsOn = (pnode: string, { producer, consumer }: (typeof edges)[number]) =>
    [producer, consumer].filter((vnode) => directory[vnode].pnode === pnode)
  const touching = (pnode: string) =>
    edges.filter(({ producer, consumer }) => directory[producer].pnode === pnode || directory[consumer].pnode === pnode)
  const refused = (refusals?.openIn(directory) ?? []).filter((one) =>
    edges.some(({ producer, consumer }) => one.producer === producer && one.by === consumer),
  )
  const opponentsOf = (pnode: string) =>
    refused.some((one) => one.pnode === pnode || one.byPnode === pnode) ? refusals!.opponentsOf(pnode) : 0
  const movesOf = (pnode: string) =>
    Math.max(
      ...touching(pnode)
        .flatMap((edge) => endsOn(pnode, edge))
        .map((vnode) => moved.get(vnode) ?? 0),
    )
  const consumers = edges.map(({ consumer }) => directory[consumer].pnode)
  const pnodes = new Set([...consumers, ...edges.map(({ producer }) => directory[producer].pnode)])
  const [worst] = [...pnodes].toSorted(
    (a, b) =>
      opponentsOf(b) - opponentsOf(a) ||
      touching(b).length - touching(a).length ||
      movesOf(a) - movesOf(b) ||
      (blamed.get(a) ?? 0) - (blamed.get(b) ?? 0) ||
      Number(refused.some(({ pnode }) => pnode === b)) - Number(refused.some(({ pnode }) => pnode === a)) ||
      Number(consumers.includes(b)) - Number(consumers.includes(a)) ||
      (a < b ? -1 : 1),
  )
  if (worst === undefined) return []
  return touching(worst).map(({ producer, consumer }) => {
    const [from, to] = [directory[producer].pnode, directory[consumer].pnode]
    const key = `unheard ${producer} ${consumer} ${answers.get(consumer)!.applied}`
    const vnodes = endsOn(worst, { producer, consumer })
    const because = refused.find((one) => one.producer === producer && one.by === consumer)
    if (because)
      return { key, vnodes, reason: `${to} (${consumer}) refuses what ${from} (${producer}) sends: ${because.reason}`, isRefused: true }
    return { key, vnodes, reason: `nothing comes from ${from} (${producer}) to ${to} (${consumer}), or back` }
  })
}

/** Others have stored their states after a cut, and these have had time enough. */
function unstored({ cut, directory, members, demands, answers, stillMs }: Evidence): Suspicion[] {
  if (!cut) return []
  // Nobody stores more than it was thought to need.
  const mostOf = (vnode: string) => demands.find((demand) => demand.vnode === vnode)?.memoryBytes ?? Infinity
  const bytesOf = (vnode: string) => Math.min(answers.get(vnode)?.storing?.bytes ?? 0, mostOf(vnode))
  const late = cut.missing.filter((vnode) => (answers.get(vnode)?.storing?.position ?? Infinity) <= cut.position)
  return late.flatMap((vnode) => {
    const { pnode } = directory[vnode]
    const { uploadBytesPerS } = members.find((member) => member.pnode === pnode) ?? {}
    if (stillMs < transferMs(sum(vnodesOn(directory, pnode).map(bytesOf)), uploadBytesPerS)) return []
    const reason = `the state of ${vnode} does not arrive in the object store`
    return [{ key: `unstored ${vnode} ${cut.position}`, vnodes: [vnode], reason }]
  })
}

/** They have had time enough to begin. */
function unrestored({ directory, manifest, members, demands, answers, stillMs }: Evidence): Suspicion[] {
  const isWaiting = (vnode: string) => answers.get(vnode) === null || answers.get(vnode)?.isRestoring === true
  const sizes = new Map(demands.map(({ vnode, memoryBytes }) => [vnode, memoryBytes]))
  for (const { vnode, sizeBytes } of manifest?.vnodes ?? []) sizes.set(vnode, sizeBytes)
  return [...answers.keys()].filter(isWaiting).flatMap((vnode) => {
    const { pnode } = directory[vnode]
    const { downloadBytesPerS } = members.find((member) => member.pnode === pnode) ?? {}
    const bytes = vnodesOn(directory, pnode).flatMap((id) => (isWaiting(id) ? [sizes.get(id) ?? 0] : []))
    if (stillMs < transferMs(sum(bytes), downloadBytesPerS)) return []
    const what = vnode === SOURCE ? 'the source does not begin' : `${vnode} is not restored`
    return [{ key: `unrestored ${vnode}`, vnodes: [vnode], reason: `${what} within ${Math.round(stillMs / 1000)} s` }]
  })
}

/**
 * All say that nothing keeps them, and somebody has not said what he should have: the VNode goes elsewhere. If that did not help, it may not have been told what to do,
 * wherever it was: then what it reads goes elsewhere, and the run goes back to where all were told the same.
 */
function unsaid({ awaited, directory, answers, silent, isOverdue }: Evidence): Suspicion[] {
  if (!awaited) return []
  const isBusy = (stands: Whereabouts | null | undefined) => !stands || stands.isRestoring || stands.storing || stands.untold !== undefined
  if (!isOverdue && Object.keys(directory).some((id) => isBusy(answers.get(id)))) return []
  const [first] = awaited.vnodes
  const times = silent?.get(first) ?? 0
  const [reason, key] = [`${first} says nothing of ${awaited.what}`, `unsaid ${first} ${times} ${awaited.what}`]
  if (times % 2 === 0) return [{ key, vnodes: [first], reason, silent: first }]
  const producers = awaited.producers.filter((vnode) => vnode in directory)
  return [{ key, vnodes: producers, reason: `${reason}, wherever it is`, silent: first, isForAll: true }]
}

/** What it takes at most, in ms. */
const bytesMs = (bytes: number, bytesPerS: number): number => (TRANSFER_FACTOR * bytes * 1000) / bytesPerS
const transferMs = (bytes: number, bytesPerS = Infinity): number => Math.max(TRANSFER_MS, bytesMs(bytes, bytesPerS))

const sum = (numbers: readonly number[]): number => numbers.reduce((total, each) => total + each, 0)
