/** A run with everything that can go wrong drawn from a seed. */
import { systemClock } from '../../runtime/clock.js'
import { RandomStream } from '../../runtime/random.js'
import { inlinePool } from '../../runtime/compute/inline-compute.js'
import { computePool } from '../../runtime/compute/thread-compute.js'
import type { ComputePool } from '../../runtime/compute/compute.js'
import { memoryBroker } from '../../runtime/tensor-bus/memory-bus.js'
import type { LocalSwarm } from '../../actors/local-swarm.js'
import { readEvents } from '../../actors/run/event-log.js'
import { local, type Run, type RunResult, train } from '../../actors/train.js'
import type { TrainingOptions } from '../../actors/prepare.js'
import type { Stall } from '../../components/convergence.js'
import type { Network } from '../../components/network.js'
import { stumbling } from './chained-block.js'
import { type BusChaos, chaoticBus } from './chaotic-bus.js'
import { cuttableBus } from './cut-bus.js'
import { shakyStore } from './shaky-store.js'
import { branching, branchingWith, chain, chainsOf, chainWith, openObjects, TOTAL_STEPS, TRAINING, watchedStore } from './small-runs.js'
import { drawTroubles, makeTrouble, type Trouble } from './troubles.js'

export const MACHINES = new URL('../../components/vnode-machine.js', import.meta.url)

export type NetworkName = 'chain' | 'branching'
export type Networks = { readonly [name in NetworkName]: Network }
export const networks: Networks = { chain, branching }

/** The same, whose VNodes stumble over a file of this name. */
export function stumblingNetworks(stone: string): Networks {
  const more = () => [stumbling({ stone })]
  return { chain: chainWith(more), branching: branchingWith(more) }
}

/** What is killed when some VNode first applies a step. */
export interface Kill {
  readonly step: number
  readonly what: 'pnode' | 'worker' | 'all-pnodes' | 'all-workers'
  /** Inside the observation, that is in the middle of a driver's work; else in a later turn. */
  readonly isAtOnce: boolean
}

export interface ChaosPlan {
  readonly seed: number
  readonly network: NetworkName
  readonly pnodes: number
  readonly window: number
  readonly threads: boolean
  readonly returnMs: number
  readonly everySteps: number
  readonly bus: BusChaos
  /** Writes to the store take up to so long, each another time. */
  readonly storeMs: number
  readonly kills: readonly Kill[]
  /** What else goes wrong. */
  readonly troubles: readonly Trouble[]
  /** Standbys of each VNode. */
  readonly replicas: number
}

/** What is left of a run that has ended. */
export interface Outcome {
  readonly hash: string | undefined
  readonly chains: { readonly [vnode: string]: string }
  readonly result: RunResult
  /** What VNodes have decided about stalls, as the run's events tell it. */
  readonly stalls: readonly (Stall & { readonly vnode: string })[]
}

/** @param steps of the run @param kills at most so many @param troubles at most so many */
export function planOf(seed: number, { steps = TOTAL_STEPS, kills = 6, troubles = 0 } = {}): ChaosPlan {
  const plan = killsOf(seed, steps, kills)
  const others = plan.kills.map(({ step }) => step)
  if (troubles === 0) return { ...plan, troubles: [], replicas: 0 }
  const replicas = new RandomStream(seed, 'standbys').below(3) === 0 ? 1 : 0
  return { ...plan, troubles: drawTroubles(seed, { most: troubles, steps, others, threads: plan.threads }), replicas }
}

function killsOf(seed: number, steps: number, kills: number): Omit<ChaosPlan, 'troubles' | 'replicas'> {
  const stream = new RandomStream(seed, 'plan')
  const pick = <T>(...choices: readonly T[]): T => choices[stream.below(choices.length)]
  return {
    seed,
    network: pick('chain', 'branching'),
    pnodes: 1 + stream.below(5),
    window: pick(1, 2, 8),
    // A thread that is lost costs a second of computing until there is another.
    threads: stream.below(4) === 0,
    returnMs: pick(1, 20, 150),
    everySteps: pick(3, 7, 11),
    bus: { lost: pick(0, 0.003, 0.01), doubled: pick(0, 0.1, 0.5), delayed: pick(0, 0.2, 0.7), delayMs: pick(1, 5, 20) },
    storeMs: pick(0, 0, 10, 60),
    kills: Array.from({ length: 1 + stream.below(kills) }, () => ({
      step: 1 + stream.below(steps),
      what: pick('pnode', 'pnode', 'worker', 'worker', 'all-pnodes', 'all-workers'),
      isAtOnce: stream.below(2) === 0,
    })),
  }
}

/** Nothing goes wrong. */
export async function undisturbed(name: NetworkName, training: TrainingOptions = TRAINING, among = networks): Promise<Outcome> {
  const { store } = openObjects()
  return outcomeOf(train(among[name], training, { on: local({ pnodes: 2, threads: false }), store }, { id: 'undisturbed' }), store)
}

