/** The simulated network: each pair of processes has a way of its own in each direction, which can be slow, lossy, or cut. */
import type { RandomStream } from '../../runtime/random.js'
import type { Process, World } from './world.js'

/** What travels: frames and signals over the broker, calls to actors, requests to the object store. */
export type Plane = 'bus' | 'calls' | 'answers' | 'store'

/** A direction that nothing passes; undefined: any name. */
export interface Cut {
  readonly from?: string
  readonly to?: string
  readonly plane?: Plane
}

/** What happens to messages of the bus. Shares of them, 0 to 1. */
export interface Storm {
  readonly lost: number
  readonly doubled: number
  readonly delayed: number
  /** The longest delay, in ms; the mean, if it is exponential. */
  readonly delayMs: number
  readonly isExponential?: boolean
  readonly corrupted: number
}

/**
 * Learning@home's setting (Ryabinin and Gusev, NeurIPS 2020): a tenth of the requests fail, and latency is exponential with a mean of 1 s. Here of
 * all messages over the broker, heartbeats too.
 */
export const LEARNING_AT_HOME: Storm = { lost: 0.1, doubled: 0, delayed: 1, delayMs: 1_000, isExponential: true, corrupted: 0 }

/** What became of a message. */
export interface Arrival {
  readonly isCorrupted: boolean
  readonly isLost: boolean
}

/** What large messages cost. Each process sends over one line, and receives over another, one message at a time. */
export interface Sizes {
  /** Of a host's line, in each direction. */
  readonly bytesPerMs: number
  /** Of the object store, for all hosts together. */
  readonly putBytesPerMs: number
  readonly getBytesPerMs: number
  readonly frameBytes: number
  readonly stateBytes: number
}

/** When the lines of a process are free again, in simulated ms. */
interface Lines {
  outAt: number
  inAt: number
}

interface Link {
  readonly baseMs: number
  readonly jitterMs: number
  readonly stream: RandomStream
  /** Messages of one direction arrive in order, but for storms. */
  freeAt: number
}

const ARRIVED: Arrival = { isCorrupted: false, isLost: false }
/** Name of the object store's process. */
export const STORE = 'store'
/** To itself, in ms. */
const LOOPBACK_MS = 0.005

export class Network {
  readonly #world: World
  readonly #links = new Map<string, Link>()
  readonly #cuts = new Set<Cut>()
  readonly #storms = new Set<Storm>()
  readonly #latency: { readonly leastMs: number; readonly mostMs: number; readonly jitterMs: number }
  readonly #byIndex: Link[][] = []
  readonly #sizes: Sizes | undefined
  readonly #lines: Lines[] = []

  /** @param sizes default: nothing takes longer for being large */
  constructor(world: World, latency: { readonly leastMs: number; readonly mostMs: number; readonly jitterMs: number }, sizes?: Sizes) {
    this.#world = world
    this.#latency = latency
    this.#sizes = sizes
  }

