/** Where the time of a simulated run goes: at each look the useful work since the last one, what the hosts could have done, and why they did less. */
import type { Observation } from '../actors/reports.js'
import type { Head } from '../runtime/head.js'
import { SOURCE } from '../components/definition.js'
import { followed } from '../runtime/followers.js'
import type { SimulatedCluster } from '../test/simulation/cluster.js'
import type { Spectator } from '../test/simulation/simulate.js'
import type { World } from '../test/simulation/world.js'

/** Looked at so often, in simulated ms. */
const LOOK_MS = 250

/**
 * Why less was done than could have been. The first that is true of any VNode counts:
 * - `start`: the run has not begun yet;
 * - `detection`: its PNode is gone, and it has no other;
 * - `restore`: it is not restored yet where it is now;
 * - `replay`: it applies again what was applied before;
 * - `moves`: it is about to move for balance, and may stand still;
 * - `balance`: PNodes have more VNodes than need be;
 * - `rest`: none of these.
 */
export const CAUSES = ['start', 'detection', 'restore', 'replay', 'moves', 'balance', 'rest'] as const
export type Cause = (typeof CAUSES)[number]

export interface AccountsOptions {
  readonly vnodes: readonly string[]
  /** Standbys of each VNode. */
  readonly standbys: number
  /** Steps in a simulated ms that the hosts that are there could do without faults. */
  readonly possible: (atMs: number) => { readonly stepsPerMs: number; readonly nodes: number }
}

interface Place {
  /** Of the last `restored`. */
  term: number
  applied: number
  /** The last step that it has ever applied. */
  frontier: number
  isAskedToHold: boolean
}

export class Accounts implements Spectator {
  readonly lost: { [cause in Cause]: number } = { start: 0, detection: 0, restore: 0, replay: 0, moves: 0, balance: 0, rest: 0 }
  /** How long each was the case, in ms. */
  readonly lasted: { [cause in Cause]: number } = { start: 0, detection: 0, restore: 0, replay: 0, moves: 0, balance: 0, rest: 0 }
  possible = 0
  useful = 0
  /** VNodes restored; steps of VNodes that were applied, and those of them that had been before. */
  restored = 0
  applied = 0
  replayed = 0
  readonly #options: AccountsOptions
  readonly #places: Map<string, Place>
  #work = 0

  constructor(options: AccountsOptions) {
    this.#options = options
    this.#places = new Map(options.vnodes.map((id) => [id, { term: 0, applied: 0, frontier: 0, isAskedToHold: false }]))
  }

  begin(world: World, cluster: SimulatedCluster, head: () => Head | undefined): void {
    const look = () => {
      this.#look(world.now - LOOK_MS, cluster, head())
      world.after(LOOK_MS, undefined, look)
    }
    world.after(LOOK_MS, undefined, look)
  }

  onObservation(observation: Observation): void {
    const place = this.#places.get(observation.vnode)
    if (!place) return
    if (observation.type === 'restored') {
      Object.assign(place, { term: observation.term, applied: observation.step, isAskedToHold: false })
      this.restored++
    } else if (observation.type === 'applied') {
      const { step } = observation.entry
      this.applied++
      if (observation.term === place.term) place.applied = step
      if (step <= place.frontier) this.replayed++
      else place.frontier = step
    }
  }

  onCall(target: { readonly id: string }, method: string): void {
    if (method !== 'hold' && method !== 'release') return
    const place = this.#places.get(target.id.slice(target.id.indexOf('/') + 1))
    if (place) place.isAskedToHold = method === 'hold'
  }

  /** Steps that were done, as the mean over the VNodes. */
  get done(): number {
    let sum = 0
    for (const { frontier } of this.#places.values()) sum += frontier
    return sum / this.#places.size
  }

  #look(fromMs: number, cluster: SimulatedCluster, head: Head | undefined): void {
    const work = this.done
    const done = work - this.#work
    this.#work = work
    const { stepsPerMs, nodes } = this.#options.possible(fromMs)
    const could = stepsPerMs * LOOK_MS
    this.possible += could
    this.useful += done
    const cause = this.#cause(cluster, head)
    this.lasted[cause] += LOOK_MS
    const unbalanced = cause === 'rest' ? could * this.#excess(head!, nodes) : 0
    this.lost.balance += unbalanced
    this.lost[cause] += could - done - unbalanced
  }

  #cause(cluster: SimulatedCluster, head: Head | undefined): Cause {
    if (!head || Object.keys(head.directory).length === 0) return 'start'
    const hosts = new Set(cluster.hosts)
    // Nobody waits for a standby.
    const all = Object.entries(head.directory).filter(([id]) => followed(id) === undefined)
    if (all.some(([, { pnode }]) => !hosts.has(pnode))) return 'detection'
    const places = all.flatMap(([vnode, { term }]) => (vnode === SOURCE ? [] : [{ term, place: this.#places.get(vnode)! }]))
    if (places.some(({ term, place }) => place.term !== term))
      return places.every(({ place }) => place.frontier === 0) ? 'start' : 'restore'
    if (places.some(({ place }) => place.applied < place.frontier)) return 'replay'
    if (places.some(({ place }) => place.isAskedToHold)) return 'moves'
    return 'rest'
  }

  /** By what share the fullest PNode makes a step slower than the best division of equal VNodes would. */
  #excess(head: Head, nodes: number): number {
    const counts = new Map<string, number>()
    for (const [vnode, { pnode }] of Object.entries(head.directory)) if (vnode !== SOURCE) counts.set(pnode, (counts.get(pnode) ?? 0) + 1)
    const { vnodes, standbys } = this.#options
    const best = Math.ceil((vnodes.length * (1 + standbys)) / nodes)
    return Math.max(0, 1 - best / Math.max(...counts.values()))
  }
}
