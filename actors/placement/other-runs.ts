/** What PNodes have of other runs than the one that asks for a place: where from heartbeats, how much from what those runs asked for. */
import { SOURCE } from '../../components/definition.js'
import type { Load } from './assignment.js'
import type { Calls, Decision, Demand, Membership } from '../calls.js'

type Request = Calls['Placement']['place'][0]

interface Asked {
  readonly atMs: number
  readonly demands: ReadonlyMap<string, Demand>
  /** Where its VNodes were, or were to go. */
  readonly places: ReadonlyMap<string, string>
}

/**
 * Remembers what runs asked for, while anybody has something of them. Forgotten with the actor: then their PNodes say what they need, and the work of
 * each of their VNodes counts as the mean of those that ask.
 */
export class OtherRuns {
  readonly #asked = new Map<string, Asked>()
  /** By PNode and run, in bytes. */
  readonly #heard = new Map<string, { readonly [run: string]: number }>()
  readonly #freshMs: number

  /** @param freshMs how long what was decided counts though no heartbeat has said so yet */
  constructor(freshMs: number) {
    this.#freshMs = freshMs
  }

  /** A PNode says what it has. */
  heard(pnode: string, placedBytes: { readonly [run: string]: number }): void {
    this.#heard.set(pnode, placedBytes)
  }

  decided({ run, demands, staying }: Request, decisions: readonly Decision[], members: readonly Membership[], nowMs: number): void {
    this.#asked.set(run, {
      atMs: nowMs,
      demands: new Map(demands.map((demand) => [demand.vnode, demand])),
      places: new Map([...Object.entries(staying), ...decisions.map(({ vnode, pnode }) => [vnode, pnode] as const)]),
    })
    const hosted = new Set(members.flatMap(({ vnodes }) => vnodes.map((vnode) => split(vnode).run)))
    for (const [other, { atMs }] of this.#asked) if (!hosted.has(other) && nowMs - atMs >= this.#freshMs) this.#asked.delete(other)
  }

  /** By PNode, what it has of runs other than this one. */
  beside({ run, demands }: Request, members: readonly Membership[], nowMs: number): Map<string, Load> {
    const hosted = new Map(members.map(({ pnode, vnodes }) => [pnode, new Set(vnodes)]))
    for (const [other, { atMs, places }] of this.#asked) {
      if (nowMs - atMs < this.#freshMs) for (const [vnode, pnode] of places) hosted.get(pnode)?.add(`${other}/${vnode}`)
    }
    const mean = meanOf(demands)
    const load = new Map<string, Load>()
    for (const [pnode, names] of hosted) {
      const others = [...names].map(split).filter((name) => name.run !== run)
      if (others.length === 0) continue
      const heard = this.#heard.get(pnode) ?? {}
      const unknown = new Set(others.flatMap(({ run: other }) => (this.#asked.has(other) || !(other in heard) ? [] : [other])))
      const heardBytes = [...unknown].reduce((sum, other) => sum + heard[other], 0)
      const sizes = others.map((name) => {
        const size = this.#asked.get(name.run)?.demands.get(name.vnode) ?? (name.vnode === SOURCE ? undefined : mean)
        return unknown.has(name.run) ? { cost: size?.cost ?? 0, memoryBytes: 0 } : size
      })
      load.set(pnode, {
        vnodes: others.length,
        cost: sizes.reduce((sum, size) => sum + (size?.cost ?? 0), 0),
        memoryBytes: sizes.reduce((sum, size) => sum + (size?.memoryBytes ?? 0), heardBytes),
      })
    }
    return load
  }
}

/** The parts of `<run>/<vnode>`. */
function split(name: string): { readonly run: string; readonly vnode: string } {
  const end = name.indexOf('/')
  return { run: name.slice(0, end), vnode: name.slice(end + 1) }
}

function meanOf(demands: readonly Demand[]): Pick<Demand, 'cost' | 'memoryBytes'> | undefined {
  const vnodes = demands.filter(({ vnode }) => vnode !== SOURCE)
  if (vnodes.length === 0) return undefined
  const sum = (of: (demand: Demand) => number) => vnodes.reduce((total, demand) => total + of(demand), 0)
  return { cost: sum(({ cost }) => cost) / vnodes.length, memoryBytes: Math.ceil(sum(({ memoryBytes }) => memoryBytes) / vnodes.length) }
}
