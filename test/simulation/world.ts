/**
 * Simulated time: everything that happens is an event at a time, in one thread, in an order that the seed alone decides. After each event all
 * promises that can go on do so; nothing else is asynchronous, so equal seeds give equal histories.
 */
import { setFlagsFromString } from 'node:v8'
import { runInThisContext } from 'node:vm'
import type { Clock } from '../../runtime/clock.js'
import { RandomStream } from '../../runtime/random.js'

interface Event {
  at: number
  order: number
  readonly process: Process | undefined
  readonly action: () => void
  /** Place in the heap; −1: it has happened, or was cancelled. */
  place: number
}

/** Runs every microtask that is ready, and those that they make ready. Not to be called from within one. */
const runMicrotasks: () => void = (() => {
  setFlagsFromString('--allow-natives-syntax')
  const checkpoint = runInThisContext('() => %PerformMicrotaskCheckpoint()') as () => void
  // Compiled when it is first called: while the flag is there.
  checkpoint()
  setFlagsFromString('--no-allow-natives-syntax')
  return checkpoint
})()

/** What clocks of the simulation say at its beginning: a day in 2026, in ms since the epoch. */
const EPOCH_MS = 1_767_225_600_000

/** One process of the simulated cluster: nothing of it happens when it is dead, and nothing while it is stopped. */
export class Process {
  readonly name: string
  /** Place in the world's list of processes. */
  readonly index: number
  isAlive = true
  /** Stopped (SIGSTOP) until then, in simulated ms. */
  stoppedUntil = 0
  /** What its clock is wrong by, in ms. */
  skewMs = 0
  /** How many times as long as elsewhere its own work takes. */
  slowness = 1
  readonly clock: Clock
  readonly #onDeath = new Set<() => void>()

  constructor(world: World, name: string, index: number) {
    this.name = name
    this.index = index
    const after = (delayMs: number, callback: () => void) => world.timer(Math.max(0, delayMs), this, callback)
    this.clock = {
      now: () => EPOCH_MS + world.now + this.skewMs,
      after,
      sleep: (delayMs, signal) =>
        new Promise((resolve, reject) => {
          signal?.throwIfAborted()
          const onAbort = () => {
            cancel()
            reject(signal!.reason)
          }
          const cancel = after(delayMs, () => {
            signal?.removeEventListener('abort', onAbort)
            resolve()
          })
          signal?.addEventListener('abort', onAbort, { once: true })
        }),
    }
  }

  /** Ends it as SIGKILL would: it is not told. */
  kill(): void {
    if (!this.isAlive) return
    this.isAlive = false
    for (const listener of this.#onDeath) listener()
    this.#onDeath.clear()
  }

  /** For the parts of the simulated world that hold something for it. */
  onDeath(listener: () => void): void {
    if (this.isAlive) this.#onDeath.add(listener)
    else listener()
  }
}

export class World {
  readonly seed: number
  readonly processes: Process[] = []
  /** Simulated time, in ms since the beginning. */
  now = 0
  /** Events so far. */
  events = 0
  readonly #heap: Event[] = []
  #order = 0
  #trace = 0x811c9dc5

  constructor(seed: number) {
    this.seed = seed
  }

  /** Numbers of their own for each purpose: what is left out of one does not change another. */
  stream(...labels: readonly (string | number)[]): RandomStream {
    return new RandomStream(this.seed, 'simulation', ...labels)
  }

  spawn(name: string): Process {
    const process = new Process(this, name, this.processes.length)
    this.processes.push(process)
    return process
  }

  /** Calls `action` at a time; if it belongs to a process, only while that lives and is not stopped. */
  at(time: number, process: Process | undefined, action: () => void): void {
    this.#push({ at: time, order: this.#order++, process, action, place: -1 })
  }

  after(delayMs: number, process: Process | undefined, action: () => void): void {
    this.at(this.now + delayMs, process, action)
  }

  /** As `after`. Returns what cancels it: most timers are, and none of those that are stays behind. */
  timer(delayMs: number, process: Process | undefined, action: () => void): () => void {
    const event: Event = { at: this.now + delayMs, order: this.#order++, process, action, place: -1 }
    this.#push(event)
    return () => {
      if (event.place >= 0) this.#remove(event)
    }
  }

  /** Notes that something happened, for the hash of the whole history. */
  note(kind: number, a: number, b = 0): void {
    this.#trace = Math.imul(this.#trace ^ kind, 0x01000193)
    this.#trace = Math.imul(this.#trace ^ (a | 0), 0x01000193)
    this.#trace = Math.imul(this.#trace ^ (b | 0), 0x01000193)
    this.#trace ^= this.#trace >>> 15
  }

  /** Hash of everything that has happened, and when. */
  get trace(): string {
    return (this.#trace >>> 0).toString(16).padStart(8, '0')
  }

  /**
   * Lets things happen until `isDone`. Not to be called from within a promise.
   * @returns false if nothing is left to happen before `untilMs`
   */
  run(isDone: () => boolean, untilMs: number): boolean {
    runMicrotasks()
    while (!isDone()) {
      const event = this.#heap[0]
      if (!event || event.at > untilMs) return false
      this.#remove(event)
      const { process, at } = event
      if (process?.isAlive === false) continue
      if (process && process.stoppedUntil > at) {
        event.at = process.stoppedUntil
        event.order = this.#order++
        this.#push(event)
        continue
      }
      this.now = at
      this.events++
      this.note(1, Math.round(at * 1000), process ? process.index : -1)
      event.action()
      runMicrotasks()
    }
    return true
  }

  #push(event: Event): void {
    this.#heap.push(event)
    this.#rise(event, this.#heap.length - 1)
  }

  #remove(event: Event): void {
    const { place } = event
    const last = this.#heap.pop()!
    event.place = -1
    if (last === event) return
    if (place > 0 && isBefore(last, this.#heap[(place - 1) >> 1])) this.#rise(last, place)
    else this.#sink(last, place)
  }

  /** Puts an event at a place of the heap, or above it. */
  #rise(event: Event, place: number): void {
    const heap = this.#heap
    let i = place
    while (i > 0) {
      const parent = (i - 1) >> 1
      if (!isBefore(event, heap[parent])) break
      heap[i] = heap[parent]
      heap[i].place = i
      i = parent
    }
    heap[i] = event
    event.place = i
  }

  /** Puts an event at a place of the heap, or below it. */
  #sink(event: Event, place: number): void {
    const heap = this.#heap
    const { length } = heap
    let i = place
    for (;;) {
      let child = 2 * i + 1
      if (child >= length) break
      if (child + 1 < length && isBefore(heap[child + 1], heap[child])) child++
      if (!isBefore(heap[child], event)) break
      heap[i] = heap[child]
      heap[i].place = i
      i = child
    }
    heap[i] = event
    event.place = i
  }
}

const isBefore = (a: Event, b: Event): boolean => a.at < b.at || (a.at === b.at && a.order < b.order)
