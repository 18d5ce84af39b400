/** Clusters with hosts that lie, each drawn from a seed: how they lie, what finds them out, and what goes wrong besides. */
import { type AdversaryName, ADVERSARIES } from '../../adversaries/adversaries.js'
import { RandomStream } from '../../runtime/random.js'
import type { HostPlan } from './cluster.js'
import { drawFaults, type Fault } from './faults.js'
import type { Liars } from './justice.js'
import { type Plan, expectedMs } from './simulate.js'
import { drawRun, type RunSize } from './simulated-run.js'

/** What finds liars out. */
interface Checks {
  readonly name: string
  readonly size: Pick<RunSize, 'redundancy' | 'areFollowersTrusted' | 'audits'>
  readonly hasArbiter: boolean
  /** Whether many may lie in the same way, and so agree with each other; with `oneOwner` they are one voice, and never asked about each other. */
  readonly alike: 'never' | 'maybe' | 'oneOwner' | 'always'
  /** The largest share of all hosts that may lie. */
  readonly most: number
  readonly promise: Liars['promise']
}

const CHECKS: readonly Checks[] = [
  { name: 'followers', size: { redundancy: 2, areFollowersTrusted: true }, hasArbiter: true, alike: 'maybe', most: 7 / 16, promise: 'all' },
  { name: 'anybody', size: { redundancy: 2 }, hasArbiter: true, alike: 'never', most: 7 / 16, promise: 'all' },
  { name: 'audits', size: { audits: 1 }, hasArbiter: true, alike: 'never', most: 7 / 16, promise: 'end' },
  { name: 'one owner', size: { audits: 1 }, hasArbiter: true, alike: 'oneOwner', most: 7 / 16, promise: 'end' },
  { name: 'some', size: { audits: 0.3 }, hasArbiter: true, alike: 'never', most: 7 / 16, promise: 'found' },
  { name: 'few', size: { audits: 0.03 }, hasArbiter: true, alike: 'never', most: 7 / 16, promise: 'found' },
  { name: 'panels', size: { redundancy: 2 }, hasArbiter: false, alike: 'never', most: 1 / 4, promise: 'all' },
  { name: 'gangs', size: { redundancy: 2 }, hasArbiter: false, alike: 'always', most: 1 / 3, promise: 'none' },
]

/** As `gangs`, but for somebody whose word settles it: then it does not matter how many lie in the same way, whenever he is away. */
const GANGS_BESIDE_AN_ARBITER: Checks = { ...CHECKS[7], name: 'gangs beside an arbiter', hasArbiter: true, most: 7 / 16 }

const ATTACKS = Object.keys(ADVERSARIES) as AdversaryName[]
/** As a follower one of them says what the other says as an owner. */
const [FORGER, SLANDERER] = ['forger', 'slanderer'] as const
/** Of what is audited only every third seed has these: they came last, and the seeds that had found something were to stay what they were. */
const FAILING: readonly AdversaryName[] = ['nan-bomber', 'false-alarm']
/** Those that say of the same log the same, and something else than it gives. */
const AGREEING: readonly AdversaryName[] = ['sign-flip', 'random-direction', 'skips-optimizer', 'forger']

/** What a seed is checked by. */
export const checksOf = (seed: number): string => checksAt(seed).name

const checksAt = (seed: number): Checks =>
  seed % (2 * CHECKS.length) === CHECKS.length - 1 ? GANGS_BESIDE_AN_ARBITER : CHECKS[seed % CHECKS.length]