export interface ChaosOptions {
  readonly limitMs?: number
  readonly training?: TrainingOptions
  /** Those whose VNodes stumble over `stone`: for plans with troubles. */
  readonly stumbling?: { readonly networks: Networks; readonly stone: string }
}

/** Carries a plan out. `struck` has what came about in time. @throws with the plan if it is not done after `limitMs` */
export async function withChaos(
  plan: ChaosPlan,
  pools: { readonly inline: ComputePool; readonly threads: ComputePool },
  { limitMs = 45_000, training = TRAINING, stumbling: stumbles }: ChaosOptions = {},
): Promise<Outcome & { readonly struck: readonly string[] }> {
  const { seed, pnodes, window, threads, returnMs, everySteps, replicas } = plan
  const delays = new RandomStream(seed, 'store')
  const shaky = shakyStore(openObjects().store, new RandomStream(seed, 'refusals'))
  const store = watchedStore(shaky.store, async (_key, when) => {
    if (plan.storeMs > 0 && when === 'before') await systemClock.sleep(delays.below(plan.storeMs))
  })
  const bus = cuttableBus(chaoticBus(memoryBroker().connect, seed, plan.bus))
  const stream = new RandomStream(seed, 'kills')
  const over = new AbortController()
  let swarm: LocalSwarm | undefined
  let furthest = 0
  const struck: string[] = []
  const kill = ({ what }: Kill) => {
    const candidates = swarm!.busyPNodes.length > 0 ? swarm!.busyPNodes : swarm!.pnodes
    const victims = what.startsWith('all') ? swarm!.pnodes : candidates.slice(stream.below(candidates.length)).slice(0, 1)
    if (victims.length > 0) struck.push(what)
    for (const victim of victims) {
      if (what.endsWith('workers') || what === 'worker') swarm!.killWorker(victim)
      else swarm!.killPNode(victim).catch(() => undefined)
    }
  }
  const { stone = '' } = stumbles ?? {}
  const trouble = async (made: Trouble) => {
    const hasCome = await makeTrouble(made, { swarm: swarm!, bus, shaky, stone, stream, over: over.signal })
    if (hasCome) struck.push(made.what)
  }
  const left = [
    ...plan.kills.map((one) => ({ step: one.step, isAtOnce: one.isAtOnce, strike: () => kill(one) })),
    ...plan.troubles.map((one) => ({ step: one.step, isAtOnce: false, strike: () => void trouble(one) })),
  ].toSorted((a, b) => a.step - b.step)
  const run = train(
    (stumbles?.networks ?? networks)[plan.network],
    training,
    { on: local({ pnodes, window, threads, returnMs }), store, checkpoint: { everySteps }, replicas },
    {
      id: `chaos-${seed}`,
      // Names of PNodes are unique in a pool.
      pool: renamed(threads ? pools.threads : pools.inline, `seed-${seed}-${crypto.randomUUID()}-`),
      connect: bus.connect,
      onSwarm: (started) => (swarm = started),
      onObservation(observation) {
        if (observation.type !== 'applied') return
        furthest = Math.max(furthest, observation.entry.step)
        while (swarm && left.length > 0 && left[0].step <= furthest) {
          const next = left.shift()!
          if (next.isAtOnce) next.strike()
          else setImmediate(() => next.strike())
        }
      },
    },
  )
  const limit = new AbortController()
  const tooLong = new Promise<never>((_resolve, reject) => {
    const timer = setTimeout(() => {
      const vnodes = JSON.stringify(swarm?.monitor.vnodes())
      reject(new Error(`not done after ${limitMs} ms: ${JSON.stringify(plan)}; at step ${swarm?.monitor.step}; ${vnodes}`))
    }, limitMs)
    limit.signal.addEventListener('abort', () => clearTimeout(timer))
  })
  try {
    return { ...(await Promise.race([outcomeOf(run, store), tooLong])), struck }
  } finally {
    limit.abort()
    over.abort()
  }
}

/** The pools that runs of one test file share, since a thread is slow to start. */
export function openPools() {
  const inline = inlinePool({ machines: MACHINES })
  const threads = computePool({ machines: MACHINES })
  return { inline, threads, close: async () => void (await Promise.all([inline.close(), threads.close()])) }
}

/** A pool as it is, its computes under other names. The runs that share it do not close it. */
export function renamed(pool: ComputePool, prefix: string): ComputePool {
  return { compute: (name) => pool.compute(`${prefix}${name}`), close: async () => undefined }
}

async function outcomeOf(run: Run, store: Parameters<typeof chainsOf>[0]): Promise<Outcome> {
  const result = await run.result
  return { hash: result.hash, chains: await chainsOf(store, run.id), result, stalls: await stallsOf(store, run.id) }
}

async function stallsOf(store: Parameters<typeof chainsOf>[0], run: string): Promise<Outcome['stalls']> {
  const stalls: (Stall & { readonly vnode: string })[] = []
  for await (const { events } of readEvents(store, run)) {
    for (const event of events) {
      if (event.type !== 'stalled') continue
      const { v: _v, run: _run, atMs: _atMs, type: _type, ...stall } = event
      stalls.push(stall)
    }
  }
  return stalls
}
