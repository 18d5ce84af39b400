/** What goes wrong with an embedded run besides kills, drawn from a seed: workers that stand still, cuts, false alarms, a shaky store. */
import { systemClock } from '../../runtime/clock.js'
import { RandomStream } from '../../runtime/random.js'
import type { LocalSwarm } from '../../actors/local-swarm.js'
import type { CuttableBus } from './cut-bus.js'
import type { ShakyStore } from './shaky-store.js'
import { layStone } from './stones.js'

/** It begins when some VNode first applies the step; times in ms. */
export type Trouble = { readonly step: number } & (
  | { readonly what: 'worker-hangs' }
  | { readonly what: 'worker-rests'; readonly forMs: number }
  | { readonly what: 'bus-cut'; readonly forMs: number }
  | { readonly what: 'bus-closed' }
  | { readonly what: 'split'; readonly forMs: number }
  | { readonly what: 'false-alarm' }
  | { readonly what: 'store-refuses'; readonly share: number; readonly forMs: number }
  | { readonly what: 'store-slow'; readonly byMs: number; readonly forMs: number }
  | { readonly what: 'control' }
  | { readonly what: 'joins' }
)

const KINDS = [
  'worker-rests',
  'bus-cut',
  'bus-cut',
  'bus-closed',
  'split',
  'split',
  'false-alarm',
  'store-refuses',
  'store-slow',
  'control',
  'joins',
] as const

export interface TroubleOptions {
  /** At most so many. */
  readonly most: number
  /** Of the run. */
  readonly steps: number
  /** Steps at which something happens anyway: troubles seldom come alone. */
  readonly others: readonly number[]
  /** Whether workers are threads: only then may one of them hang. */
  readonly threads: boolean
}

export function drawTroubles(seed: number, { most, steps, others, threads }: TroubleOptions): Trouble[] {
  const stream = new RandomStream(seed, 'troubles')
  const pick = <T>(choices: readonly T[]): T => choices[stream.below(choices.length)]
  // One at most: it takes the ten seconds that a step is waited for.
  const hangs = threads && stream.below(3) === 0
  const drawn = Array.from({ length: stream.below(most + 1) }, (): Trouble => {
    const step = stream.below(3) === 0 ? pick(others) : 1 + stream.below(steps)
    const forMs = pick([20, 150, 600, 1_500]) * (0.5 + stream.uniform())
    const what = pick(KINDS)
    switch (what) {
      case 'store-refuses':
        return { step, what, share: 0.1 + stream.uniform() * 0.9, forMs }
      case 'store-slow':
        return { step, what, byMs: 20 + stream.below(300), forMs }
      case 'worker-rests':
      case 'bus-cut':
      case 'split':
        return { step, what, forMs }
      default:
        return { step, what }
    }
  })
  return hangs ? [...drawn, { step: 1 + stream.below(steps), what: 'worker-hangs' }] : drawn
}

/** What troubles are made with. */
export interface TroubledRun {
  readonly swarm: LocalSwarm
  readonly bus: CuttableBus
  readonly shaky: ShakyStore
  /** Over which its VNodes stumble. */
  readonly stone: string
  readonly stream: RandomStream
  /** Aborted when the run is over. */
  readonly over: AbortSignal
}

/** Makes a trouble, and takes it back in time. Never rejects. Resolves with false when the run was over before it came about. */
export async function makeTrouble(trouble: Trouble, { swarm, bus, shaky, stone, stream, over }: TroubledRun): Promise<boolean> {
  const candidates = swarm.busyPNodes.length > 0 ? swarm.busyPNodes : swarm.pnodes
  const pnode = candidates[stream.below(Math.max(1, candidates.length))] ?? 'nobody'
  const rest = (ms: number) => systemClock.sleep(ms, over).catch(() => undefined)
  switch (trouble.what) {
    case 'worker-hangs':
      return layStone(stone, Infinity, over)
    case 'worker-rests':
      return layStone(stone, trouble.forMs, over)
    case 'bus-cut': {
      const mend = bus.cut(pnode)
      await rest(trouble.forMs)
      mend()
      break
    }
    case 'bus-closed':
      bus.abort(pnode)
      break
    case 'split': {
      const mend = bus.cut(pnode)
      await swarm.giveUp(pnode).catch(() => undefined)
      await rest(trouble.forMs)
      mend()
      break
    }
    case 'false-alarm':
      await swarm.giveUp(pnode).catch(() => undefined)
      break
    case 'store-refuses':
      shaky.refusedShare = trouble.share
      await rest(trouble.forMs)
      shaky.refusedShare = 0
      break
    case 'store-slow':
      shaky.slowMs = trouble.byMs
      await rest(trouble.forMs)
      shaky.slowMs = 0
      break
    case 'control':
      await swarm.restartControl().catch(() => undefined)
      break
    case 'joins':
      await swarm.add(`newcomer-${trouble.step}`).catch(() => undefined)
      break
  }
  return true
}
