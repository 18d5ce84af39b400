/** One seed, from its cluster and its faults to its end. */
import { RandomStream } from '../../runtime/random.js'
import type { ActorRef } from '../../runtime/actor-system/actor-system.js'
import { type SwarmError } from '../../runtime/errors.js'
import type { Head } from '../../runtime/head.js'
import type { Observation } from '../../actors/reports.js'
import { type ClusterPlan, type HostPlan, SimulatedCluster } from './cluster.js'
import type { Evidence } from '../../actors/checks/evidence.js'
import { calmAfter, drawFaults, type Fault } from './faults.js'
import { AllInvariants } from './all-invariants.js'
import { PROGRESS_BESIDE_LIARS_MS, PROGRESS_MS, Violation } from './invariants.js'
import { PANELS } from '../../actors/trust/panel.js'
import type { Liars, Tally } from './justice.js'
import { drawRun } from './simulated-run.js'
import { World } from './world.js'

export interface Plan {
  readonly seed: number
  readonly cluster: ClusterPlan
  readonly faults: readonly Fault[]
  /** Absent: everybody is honest. */
  readonly liars?: Liars
}

export interface Outcome {
  readonly seed: number
  /** Hash of everything that happened, and when. */
  readonly trace: string
  readonly events: number
  /** Steps of all VNodes, replays too. */
  readonly stepsApplied: number
  /** Standbys that went on with what they had followed. */
  readonly takeovers: number
  readonly simulatedMs: number
  /** When something new came about for the last time: the run was done. */
  readonly doneMs: number
  readonly faults: readonly Fault[]
  readonly hosts: number
  /** Beside liars: who was convicted. */
  readonly tally?: Tally
  /** Why. */
  readonly evidence?: readonly Evidence[]
}

/** Somebody who looks on. */
export interface Spectator {
  /** Everything is set up, nothing has happened yet. */
  begin?(world: World, cluster: SimulatedCluster, head: () => Head | undefined): void
  onObservation?(observation: Observation): void
  /** A call has reached a host. */
  onCall?(target: ActorRef, method: string): void
  /** An object is stored. */
  onPut?(key: string, bytes: Uint8Array): void
}

export interface CarryOutOptions {
  /** It is left there, in simulated ms, wherever it is then. Default: it is carried out to its end. */
  readonly untilMs?: number
  /** So it is as soon as somebody was convicted. Default false. */
  readonly isLeftAtConviction?: boolean
  /** Default 1,000,000. */
  readonly maxEvents?: number
  readonly spectator?: Spectator
}

/** Memory and progress are looked at this often, in simulated ms: less often, and what is too much for a moment is seen by chance. */
const LOOK_MS = 50
/** What was told last is in the log so long after the end, in simulated ms. */
const SETTLED_MS = 1_000
const PLENTY_BYTES = 1e9
/** Events of one simulation: more is a loop that time does not pass in. */
const MAX_EVENTS = 1_000_000

/** In two of seven clusters segments are audited: all of them, or some. */
const AUDITS = [0, 0, 1, 0, 0, 0.3, 0] as const

/** A cluster of 3 to 200 hosts, mostly small, with a run and what goes wrong with it. */
export function drawPlan(seed: number): Plan {
  const random = new RandomStream(seed, 'plan')
  const size = random.below(50)
  const hostCount = size === 0 ? 50 + random.below(151) : size < 6 ? 12 + random.below(20) : 3 + random.below(7)
  const vnodeCount = hostCount > 40 ? 20 + random.below(20) : 1 + random.below(8)
  const steps = 3 + random.below(hostCount > 40 ? 12 : 50)
  // Every third cluster has standbys.
  const replicas = seed % 3 === 1 ? 1 + (seed % 2) : 0
  const run = drawRun(
    random,
    {
      vnodes: vnodeCount,
      steps,
      isPoisoned: seed % 8 === 3,
      replicas,
      audits: AUDITS[seed % AUDITS.length],
      isRefined: seed % 5 === 2,
      isGrouped: seed % 7 === 5,
      hasFeedback: seed % 4 === 1,
      isWatched: seed % 2 === 1,
    },
    seed,
  )
  const pace = [0.05, 0.5, 3][random.below(3)]
  const leastMs = [0.05, 1, 20][random.below(3)]
  const latency = { leastMs, mostMs: leastMs * (1 + random.below(5)), jitterMs: random.below(2) * leastMs }
  const hasStranger = random.below(12) === 0
  const hosts = Array.from({ length: hostCount }, (_, i): HostPlan => {
    const speed = 1 + random.uniform() * 4
    return {
      name: `h${i + 1}`,
      msPerCost: pace / speed,
      gflops: speed * 10,
      memoryBytes: PLENTY_BYTES,
      computeClass: hasStranger && i === hostCount - 1 ? 'simulated | other' : 'simulated | integers',
    }
  })
  const spanMs = expectedMs(run.timetable.totalPositions, pace, latency.mostMs)
  const faultCount = seed % 20 === 0 ? 0 : 1 + random.below(random.below(4) === 0 ? 25 : 8)
  const faults = drawFaults(
    new RandomStream(seed, 'faults'),
    hosts.map(({ name }) => name),
    faultCount,
    spanMs,
  )
  const others = drawOthers(seed, spanMs, hostCount)
  // In every second cluster nobody helps a run that stands still: none should come to that by itself.
  const standstillMs = seed % 2 === 0 ? undefined : Infinity
  return { seed, cluster: { run, ...(others.length > 0 && { others }), hosts, latency, standstillMs }, faults }
}

