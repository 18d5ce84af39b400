/**
 * Why a run stands still though its PNodes are heard: one of them hears nothing, or nothing of its neighbour, or does not reach the store. Nobody
 * notices that of itself: each waits for the other, as it should. So the owner of a run that has stood still for long asks every PNode where its VNodes
 * stand, twice; what the answers prove, and nothing else, moves.
 */
import { setMaxListeners } from 'node:events'
import { SOURCE } from '../../components/definition.js'
import type { ActorContext } from '../../runtime/actor-system/actor-system.js'
import type { Head, Manifest } from '../../runtime/head.js'
import type { Wants } from '../../runtime/step-log.js'
import { actor, call, isTransient, type Loss, type Membership } from '../calls.js'
import type { OpenCuts } from './open-cuts.js'
import { listMembers } from '../placement/parts.js'
import type { RunMonitor } from './run-monitor.js'

/** Where a VNode stands. */
export interface Whereabouts {
  /** Position of the last entry that it has applied, or, the source, sent. */
  readonly applied: number
  /** Its state is being restored. */
  readonly isRestoring?: true
  /** Position of the first cut whose state is on its way to the object store. */
  readonly storing?: number
  readonly wants: Wants
}

/** By VNode; null: it is not there under its term, or not yet. Those of a PNode that did not answer are missing. */
export type Answers = ReadonlyMap<string, Whereabouts | null>

/** Handler of the Run actor, and its timer, for `Standstill.look`. */
export const STANDSTILL = 'standstill'
const EVERY_MS = 5_000
/** Nothing is asked before so long a standstill, in ms, or before that of so many windows of average steps; nor before the first step has had the time that it needs. */
const [LEAST_MS, WINDOWS, FIRST_STEP_MS] = [10_000, 4, 30_000]
/** After each move that did not help it is waited twice as long, at most so many times. */
const MOST_DOUBLINGS = 5
/** A PNode that is heard answers within so long, in ms. */
const ANSWER_MS = 3_000
const VNODES_PER_CALL = 200
/** A restore takes no longer than so long, in ms, or so many times as long as its bytes should. */
const [RESTORE_MS, RESTORE_FACTOR] = [30_000, 4]
/** Who was to blame gets no VNodes for so long, in ms, if there is somebody else; twice as long the next time. */
const SHUN_MS = 120_000
/** Of so few PNodes a third that does not answer says nothing of us (PROTOCOL.md rule 16). */
const LEAST_FOR_DOUBT = 4

export interface StandstillOptions {
  readonly context: ActorContext
  readonly head: () => Head
  readonly manifest: () => Manifest | undefined
  readonly cuts: Pick<OpenCuts, 'newest'>
  readonly monitor: Pick<RunMonitor, 'vnodes'>
  /** Frames in flight on each edge. */
  readonly window: () => Promise<number>
  readonly lost: (loss: Loss) => Promise<void>
}

/** What is wrong, by what the answers say. The same suspicion twice is taken for true. */
interface Suspicion {
  /** Says nothing that changes while nothing goes on. */
  readonly key: string
  readonly vnodes: readonly string[]
  readonly reason: string
}

export class Standstill {
  readonly #options: StandstillOptions
  /** How far the run was when something last went on, and its terms since. */
  #seen = { story: '', terms: 0, sinceMs: 0 }
  /** Looks since which something had gone on, and the steps of that. */
  #paced = { looks: 0, from: 0 }
  #window: number | undefined
  #isAsking = false
  #answers: { readonly answers: Answers; readonly terms: number } | undefined
  #suspected: ReadonlySet<string> = new Set()
  /** How often each PNode had to give something up since something last went on. */
  readonly #blamed = new Map<string, number>()
  readonly #shunned = new Map<string, { readonly times: number; readonly untilMs: number }>()

  constructor(options: StandstillOptions) {
    this.#options = options
  }

  /** Looks at intervals from now on. */
  watch(): void {
    this.#seen = { story: '', terms: 0, sinceMs: 0 }
    this.#paced = { looks: 0, from: this.#furthest }
    this.#options.context.setTimer(STANDSTILL, STANDSTILL, { afterMs: EVERY_MS, everyMs: EVERY_MS })
  }

  async look(): Promise<void> {
    const { context, head } = this.#options
    if (head().status !== 'running') return context.clearTimer(STANDSTILL)
    try {
      await this.#look()
    } catch (error) {
      // The next look comes soon.
      if (!isTransient(error)) throw error
    }
  }

