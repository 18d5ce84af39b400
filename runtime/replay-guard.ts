/**
 * Each signed message counts once. A sender numbers its messages; of each of its starts a window of numbers is remembered, so that they may
 * overtake each other on their way, and none comes twice. What is too old for anybody to remember is refused by its time.
 *
 * What is refused here may be said again under a new number (`retryable`): a call that a network has doubled is heard twice, and whoever meant
 * the one that was refused repeats it. So whatever is asked has to be harmless when repeated, as all control messages are.
 */
import type { Clock } from './clock.js'
import { SwarmError } from './errors.js'
import type { Message } from './signed-message.js'

/** Older ones, or ones of the future, are refused, in ms: clocks may differ by a minute (`cluster.clock`), and a call may wait for half of one. */
export const MAX_AGE_MS = 120_000
/** Numbers of one start that may arrive out of order. */
export const REPLAY_WINDOW = 1_024
/** Starts of one sender that are remembered: one every 0.25 s. */
export const MAX_STARTS = 1_024

interface Start {
  highest: number
  /** Bit `n % REPLAY_WINDOW`: number n has come, of the last REPLAY_WINDOW numbers. */
  readonly seen: Uint32Array
  newestMs: number
}

type Numbered = Pick<Message, 'from' | 'incarnation' | 'seq' | 'issuedAtMs' | 'purpose'>

export class ReplayGuard {
  readonly #clock: Clock
  /** By sender, then incarnation. */
  readonly #senders = new Map<string, Map<string, Start>>()
  #sweptAtMs: number

  constructor(clock: Clock) {
    this.#clock = clock
    this.#sweptAtMs = clock.now()
  }

  /** Starts that are remembered. */
  get size(): number {
    return [...this.#senders.values()].reduce((sum, { size }) => sum + size, 0)
  }

  /** Lets a message in whose signature holds, once. @throws `message.expired`, `message.replayed`; both retryable */
  admit(message: Numbered): void {
    const { from, incarnation, seq, issuedAtMs } = message
    const now = this.#clock.now()
    this.#sweep(now)
    const ageMs = now - issuedAtMs
    if (Math.abs(ageMs) > MAX_AGE_MS) {
      const fix = 'Say it again; if that does not help, set the clocks of both machines by a time service'
      const got = `${Math.round(Math.abs(ageMs) / 1000)} s ${ageMs > 0 ? 'old' : 'ahead'}`
      throw late('message.expired', message, { expected: `at most ${MAX_AGE_MS / 1000} s`, got, fix })
    }
    const starts = this.#senders.get(from) ?? new Map<string, Start>()
    const start = starts.get(incarnation) ?? { highest: 0, seen: new Uint32Array(REPLAY_WINDOW / 32), newestMs: issuedAtMs }
    if (starts.size >= MAX_STARTS && !starts.has(incarnation))
      throw late('message.replayed', message, { expected: `at most ${MAX_STARTS} starts in four minutes` })
    if (isSeen(start, seq)) throw late('message.replayed', message, { expected: `a number above ${start.highest}`, got: seq })
    see(start, seq)
    start.newestMs = Math.max(start.newestMs, issuedAtMs)
    starts.set(incarnation, start)
    this.#senders.set(from, starts)
  }

  /** Forgets starts whose messages would all be refused by their time; twice as long, since a clock may be set back. */
  #sweep(now: number): void {
    if (Math.abs(now - this.#sweptAtMs) < MAX_AGE_MS) return
    this.#sweptAtMs = now
    for (const [from, starts] of this.#senders) {
      for (const [incarnation, { newestMs }] of starts) if (now - newestMs > 2 * MAX_AGE_MS) starts.delete(incarnation)
      if (starts.size === 0) this.#senders.delete(from)
    }
  }
}

/** Whether a number has come, or is so old that nobody knows. */
function isSeen({ highest, seen }: Start, seq: number): boolean {
  if (seq > highest) return false
  if (seq <= highest - REPLAY_WINDOW) return true
  const bit = seq % REPLAY_WINDOW
  return (seen[bit >>> 5] & (1 << (bit & 31))) !== 0
}

function see(start: Start, seq: number): void {
  const { seen, highest } = start
  if (seq - highest >= REPLAY_WINDOW) seen.fill(0)
  else
    for (let passed = highest + 1; passed < seq; passed++) {
      const bit = passed % REPLAY_WINDOW
      seen[bit >>> 5] &= ~(1 << (bit & 31))
    }
  const bit = seq % REPLAY_WINDOW
  seen[bit >>> 5] |= 1 << (bit & 31)
  start.highest = Math.max(highest, seq)
}

function late(
  code: 'message.expired' | 'message.replayed',
  { purpose, incarnation }: Numbered,
  parts: { readonly expected: string; readonly got?: string | number; readonly fix?: string },
): SwarmError {
  const what = code === 'message.expired' ? `${purpose} was said at another time` : `${purpose} has been said before`
  return new SwarmError(code, { what, where: incarnation, ...parts, retryable: true })
}