  /** How long something takes to travel for its size, and for what its lines carry before it, in ms. */
  transferMs(from: Process, to: Process, what: 'frame' | 'state'): number {
    if (!this.#sizes || from === to) return 0
    const { now } = this.#world
    const { frameBytes, stateBytes, bytesPerMs, putBytesPerMs, getBytesPerMs } = this.#sizes
    const bytes = what === 'frame' ? frameBytes : stateBytes
    const sender = (this.#lines[from.index] ??= { outAt: 0, inAt: 0 })
    const receiver = (this.#lines[to.index] ??= { outAt: 0, inAt: 0 })
    sender.outAt = Math.max(sender.outAt, now) + bytes / (from.name === STORE ? getBytesPerMs : bytesPerMs)
    // It comes in while it goes out, unless something else is coming in.
    receiver.inAt = Math.max(receiver.inAt, now) + bytes / (to.name === STORE ? putBytesPerMs : bytesPerMs)
    return Math.max(sender.outAt, receiver.inAt) - now
  }

  /** Cuts a direction; returns what heals it. */
  cut(cut: Cut): () => void {
    this.#cuts.add(cut)
    return () => this.#cuts.delete(cut)
  }

  storm(storm: Storm): () => void {
    this.#storms.add(storm)
    return () => this.#storms.delete(storm)
  }

  isCut(from: string, to: string, plane: Plane): boolean {
    for (const cut of this.#cuts) {
      if ((cut.from ?? from) === from && (cut.to ?? to) === to && (cut.plane ?? plane) === plane && from !== to) return true
    }
    return false
  }

  /**
   * Something over a connection: it arrives once, in order, whole; or, where the way is cut, never. Returns whether it will.
   * @param apartMs what it takes longer over a connection of its own: nothing waits behind it
   */
  send(from: Process, to: Process, plane: Plane, arrive: () => void, extraMs = 0, apartMs = 0): boolean {
    if (this.#cuts.size > 0 && this.isCut(from.name, to.name, plane)) return false
    this.#world.at(this.#arrivalTime(from, to, extraMs) + apartMs, to, arrive)
    return true
  }

  /** A message over the broker, which may be lost, doubled, delayed or damaged. */
  publish(from: Process, to: Process, arrive: (arrival: Arrival) => void, extraMs = 0): void {
    const world = this.#world
    const at = this.#arrivalTime(from, to, extraMs)
    const isCut = this.#cuts.size > 0 && this.isCut(from.name, to.name, 'bus')
    if (isCut) {
      world.at(at, to, () => arrive({ isCorrupted: false, isLost: true }))
      return
    }
    if (this.#storms.size === 0 || from === to) {
      world.at(at, to, () => arrive(ARRIVED))
      return
    }
    const { stream } = this.#link(from, to)
    for (const { lost, doubled, delayed, delayMs, isExponential, corrupted } of this.#storms) {
      const fate = stream.uniform()
      if (fate < lost) {
        world.at(at, to, () => arrive({ isCorrupted: false, isLost: true }))
        return
      }
      const isCorrupted = stream.uniform() < corrupted
      const late = stream.uniform() < delayed ? delayMs * (isExponential ? exponential(stream) : stream.uniform()) : 0
      world.at(at + late, to, () => arrive({ isCorrupted, isLost: false }))
      if (stream.uniform() < doubled) world.at(at + stream.uniform() * delayMs, to, () => arrive(ARRIVED))
      // One storm decides; the others would only do the same again.
      return
    }
  }

  #arrivalTime(from: Process, to: Process, extraMs: number): number {
    const { now } = this.#world
    if (from === to) return now + LOOPBACK_MS + extraMs
    const link = this.#link(from, to)
    const at = now + link.baseMs + (link.jitterMs > 0 ? link.stream.uniform() * link.jitterMs : 0) + extraMs
    link.freeAt = Math.max(link.freeAt, at)
    return link.freeAt
  }

  #link(from: Process, to: Process): Link {
    const row = (this.#byIndex[from.index] ??= [])
    return (row[to.index] ??= this.#linkOf(from.name, to.name))
  }

  #linkOf(from: string, to: string): Link {
    const key = `${from} ${to}`
    const known = this.#links.get(key)
    if (known) return known
    const stream = this.#world.stream('link', from, to)
    const { leastMs, mostMs, jitterMs } = this.#latency
    const link = { baseMs: leastMs + stream.uniform() * (mostMs - leastMs), jitterMs, stream, freeAt: 0 }
    this.#links.set(key, link)
    return link
  }
}

/**
 * Exponential with mean 1, by comparisons alone (von Neumann, 1951): a logarithm has other bits elsewhere. Of a falling run of numbers that is odd, the
 * first one; each run that is even adds 1.
 */
export function exponential(stream: RandomStream): number {
  for (let whole = 0; ; whole++) {
    const first = stream.uniform()
    let length = 1
    for (let before = first, next = stream.uniform(); next < before; before = next, next = stream.uniform()) length++
    if (length % 2 === 1) return whole + first
  }
}