/** In every fourth cluster one or two small runs more, which begin while the first is under way, or after it. */
function drawOthers(seed: number, spanMs: number, hostCount: number): NonNullable<ClusterPlan['others']> {
  if (seed % 4 !== 2 || hostCount > 40) return []
  const random = new RandomStream(seed, 'others')
  return Array.from({ length: 1 + random.below(2) }, (_, i) => {
    const size = {
      vnodes: 1 + random.below(4),
      steps: 3 + random.below(20),
      isPoisoned: random.below(6) === 0,
      isRefined: random.below(3) === 0,
      hasFeedback: seed % 3 === 0,
    }
    return { run: { ...drawRun(random, size, seed + i + 1), id: `other-${i + 1}` }, atMs: 1 + random.uniform() * spanMs }
  })
}

/** About how long a run takes, in ms: faults that come later meet nobody. */
export function expectedMs(positions: number, pace: number, latencyMs: number): number {
  return 300 + positions * (10 * pace + 2 * latencyMs)
}

/** Carries a plan out. Not to be called from within a promise. @throws Violation */
export function carryOut(
  { seed, cluster: plan, faults, liars }: Plan,
  { untilMs = Infinity, isLeftAtConviction = false, maxEvents = MAX_EVENTS, spectator = {} }: CarryOutOptions = {},
): Outcome {
  const world = new World(seed)
  const classes = new Map(plan.hosts.map(({ name, computeClass }) => [name, computeClass]))
  const runs = [plan.run, ...(plan.others ?? []).map(({ run }) => run)]
  const invariants = new AllInvariants(
    runs,
    (host) => classes.get(host) ?? plan.hosts[0].computeClass,
    () => world.now,
    liars,
  )
  const errors: string[] = []
  const { watch } = invariants
  const cluster = new SimulatedCluster(world, plan, {
    ...watch,
    onObservation: (host, observation) => {
      watch.onObservation(host, observation)
      spectator.onObservation?.(observation)
    },
    onCall: (to, target, method, argument) => {
      watch.onCall(to, target, method, argument)
      spectator.onCall?.(target, method)
    },
    onPut: (key, bytes, writer) => {
      watch.onPut(key, bytes, writer)
      spectator.onPut?.(key, bytes)
    },
    onError: (process, error: SwarmError) => {
      errors.push(`${process}: ${error.code} ${error.message}`)
      // One of them says so on purpose.
      if (error.code === 'internal' && !liars?.attacks.has(process)) invariants.fail(`${process}: ${error.message}`)
    },
  })
  spectator.begin?.(world, cluster, () => invariants.head)
  cluster.begin()
  for (const fault of faults) world.at(fault.atMs, undefined, () => cluster.strike(fault))
  const calmMs = calmAfter(faults)
  // Where liars are believed so many may be out of the run for good that nobody is left for a panel: then it waits for somebody new.
  const isStranded = () => liars?.mayWrong === true && plan.hosts.length - (invariants.head?.excluded?.length ?? 0) < PANELS[1]
  let isLeftStranded = false
  const look = () => {
    invariants.checkMemory(cluster)
    const sinceMs = world.now - Math.max(invariants.progressAt, calmMs)
    if (sinceMs > PROGRESS_BESIDE_LIARS_MS && isStranded()) isLeftStranded = true
    else if (sinceMs > (liars ? PROGRESS_BESIDE_LIARS_MS : PROGRESS_MS))
      invariants.fail(`nothing new for ${(sinceMs / 1000).toFixed(0)} s: ${invariants.describe()}; ${errors.slice(-3).join('; ')}`)
    world.after(LOOK_MS, undefined, look)
  }
  look()
  const isDone = () => {
    invariants.check()
    if (isLeftStranded || (isLeftAtConviction && invariants.evidence.length > 0)) return true
    if (world.events > maxEvents) throw new Violation(`no end after ${world.events} events: ${invariants.describe()}`)
    return invariants.areDone && world.now > Math.max(calmMs, invariants.lastProgressAt + SETTLED_MS)
  }
  const outcome = (): Outcome => ({
    seed,
    trace: world.trace,
    events: world.events,
    stepsApplied: invariants.stepsApplied,
    takeovers: invariants.takeovers,
    simulatedMs: world.now,
    doneMs: invariants.lastProgressAt,
    faults,
    hosts: plan.hosts.length,
    ...(liars && { tally: invariants.tally, evidence: invariants.evidence }),
  })
  const isAtItsEnd = world.run(isDone, untilMs)
  const isLeft = (isLeftStranded || isLeftAtConviction) && !invariants.areDone
  if (isLeft || (!isAtItsEnd && untilMs < Infinity)) {
    invariants.check()
    return outcome()
  }
  let isChecked = false
  let failure: Error | undefined
  // What the store refuses of the log is not written again.
  const isLogWhole = !faults.some(({ kind }) => kind === 'store-refuses' || kind === 'store-crash')
  invariants.checkEnd(cluster.store.objects, { isLogWhole }).then(
    () => (isChecked = true),
    (error: Error) => {
      failure = error
      isChecked = true
    },
  )
  world.run(() => isChecked, world.now + 60_000)
  if (failure !== undefined) throw new Violation(`something cannot be read at the end: ${failure.message}`)
  if (!isChecked) throw new Violation('the store does not answer at the end')
  invariants.check()
  return outcome()
}

/** The same, from anywhere: microtasks can be run only where none runs, so it has a turn of its own. */
export function carriedOut(plan: Plan, options?: CarryOutOptions): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    setImmediate(() => {
      try {
        resolve(carryOut(plan, options))
      } catch (error) {
        reject(error)
      }
    })
  })
}

/** One seed. @throws Violation */
export const simulate = (seed: number): Outcome => carryOut(drawPlan(seed))
