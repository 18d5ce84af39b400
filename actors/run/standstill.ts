/**
 * Why a run stands still though its PNodes are heard: one of them hears nothing, or nothing of its neighbour, or does not reach the store. Nobody
 * notices that of itself: each waits for the other, as it should. So the owner of a run that has stood still for long asks every PNode where its VNodes
 * stand, twice; what the answers prove (`suspicions.ts`), and nothing else, moves.
 */
import { SOURCE } from '../../components/definition.js'
import type { ActorContext } from '../../runtime/actor-system/actor-system.js'
import { type Manifest, vnodesOn } from '../../runtime/head.js'
import { followersIn } from '../../runtime/followers.js'
import { actor, call, isTransient, type Loss } from '../calls.js'
import { listMembers } from '../placement/parts.js'
import { DEFAULT_MEMBERSHIP } from '../placement/placement.js'
import type { Awaited } from './awaited.js'
import type { OpenCuts } from './open-cuts.js'
import type { RunDefinition } from './run-definition.js'
import type { RunMonitor } from './run-monitor.js'
import { demandsOf, type PlacingRun } from './run-placing.js'
import type { Whereabouts } from '../reports.js'
import { type Answers, suspicions } from './suspicions.js'

/** Handler of the Run actor, and its timer, for `Standstill.look`. */
export const STANDSTILL = 'standstill'
/** How often it is looked, in ms: at least so many times while a run stands still for as long as it has to. */
const [EVERY_MS, LOOKS] = [5_000, 2]
/** The same where it is known what it waits for, at most: somebody refuses what another one sends. */
const HURRIED_MS = 1_000
/** Nothing is asked before so many windows of average steps; nor before the first step has had the time that it needs, in times that a run has to stand still. */
const [WINDOWS, FIRST_STEP] = [4, 3]
/** Who lets others wait so many times as long is not asked any more why. */
const OVERDUE = 4
/** After each move that did not help it is waited twice as long, at most so many times. */
const MOST_DOUBLINGS = 5
/** Who was to blame gets no VNodes for so long, in ms, if there is somebody else; twice as long the next time. */
const SHUN_MS = 120_000
const VNODES_PER_CALL = 200

export interface StandstillOptions {
  readonly context: ActorContext
  readonly run: () => PlacingRun
  readonly manifest: () => Manifest | undefined
  readonly cuts: Pick<OpenCuts, 'newest'>
  readonly awaited: () => Awaited | undefined
  readonly monitor: Pick<RunMonitor, 'vnodes' | 'newSteps' | 'refusals'>
  /** Frames in flight on each edge. */
  readonly window: () => Promise<number>
  readonly lost: (loss: Loss) => Promise<void>
  /** The whole run goes back to its newest checkpoint. */
  readonly goBack: (reason: string) => Promise<void>
  /** How long a run stands still before anybody is asked, at least, in ms. Infinity: nobody ever is. */
  readonly leastMs?: number
}

export class Standstill {
  readonly #options: StandstillOptions
  readonly #leastMs: number
  readonly #everyMs: number
  /** How far the run was when something last went on, and its terms since. */
  #seen = { story: '', terms: 0, sinceMs: 0 }
  /** What had been done for the first time then. */
  #progress = ''
  /** Looks since which something had gone on, and the steps of that. */
  #paced = { looks: 0, from: 0 }
  #window: number | undefined
  #isHurried = false
  #isAsking = false
  #answers: { readonly answers: Answers; readonly terms: number } | undefined
  #suspected: ReadonlySet<string> = new Set()
  /** How often each PNode had to give something up since something was done for the first time. */
  readonly #blamed = new Map<string, number>()
  /** How often each VNode had to move since then. */
  readonly #moved = new Map<string, number>()
  /** How often a VNode had to move because it said nothing, since then. */
  readonly #silent = new Map<string, number>()
  readonly #shunned = new Map<string, { readonly times: number; readonly untilMs: number }>()

  constructor(options: StandstillOptions) {
    this.#options = options
    this.#leastMs = options.leastMs ?? DEFAULT_MEMBERSHIP.standstillMs
    this.#everyMs = Math.min(EVERY_MS, this.#leastMs / LOOKS)
  }