/** A cluster of 6 to 16 hosts, of which some lie. */
export function drawLiarPlan(seed: number): Plan {
  const random = new RandomStream(seed, 'liars')
  const { size, hasArbiter, alike, most, promise } = checksAt(seed)
  const hostCount = 6 + random.below(11)
  const run = drawRun(
    random,
    {
      vnodes: 1 + random.below(6),
      steps: 5 + random.below(30),
      everySteps: 1 + random.below(8),
      isRefined: seed % 5 === 2,
      hasFeedback: seed % 9 === 6,
      ...size,
    },
    seed,
  )
  const arbiters = hasArbiter ? ['h1', 'h2'].slice(0, 1 + random.below(2)) : []
  const attacks = drawAttacks(random, {
    alike,
    count: 1 + random.below(Math.floor(most * hostCount)),
    mayFail: size.audits === undefined || seed % 3 === 1,
  })
  const others = shuffled(
    random,
    Array.from({ length: hostCount }, (_, i) => `h${i + 1}`).filter((name) => !arbiters.includes(name)),
  )
  const liars = new Map(attacks.map((attack, i) => [others[i], attack]))
  const pace = [0.05, 0.5, 3][random.below(3)]
  const leastMs = [0.05, 1, 20][random.below(3)]
  const latency = { leastMs, mostMs: leastMs * (1 + random.below(5)), jitterMs: random.below(2) * leastMs }
  const hosts = Array.from({ length: hostCount }, (_, i): HostPlan => {
    const speed = 1 + random.uniform() * 4
    const name = `h${i + 1}`
    const adversary = liars.get(name)
    return {
      name,
      msPerCost: pace / speed,
      gflops: speed * 10,
      memoryBytes: 1e9,
      computeClass: 'simulated | integers',
      ...(adversary && { adversary }),
      ...(adversary && alike === 'oneOwner' && { owner: 'mallory' }),
    }
  })
  const names = hosts.map(({ name }) => name)
  const spanMs = expectedMs(run.timetable.totalPositions, pace, latency.mostMs)
  const faultCount = seed % 4 === 0 ? 0 : 1 + random.below(random.below(4) === 0 ? 12 : 5)
  const drawn = drawFaults(new RandomStream(seed, 'liars', 'faults'), names, faultCount, spanMs)
  const faults = checksAt(seed) === GANGS_BESIDE_AN_ARBITER ? withoutArbiters(random, drawn, arbiters, spanMs) : drawn
  // Else all of the first segments are looked at.
  const proven = promise === 'found' ? names : []
  return {
    seed,
    cluster: { run, hosts, latency, standstillMs: 2_000 + random.below(8_000), arbiters, proven },
    faults,
    liars: { attacks: liars, promise, mayWrong: promise === 'none' && !hasArbiter },
  }
}

/** Again and again nobody is there whose word counts. What control has never heard of, or has forgotten, is no arbiter (docs/trust.md): so control is left alone here. */
function withoutArbiters(random: RandomStream, faults: readonly Fault[], arbiters: readonly string[], spanMs: number): Fault[] {
  const away = arbiters.flatMap((host) =>
    [0.1, 0.4, 0.7].map((from): Fault => {
      const atMs = Math.round(200 + (from + 0.3 * random.uniform()) * spanMs)
      return { atMs, kind: 'crash', host, returnsMs: 10_000, isSilent: false }
    }),
  )
  return [...faults.filter(({ kind }) => !kind.startsWith('control')), ...away].toSorted((a, b) => a.atMs - b.atMs)
}

function drawAttacks(
  random: RandomStream,
  { alike, count, mayFail }: { readonly alike: Checks['alike']; readonly count: number; readonly mayFail: boolean },
): AdversaryName[] {
  const fit = ATTACKS.filter((attack) => mayFail || !FAILING.includes(attack))
  const pick = (from: readonly AdversaryName[]) => from[random.below(from.length)]
  if (alike === 'always' || alike === 'oneOwner' || (alike === 'maybe' && random.below(2) === 0)) {
    const one = pick(alike === 'always' ? AGREEING : fit)
    return Array.from({ length: count }, () => one)
  }
  if (alike === 'maybe') return Array.from({ length: count }, () => pick(fit))
  const left = random.below(2) === 0 ? FORGER : SLANDERER
  const others = fit.filter((attack) => attack !== left)
  return shuffled(random, others).slice(0, count)
}

function shuffled<T>(random: RandomStream, all: readonly T[]): T[] {
  const left = [...all]
  return all.map(() => left.splice(random.below(left.length), 1)[0])
}
