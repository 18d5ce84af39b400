/** What goes wrong, drawn from a seed: a list that can be shortened, so that a failure can be shown with no more faults than it needs. */
import type { RandomStream } from '../../runtime/random.js'
import { CONTROL } from '../../actors/control/channels.js'
import type { Cut, Storm } from './network.js'

/** Names of hosts are `h1`, `h2` …; times are simulated ms. */
export type Fault = { readonly atMs: number } & (
  | { readonly kind: 'crash'; readonly host: string; readonly returnsMs: number; readonly isSilent: boolean }
  | { readonly kind: 'crash-all'; readonly returnsMs: number }
  | { readonly kind: 'worker'; readonly host: string }
  | { readonly kind: 'stuck'; readonly host: string; readonly forMs: number }
  | { readonly kind: 'stop'; readonly host: string; readonly forMs: number }
  | { readonly kind: 'slow'; readonly host: string; readonly factor: number; readonly forMs: number }
  | { readonly kind: 'skew'; readonly host: string; readonly byMs: number }
  | { readonly kind: 'cut'; readonly host: string; readonly way: Way; readonly forMs: number }
  | { readonly kind: 'storm'; readonly storm: Storm; readonly forMs: number }
  | { readonly kind: 'broker'; readonly forMs: number }
  | { readonly kind: 'flap'; readonly host: string }
  | { readonly kind: 'store-refuses'; readonly share: number; readonly forMs: number }
  | { readonly kind: 'store-slow'; readonly byMs: number; readonly forMs: number }
  | { readonly kind: 'store-crash'; readonly forMs: number }
  | { readonly kind: 'control-crash'; readonly forMs: number; readonly losesDisk: boolean }
  | { readonly kind: 'control-stop'; readonly forMs: number }
  | { readonly kind: 'control-split'; readonly forMs: number }
  | { readonly kind: 'rot'; readonly which: number }
  | { readonly kind: 'pause'; readonly forMs: number }
  | { readonly kind: 'join'; readonly host: string }
  | { readonly kind: 'leave'; readonly host: string; readonly returnsMs: number }
)

/** Which connections of a host are cut. */
export type Way = 'both' | 'in' | 'out' | 'bus' | 'store' | 'control' | 'reports' | 'other'

/** Ways that a host's connection to the broker does not go. */
export const UNNOTICED: readonly Way[] = ['store', 'reports', 'other']

export type FaultKind = Fault['kind']

const COMMON = ['crash', 'crash', 'crash', 'worker', 'worker', 'stop', 'cut', 'cut', 'storm', 'flap', 'leave', 'join'] as const
const RARE = [
  'crash-all',
  'stuck',
  'slow',
  'skew',
  'broker',
  'store-refuses',
  'store-slow',
  'store-crash',
  'control-crash',
  'control-stop',
  'control-split',
  'rot',
  'pause',
] as const

/** How long the last fault of a list works, in ms since the beginning. */
export function calmAfter(faults: readonly Fault[]): number {
  return Math.max(0, ...faults.map((fault) => fault.atMs + ('forMs' in fault ? fault.forMs : 'returnsMs' in fault ? fault.returnsMs : 0)))
}

/**
 * @param hosts names of those that are there from the beginning
 * @param spanMs faults begin within so long
 */
export function drawFaults(random: RandomStream, hosts: readonly string[], count: number, spanMs: number): Fault[] {
  const faults: Fault[] = []
  let joined = hosts.length
  while (faults.length < count) {
    const atMs = Math.round(random.uniform() * spanMs)
    // Troubles seldom come alone.
    const together = random.below(5) === 0 ? 2 + random.below(3) : 1
    for (let i = 0; i < together && faults.length < count; i++) {
      const at = atMs + (i > 0 ? random.below(50) : 0)
      const fault = drawFault(random, hosts, at, () => `h${++joined}`)
      faults.push(fault)
      // Whoever sees to a loss dies of it: between what it has written down and what it was about to tell.
      const isNews = fault.kind === 'crash' || fault.kind === 'worker' || fault.kind === 'flap'
      if (isNews && random.below(6) === 0)
        faults.push({
          atMs: at + 20 + random.below(60),
          kind: 'control-crash',
          forMs: 1 + random.below(500),
          losesDisk: random.below(2) === 0,
        })
    }
  }
  return faults.toSorted((a, b) => a.atMs - b.atMs)
}

