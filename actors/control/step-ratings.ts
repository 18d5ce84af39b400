/** Compares, all the time, what hosts say of their speed with how long their steps took, and has the placement service know (M9). */
import type { Clock } from '../../runtime/clock.js'
import type { Calls, Membership } from '../calls.js'
import { type Pace, slownessOf, type Speed, verdict, type Work, workOf } from '../placement/rating.js'
import type { RunDefinition } from '../run/run-definition.js'

/** How long steps are gathered before they are judged, in ms. */
export const RATE_MS = 5_000
/** Fewer steps of a VNode say nothing: they are judged when there are more. */
const LEAST_STEPS = 8
/** A PNode has to be slower, or faster, so often in a row: somebody who compiles something is not taken for a liar. */
const LEAST_TIMES = 2

export interface StepRatingsOptions {
  readonly clock: Clock
  /** Default `RATE_MS`. */
  readonly everyMs?: number
  readonly members: () => Promise<readonly Membership[]>
  readonly rate: (rating: Calls['Placement']['rate'][0]) => Promise<unknown>
  readonly onError: (error: unknown) => void
}

interface Gathered {
  ms: number
  steps: number
  bestMs?: number
}

export class StepRatings {
  readonly #options: StepRatingsOptions
  /** By run, then VNode. */
  readonly #works = new Map<string, ReadonlyMap<string, Work>>()
  /** By run, VNode, PNode. */
  readonly #gathered = new Map<string, Gathered & { readonly run: string; readonly vnode: string; readonly pnode: string }>()
  /** How often in a row each PNode was slower, or faster, than it is taken for. */
  readonly #found = new Map<string, { readonly isSlower: boolean; readonly times: number }>()
  #cancel: (() => void) | undefined
  #isClosed = false

  constructor(options: StepRatingsOptions) {
    this.#options = options
  }

  /** Steps of this run count from now on. */
  watch(run: string, { network, training }: Pick<RunDefinition, 'network' | 'training'>): void {
    this.#works.set(run, new Map(network.vnodes.map((vnode) => [vnode.id, workOf(vnode, training)])))
  }

  forget(run: string): void {
    this.#works.delete(run)
    for (const [key, gathered] of this.#gathered) if (gathered.run === run) this.#gathered.delete(key)
  }

  /** Training steps that a PNode applied. @param busyMs of all of them together; what is no positive number is not counted */
  observe(run: string, vnode: string, pnode: string, { busyMs, steps }: { readonly busyMs: number; readonly steps: number }): void {
    if (this.#isClosed || !(busyMs > 0) || !(steps > 0) || !this.#works.get(run)?.has(vnode)) return
    const key = `${run} ${vnode} ${pnode}`
    const gathered = this.#gathered.get(key) ?? { run, vnode, pnode, ms: 0, steps: 0 }
    this.#gathered.set(key, gathered)
    gathered.ms += busyMs
    gathered.steps += steps
    this.#cancel ??= this.#options.clock.after(this.#options.everyMs ?? RATE_MS, () => this.#judge())
  }

  close(): void {
    this.#isClosed = true
    this.#cancel?.()
  }

  #judge(): void {
    this.#cancel = undefined
    const paces = this.#paces()
    if (paces.length > 0) this.#rate(paces).catch(this.#options.onError)
  }

  /** What was gathered of VNodes that made enough steps; the rest is gathered on. */
  #paces(): Pace[] {
    const paces: Pace[] = []
    for (const gathered of this.#gathered.values()) {
      const { run, vnode, pnode, ms, steps, bestMs } = gathered
      if (steps < LEAST_STEPS) continue
      const msPerStep = ms / steps
      paces.push({ ...this.#works.get(run)!.get(vnode)!, pnode, msPerStep, steps, ...(bestMs !== undefined && { bestMs }) })
      Object.assign(gathered, { ms: 0, steps: 0, bestMs: Math.min(bestMs ?? Infinity, msPerStep) })
    }
    return paces
  }

  /** Whether it has been found so often enough in a row. */
  #isSure(pnode: string, isSlower: boolean): boolean {
    const before = this.#found.get(pnode)
    const times = before?.isSlower === isSlower ? before.times + 1 : 1
    this.#found.set(pnode, { isSlower, times })
    return times >= LEAST_TIMES && this.#found.delete(pnode)
  }

  async #rate(paces: readonly Pace[]): Promise<void> {
    const { members, rate } = this.#options
    const speeds = new Map((await members()).map((member): [string, Speed] => [member.pnode, speedOf(member)]))
    for (const [pnode, slowness] of slownessOf(paces, speeds)) {
      const speed = speeds.get(pnode)!
      const gflops = verdict(speed, slowness)
      if (gflops === undefined) this.#found.delete(pnode)
      if (gflops === undefined || !this.#isSure(pnode, gflops !== null && gflops < speed.believed)) continue
      const reason =
        gflops === null ? 'its steps take no longer than they should' : `its steps take ${slowness.toFixed(1)} times as long as they should`
      await rate({ pnode, gflops, reason })
    }
  }
}

const speedOf = ({ gflops, saidGflops = gflops }: Membership): Speed => ({ said: saidGflops, believed: gflops })