  async #look(): Promise<void> {
    const { head, manifest, monitor } = this.#options
    const terms = head().termCounter
    const steps = monitor.vnodes().map(({ vnode, step }) => `${vnode} ${step}`)
    const story = `${manifest()?.position ?? 0}: ${steps.join(', ')}`
    const answered = this.#answers
    this.#answers = undefined
    if (story !== this.#seen.story || terms !== this.#seen.terms) {
      if (story !== this.#seen.story) this.#paced.looks++
      if (story !== this.#seen.story) this.#blamed.clear()
      this.#seen = { story, terms, sinceMs: this.#now }
      this.#suspected = new Set()
      return
    }
    if (this.#now - this.#seen.sinceMs < (await this.#patienceMs())) return
    if (answered?.terms === terms) await this.#judge(answered.answers)
    this.#ask()
  }

  async #patienceMs(): Promise<number> {
    this.#window ??= await this.#options.window()
    const { looks, from } = this.#paced
    const steps = this.#furthest - from
    const atFirst = steps > 0 ? Math.max(LEAST_MS, (WINDOWS * this.#window * looks * EVERY_MS) / steps) : FIRST_STEP_MS
    const failures = [...this.#blamed.values()].reduce((sum, times) => sum + times, 0)
    return atFirst * (1 << Math.min(failures, MOST_DOUBLINGS))
  }

  async #judge(answers: Answers): Promise<void> {
    const { context, head, manifest, cuts, lost } = this.#options
    const members = await listMembers(context)
    const stillMs = this.#now - this.#seen.sinceMs
    const found = suspicions({ head: head(), manifest: manifest(), cut: cuts.newest, members, answers, stillMs, blamed: this.#blamed })
    const proven = found.filter(({ key }) => this.#suspected.has(key))
    this.#suspected = new Set(found.map(({ key }) => key))
    const { run, directory } = head()
    const pnodes = new Set(proven.flatMap(({ vnodes }) => vnodes.map((vnode) => directory[vnode].pnode)))
    for (const pnode of [...pnodes].toSorted()) {
      const here = proven.filter(({ vnodes }) => vnodes.some((vnode) => directory[vnode].pnode === pnode))
      const ids = new Set(here.flatMap(({ vnodes }) => vnodes.filter((vnode) => directory[vnode].pnode === pnode)))
      this.#blame(pnode)
      await lost({ pnode, what: 'vnodes', reason: here[0].reason, vnodes: [...ids].map((vnode) => `${run}/${vnode}`) })
    }
  }

  /** In the background: our own turns are short. */
  #ask(): void {
    if (this.#isAsking) return
    const { context, head } = this.#options
    const { directory, run, termCounter: terms } = head()
    const answers = new Map<string, Whereabouts | null>()
    const limit = new AbortController()
    setMaxListeners(0, limit.signal)
    const cancel = context.clock.after(ANSWER_MS, () => limit.abort())
    const ofPNode = async (pnode: string) => {
      const vnodes = Object.keys(directory).filter((vnode) => directory[vnode].pnode === pnode)
      for (let i = 0; i < vnodes.length; i += VNODES_PER_CALL) {
        const part = vnodes.slice(i, i + VNODES_PER_CALL)
        const argument = { run, vnodes: part.map((vnode) => [vnode, directory[vnode].term] as const) }
        const said = await call<'PNode', 'whereabouts'>(context, actor.pnode(pnode), 'whereabouts', argument, limit.signal)
        part.forEach((vnode, at) => answers.set(vnode, said[at] ?? null))
      }
    }
    this.#isAsking = true
    const pnodes = new Set(Object.values(directory).map(({ pnode }) => pnode))
    void Promise.allSettled([...pnodes].map(ofPNode)).then(() => {
      cancel()
      this.#isAsking = false
      this.#answers = { answers, terms }
    })
  }

  /** PNodes that are better not given anything, in order of names. */
  get shunned(): readonly string[] {
    return [...this.#shunned].flatMap(([pnode, { untilMs }]) => (this.#now < untilMs ? [pnode] : [])).toSorted()
  }

  #blame(pnode: string): void {
    this.#blamed.set(pnode, (this.#blamed.get(pnode) ?? 0) + 1)
    const times = (this.#shunned.get(pnode)?.times ?? 0) + 1
    this.#shunned.set(pnode, { times, untilMs: this.#now + SHUN_MS * (1 << Math.min(times - 1, MOST_DOUBLINGS)) })
  }

  /** The last step that any VNode has applied. */
  get #furthest(): number {
    return Math.max(0, ...this.#options.monitor.vnodes().map(({ step }) => step))
  }

  get #now(): number {
    return this.#options.context.clock.now()
  }
}

interface Evidence {
  readonly head: Head
  readonly manifest: Manifest | undefined
  /** The newest cut that some have stored their states of, and those who have not. */
  readonly cut: OpenCuts['newest']
  readonly members: readonly Membership[]
  readonly answers: Answers
  readonly stillMs: number
  readonly blamed: ReadonlyMap<string, number>
}

/** What keeps a run that stands still, the plainest kind first; the others may follow from that. Pure. */
export function suspicions(evidence: Evidence): Suspicion[] {
  for (const kind of [unanswered, unheard, unstored, unrestored]) {
    const found = kind(evidence)
    if (found.length > 0) return found
  }
  return []
}

/** PNodes that are heard and do not answer. Were they many, it would rather be us who cannot be heard. */
function unanswered({ head: { directory }, members, answers }: Evidence): Suspicion[] {
  const used = new Set(Object.values(directory).map(({ pnode }) => pnode))
  const heard = members.filter(({ pnode, state }) => used.has(pnode) && state !== 'lost' && state !== 'suspect')
  const deaf = heard.flatMap(({ pnode }) => {
    const vnodes = Object.keys(directory).filter((vnode) => directory[vnode].pnode === pnode)
    return vnodes.some((vnode) => answers.has(vnode)) ? [] : [{ key: `deaf ${pnode}`, vnodes, reason: 'it is heard, and does not answer' }]
  })
  return heard.length >= LEAST_FOR_DOUBT && deaf.length * 3 > heard.length ? [] : deaf
}

/**
 * A VNode lacks an output that its producer has, or a producer waits for a consumer that lacks nothing of it: what goes from one PNode to the other,
 * or back, does not arrive. To blame is the PNode that has a part in most of that; if there is no such, one that was not blamed before.
 */
function unheard({ head: { directory }, answers, blamed }: Evidence): Suspicion[] {
  const edges: { readonly producer: string; readonly consumer: string }[] = []
  for (const [vnode, stands] of answers) {
    if (!stands) continue
    for (const producer of stands.wants.inputs ?? [])
      if ((answers.get(producer)?.applied ?? 0) > stands.applied) edges.push({ producer, consumer: vnode })
    for (const [consumer, next] of Object.entries(stands.wants.readers ?? {}))
      if ((answers.get(consumer)?.applied ?? 0) >= next) edges.push({ producer: vnode, consumer })
  }
  const touching = (pnode: string) =>
    edges.filter(({ producer, consumer }) => directory[producer].pnode === pnode || directory[consumer].pnode === pnode)
  const consumers = edges.map(({ consumer }) => directory[consumer].pnode)
  const pnodes = new Set([...consumers, ...edges.map(({ producer }) => directory[producer].pnode)])
  const [worst] = [...pnodes].toSorted(
    (a, b) =>
      touching(b).length - touching(a).length ||
      (blamed.get(a) ?? 0) - (blamed.get(b) ?? 0) ||
      Number(consumers.includes(b)) - Number(consumers.includes(a)) ||
      (a < b ? -1 : 1),
  )
  if (worst === undefined) return []
  return touching(worst).map(({ producer, consumer }) => {
    const [from, to] = [directory[producer].pnode, directory[consumer].pnode]
    const key = `unheard ${producer} ${consumer} ${answers.get(consumer)!.applied}`
    const vnodes = [producer, consumer].filter((vnode) => directory[vnode].pnode === worst)
    return { key, vnodes, reason: `nothing comes from ${from} (${producer}) to ${to} (${consumer}), or back` }
  })
}

/** Others have stored their states after a cut, and these are still about to. */
function unstored({ cut, answers }: Evidence): Suspicion[] {
  if (!cut) return []
  const late = cut.missing.filter((vnode) => (answers.get(vnode)?.storing ?? Infinity) <= cut.position)
  return late.map((vnode) => ({
    key: `unstored ${vnode} ${cut.position}`,
    vnodes: [vnode],
    reason: `the state of ${vnode} does not arrive in the object store`,
  }))
}

/** They have had time enough. */
function unrestored({ head: { directory }, manifest, members, answers, stillMs }: Evidence): Suspicion[] {
  const waiting = [...answers].filter(([vnode, stands]) => vnode in directory && (stands === null || stands.isRestoring))
  return waiting.flatMap(([vnode]) => {
    const { downloadBytesPerS = Infinity } = members.find(({ pnode }) => pnode === directory[vnode].pnode) ?? {}
    const bytes = manifest?.vnodes.find((one) => one.vnode === vnode)?.sizeBytes ?? 0
    if (stillMs < Math.max(RESTORE_MS, (RESTORE_FACTOR * bytes * 1000) / downloadBytesPerS)) return []
    const what = vnode === SOURCE ? 'the source does not begin' : `${vnode} is not restored`
    return [{ key: `unrestored ${vnode}`, vnodes: [vnode], reason: `${what} within ${Math.round(stillMs / 1000)} s` }]
  })
}