function drawFault(random: RandomStream, hosts: readonly string[], atMs: number, newcomer: () => string): Fault {
  const pick = <T>(choices: readonly T[]): T => choices[random.below(choices.length)]
  const host = pick(hosts)
  const kind: FaultKind = random.below(5) === 0 ? pick(RARE) : pick([...COMMON, ...RARE])
  /** Mostly short, seldom longer than it takes to be given up. */
  const forMs = [5, 50, 300, 1_000, 4_000, 8_000, 20_000][random.below(7)] * (0.5 + random.uniform())
  switch (kind) {
    case 'crash':
      return { atMs, kind, host, returnsMs: [1, 100, 2_000, 10_000][random.below(4)], isSilent: random.below(3) === 0 }
    case 'crash-all':
      return { atMs, kind, returnsMs: 1 + random.below(5_000) }
    case 'worker':
      return { atMs, kind, host }
    case 'stuck':
    case 'stop':
      return { atMs, kind, host, forMs }
    case 'slow':
      return { atMs, kind, host, factor: 2 + random.below(30), forMs }
    case 'skew':
      return { atMs, kind, host, byMs: random.below(120_000) - 60_000 }
    case 'cut':
      return { atMs, kind, host, way: pick(['both', 'both', 'in', 'out', 'bus', 'store', 'control', 'other']), forMs }
    case 'storm': {
      const share = () => (random.below(2) === 0 ? 0 : random.uniform() * 0.4)
      const storm = { lost: share(), doubled: share(), delayed: share(), delayMs: 1 + random.below(600), corrupted: share() / 4 }
      return { atMs, kind, storm, forMs }
    }
    case 'broker':
    case 'store-crash':
      return { atMs, kind, forMs }
    case 'flap':
      return { atMs, kind, host }
    case 'store-refuses':
      return { atMs, kind, share: 0.05 + random.uniform() * 0.9, forMs }
    case 'store-slow':
      return { atMs, kind, byMs: 10 + random.below(3_000), forMs }
    case 'control-crash':
      return { atMs, kind, forMs: Math.min(forMs, 10_000), losesDisk: random.below(2) === 0 }
    case 'rot':
      return { atMs, kind, which: random.below(64) }
    case 'pause':
      return { atMs, kind, forMs: Math.min(forMs, 3_000) }
    case 'control-split':
    case 'control-stop':
      return { atMs, kind, forMs }
    case 'join':
      return { atMs, kind, host: newcomer() }
    case 'leave':
      return { atMs, kind, host, returnsMs: 500 + random.below(10_000) }
  }
}

/** The directions that are cut. @param other a host that is not `host`, if there is one */
export function cutsOf(host: string, way: Way, other: string | undefined): Cut[] {
  switch (way) {
    case 'both':
      return [{ from: host }, { to: host }]
    case 'in':
      return [{ to: host }]
    case 'out':
      return [{ from: host }]
    case 'bus':
      return [
        { from: host, plane: 'bus' },
        { to: host, plane: 'bus' },
      ]
    case 'store':
      return [
        { from: host, plane: 'store' },
        { to: host, plane: 'store' },
      ]
    case 'control':
      return [
        { from: host, to: CONTROL },
        { from: CONTROL, to: host },
      ]
    case 'reports':
      return [{ from: host, to: CONTROL, plane: 'calls' }]
    case 'other':
      return other === undefined ? [] : [{ from: host, to: other }]
  }
}