  /** PNodes that are better not given anything, in order of names. */
  get shunned(): readonly string[] {
    return [...this.#shunned].flatMap(([pnode, { untilMs }]) => (this.#now < untilMs ? [pnode] : [])).toSorted()
  }

  /** It gets nothing for a while, if there is somebody else; longer each time. */
  shun(pnode: string): void {
    const times = (this.#shunned.get(pnode)?.times ?? 0) + 1
    this.#shunned.set(pnode, { times, untilMs: this.#now + SHUN_MS * (1 << Math.min(times - 1, MOST_DOUBLINGS)) })
  }

  /** What it was blamed for may have been somebody else's doing. */
  forgive(): void {
    this.#shunned.clear()
  }

  /** Looks at intervals from now on. */
  watch(): void {
    if (this.#leastMs === Infinity) return
    this.#seen = { story: '', terms: 0, sinceMs: 0 }
    this.#paced = { looks: 0, from: this.#furthest }
    this.#isHurried = false
    this.#lookEvery(this.#everyMs)
  }

  #lookEvery(everyMs: number): void {
    this.#options.context.setTimer(STANDSTILL, STANDSTILL, { afterMs: everyMs, everyMs })
  }

  /** There is another PNode: what did not help before may now. */
  joined(): void {
    this.#blamed.clear()
    this.#moved.clear()
  }

  async look(): Promise<void> {
    const { context, run } = this.#options
    if (run().head.status !== 'running') return context.clearTimer(STANDSTILL)
    try {
      await this.#look()
    } catch (error) {
      // The next look comes soon.
      if (!isTransient(error)) throw error
    }
  }

  async #look(): Promise<void> {
    const { run, manifest, monitor } = this.#options
    this.#hurry(monitor.refusals.openIn(run().head.directory).length > 0)
    const terms = run().head.termCounter
    const checkpoint = manifest()?.position ?? 0
    const steps = monitor.vnodes().map(({ vnode, step }) => `${vnode} ${step}`)
    const story = `${checkpoint}: ${steps.join(', ')}`
    // What is only done again does not show that the last move has helped.
    const progress = `${checkpoint}: ${monitor.newSteps}`
    if (progress !== this.#progress) {
      this.#blamed.clear()
      this.#moved.clear()
      this.#silent.clear()
    }
    this.#progress = progress
    const answered = this.#answers
    this.#answers = undefined
    if (story !== this.#seen.story || terms !== this.#seen.terms) {
      if (story !== this.#seen.story && !this.#isHurried) this.#paced.looks++
      this.#seen = { story, terms, sinceMs: this.#now }
      this.#suspected = new Set()
      return
    }
    const stillMs = this.#now - this.#seen.sinceMs
    const isLong = stillMs >= (await this.#patienceMs())
    if (!isLong && !(this.#isHurried && stillMs >= HURRIED_MS)) return
    if (answered?.terms === terms) await this.#judge(answered.answers, isLong)
    this.#ask()
  }

  #hurry(isHurried: boolean): void {
    if (isHurried === this.#isHurried) return
    this.#isHurried = isHurried
    this.#lookEvery(isHurried ? Math.min(HURRIED_MS, this.#everyMs) : this.#everyMs)
  }

  async #patienceMs(): Promise<number> {
    this.#window ??= await this.#options.window()
    const { looks, from } = this.#paced
    const steps = this.#furthest - from
    const atFirst = steps > 0 ? (WINDOWS * this.#window * looks * this.#everyMs) / steps : FIRST_STEP * this.#leastMs
    const failures = [...this.#blamed.values()].reduce((sum, times) => sum + times, 0)
    return Math.max(this.#leastMs, atFirst) * (1 << Math.min(failures, MOST_DOUBLINGS))
  }

  /** @param isLong it has stood still for so long that anything may be the reason, not only what is refused */
  async #judge(answers: Answers, isLong: boolean): Promise<void> {
    const { context, run, manifest, cuts, awaited, monitor, lost, goBack } = this.#options
    const members = await listMembers(context)
    const { definition, head } = run()
    const { directory } = head
    const all = suspicions({
      directory,
      manifest: manifest(),
      cut: cuts.newest,
      awaited: awaited(),
      silent: this.#silent,
      isOverdue: this.#now - this.#seen.sinceMs >= OVERDUE * (await this.#patienceMs()),
      members,
      demands: demandsOf(definition, followersIn(head)),
      windowBytes: windowBytesOf(definition, this.#window ?? 1),
      // Followers come and go without a new term of anybody else.
      answers: new Map([...answers].filter(([vnode]) => vnode in directory)),
      stillMs: this.#now - this.#seen.sinceMs,
      refusals: monitor.refusals,
      blamed: this.#blamed,
      moved: this.#moved,
    })
    const found = isLong ? all : all.filter(({ isRefused }) => isRefused)
    const proven = found.filter(({ key }) => this.#suspected.has(key))
    this.#suspected = new Set(found.map(({ key }) => key))
    const losses = lossesOf(proven, (vnode) => directory[vnode].pnode)
    for (const { silent } of proven) if (silent !== undefined) this.#silent.set(silent, (this.#silent.get(silent) ?? 0) + 1)
    // All of them first: what one gives up does not go to another.
    for (const { pnode, ids } of losses) {
      this.#blame(pnode)
      for (const id of ids) this.#moved.set(id, (this.#moved.get(id) ?? 0) + 1)
    }
    const forAll = proven.find(({ isForAll }) => isForAll)
    if (forAll) return goBack(forAll.reason)
    for (const { pnode, reason, ids } of losses)
      await lost({ pnode, what: 'standstill', reason, vnodes: ids.map((vnode) => `${head.run}/${vnode}`) })
  }

  #blame(pnode: string): void {
    this.#blamed.set(pnode, (this.#blamed.get(pnode) ?? 0) + 1)
    this.shun(pnode)
  }

  /** In the background: our own turns are short. */
  #ask(): void {
    if (this.#isAsking) return
    const { context, run } = this.#options
    const { directory, run: id, termCounter: terms } = run().head
    const answers = new Map<string, Whereabouts | null>()
    const ofPNode = async (pnode: string) => {
      const vnodes = vnodesOn(directory, pnode)
      for (let i = 0; i < vnodes.length; i += VNODES_PER_CALL) {
        const part = vnodes.slice(i, i + VNODES_PER_CALL)
        const argument = { run: id, vnodes: part.map((vnode) => [vnode, directory[vnode].term] as const) }
        const said = await call<'PNode', 'whereabouts'>(context, actor.pnode(pnode), 'whereabouts', argument, context.signal)
        part.forEach((vnode, at) => answers.set(vnode, said[at] ?? null))
      }
    }
    this.#isAsking = true
    const pnodes = new Set(Object.values(directory).map(({ pnode }) => pnode))
    void Promise.allSettled([...pnodes].map(ofPNode)).then(() => {
      this.#isAsking = false
      this.#answers = { answers, terms }
    })
  }

  /** The last step that any VNode has applied. */
  get #furthest(): number {
    return Math.max(0, ...this.#options.monitor.vnodes().map(({ step }) => step))
  }

  get #now(): number {
    return this.#options.context.clock.now()
  }
}

function windowBytesOf({ network, training }: RunDefinition, window: number): Map<string, number> {
  const bytesOf = (shape: readonly number[]) => shape.reduce((product, length) => product * length, 4 * training.batchSize * window)
  return new Map([[SOURCE, bytesOf(network.input)], ...network.vnodes.map(({ id, outputShape }) => [id, bytesOf(outputShape)] as const)])
}

interface Blame {
  readonly pnode: string
  readonly reason: string
  readonly ids: readonly string[]
}

/** By PNode, in order of names. */
function lossesOf(proven: ReturnType<typeof suspicions>, pnodeOf: (vnode: string) => string): Blame[] {
  const pnodes = new Set(proven.flatMap(({ vnodes }) => vnodes.map(pnodeOf)))
  return [...pnodes].toSorted().map((pnode) => {
    const here = proven.filter(({ vnodes }) => vnodes.some((vnode) => pnodeOf(vnode) === pnode))
    const ids = new Set(here.flatMap(({ vnodes }) => vnodes.filter((vnode) => pnodeOf(vnode) === pnode)))
    return { pnode, reason: here[0].reason, ids: [...ids] }
  })
}
