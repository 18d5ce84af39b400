/**
 * Whole simulated runs with one host that cheats in a share of its segments: how many are found out within so many of them. Arguments: the share that is
 * audited, the share in which it cheats, the first seed, how many.
 */
import { SOURCE } from '../../components/definition.js'
import { MARK } from '../../runtime/frame.js'
import { keys } from '../../runtime/head.js'
import { RandomStream } from '../../runtime/random.js'
import type { HostPlan } from '../../test/simulation/cluster.js'
import { carriedOut, type Plan } from '../../test/simulation/simulate.js'
import { drawRun } from '../../test/simulation/simulated-run.js'
import { SEGMENTS } from '../detection.js'

const [share, cheating, first, count] = process.argv.slice(2).map(Number)
const MOST = SEGMENTS[SEGMENTS.length - 1]
const ARBITER = 'h1'
const NAMES = [ARBITER, 'h2', 'h3', 'h4', 'h5']
/** Of the generation in which somebody lies. */
const CHECKPOINTS = keys.manifest('run', 1, 0).slice(0, -1)
/** Everything is placed by then, in simulated ms; and how often it is looked whether it is. */
const [PLACED_MS, LOOK_MS] = [6_000, 50]
/** As it comes out: steps between two checkpoints, at most. */
const STEPS_OF_A_SEGMENT = 24

type Liar = Pick<HostPlan, 'name' | 'adversary' | 'isCheating'>

function planOf(seed: number, liar?: Liar): Plan {
  const drawn = drawRun(new RandomStream(seed, 'detection'), { vnodes: 3, steps: STEPS_OF_A_SEGMENT * MOST, audits: share }, seed)
  const settings = { ...drawn.settings, window: 1, cuts: { everySteps: 4, everyMs: 60_000, maxAhead: 1_000 } }
  const machine = { msPerCost: 1, gflops: 1, memoryBytes: 1e9, computeClass: 'simulated | integers' }
  const hosts = NAMES.map((name) => ({ ...machine, name, ...(name === liar?.name && liar) }))
  const latency = { leastMs: 0.05, mostMs: 0.1, jitterMs: 0 }
  const attacks = new Map(liar ? [[liar.name, liar.adversary!]] : [])
  return {
    seed,
    cluster: { run: { ...drawn, settings }, hosts, latency, arbiters: [ARBITER], proven: NAMES },
    faults: [],
    liars: { attacks, promise: 'found', mayWrong: false },
  }
}

/** A host that has one VNode, and that VNode: segments of one follow each other. */
async function hostOfOne(seed: number): Promise<{ readonly name: string; readonly vnode: string }> {
  const at = new Map<string, string[]>()
  await carriedOut(planOf(seed), {
    untilMs: PLACED_MS,
    spectator: {
      begin: (world, _cluster, head) => {
        const look = () => {
          const places = Object.entries(head()?.directory ?? {})
          for (const [vnode, { pnode }] of places) at.set(pnode, [...(at.get(pnode) ?? []), vnode])
          if (places.length === 0) world.after(LOOK_MS, undefined, look)
        }
        look()
      },
    },
  })
  for (const [name, [vnode, ...others]] of at) if (name !== ARBITER && vnode !== SOURCE && others.length === 0) return { name, vnode }
  throw new Error(`seed ${seed}: no host has just one VNode`)
}

/** In which of its segments it was found out, from 1; infinite: in none. */
async function foundIn(seed: number): Promise<number> {
  const { name, vnode } = await hostOfOne(seed)
  const random = new RandomStream(seed, 'cheats')
  let cheats = random.uniform() < cheating
  /** A segment ends with a cut. What it audits for others it does honestly. */
  const isCheating: Liar['isCheating'] = ({ header }) => {
    if (header.vnode !== vnode) return false
    const isNow = cheats
    if (header.marks & MARK.cut) cheats = random.uniform() < cheating
    return isNow
  }
  const checkpoints = new Set<number>()
  const { evidence = [] } = await carriedOut(planOf(seed, { name, adversary: 'random-direction', isCheating }), {
    isLeftAtConviction: true,
    spectator: {
      onPut: (key) => {
        if (key.startsWith(CHECKPOINTS)) checkpoints.add(Number(key.slice(CHECKPOINTS.length)))
      },
    },
  })
  const [found] = evidence.filter(({ convicted }) => convicted.some(({ host }) => host === name)).map(({ step }) => step)
  if (found !== undefined) return [...checkpoints].filter((step) => step <= found).length
  if (checkpoints.size < MOST) throw new Error(`seed ${seed}: only ${checkpoints.size} segments`)
  return Infinity
}

const within = new Map(SEGMENTS.map((segments) => [segments, 0]))
for (let seed = first; seed < first + count; seed++) {
  const segment = await foundIn(seed)
  for (const [segments, found] of within) if (segment <= segments) within.set(segments, found + 1)
}
process.stdout.write(`${JSON.stringify(Object.fromEntries(within))}\n`)
