/**
 * A part of the trace on real PNodes in this process, each with a compute worker of its own: every fourth node, and time goes so many times as fast.
 * A removed PNode ends as if the power had failed; the loss is told at once, as a broker tells of a broken connection.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { block, categorical, dense, local, network, pred, relu } from '../../index.js'
import type { LocalSwarm } from '../../actors/local-swarm.js'
import { train } from '../../actors/train.js'
import { type Change, readTrace, stretches } from '../preemption-trace.js'
import { BATCH, noise } from './networks.js'

const EVERY = 4
const VNODES = 12
const WIDTH = 256
const SAMPLES = 200 * BATCH
const WARM_UP_MS = 5_000
const STEADY_MS = 20_000

const [, , faster, hours] = process.argv
const net = network(
  { input: [WIDTH], target: categorical(10) },
  Array.from({ length: VNODES }, () => block(dense(WIDTH), relu())),
)
const data = noise(SAMPLES, WIDTH)

/** Every fourth node of the trace, in the order in which they come. */
function part(): Change[] {
  const all = readTrace()
  const names = [...new Set(all.map(({ node }) => node))].filter((_, i) => i % EVERY === 0)
  return all.filter(({ node, atMs }) => names.includes(node) && atMs <= Number(hours) * 3_600_000)
}

interface Seen {
  readonly swarm: LocalSwarm
  /** Steps that were done, as the mean over the VNodes. */
  readonly done: () => number
  readonly applied: () => number
}

/** Lets a run go on under some change of its PNodes; it is paused at the end. */
async function during<T>(pnodes: number, live: (seen: Seen) => Promise<T>): Promise<T> {
  const store = await mkdtemp(join(tmpdir(), 'swarmgrad-bench-'))
  const stop = new AbortController()
  const frontiers = new Map<string, number>()
  let applied = 0
  const sum = () => [...frontiers.values()].reduce((total, step) => total + step, 0)
  const seen = { done: () => sum() / VNODES, applied: () => applied }
  let up: (swarm: LocalSwarm) => void = () => {}
  const begun = new Promise<LocalSwarm>((resolve) => (up = resolve))
  const run = train(
    net,
    { data, rule: pred(), epochs: 1_000, batchSize: BATCH },
    { on: local({ pnodes, returnMs: Infinity }), store, signal: stop.signal },
    {
      onSwarm: up,
      onObservation: (observation) => {
        if (observation.type !== 'applied' || observation.entry.evaluation > 0) return
        applied++
        frontiers.set(observation.vnode, Math.max(frontiers.get(observation.vnode) ?? 0, observation.entry.step))
      },
    },
  )
  try {
    return await live({ ...seen, swarm: await begun })
  } finally {
    stop.abort()
    await run.result.catch(() => undefined)
    await rm(store, { recursive: true, force: true })
  }
}

const trace = part()
const parts = stretches(trace)
const spanMs = parts.at(-1)!.toMs / Number(faster)
const first = trace.filter(({ atMs, isAdded }) => atMs === 0 && isAdded).map(({ node }) => node)

/** Steps in a second when nothing goes wrong. */
const undisturbed: { [pnodes: number]: number } = {}
for (const nodes of new Set([Math.min(...parts.map((each) => each.nodes)), first.length, Math.max(...parts.map((each) => each.nodes))])) {
  undisturbed[nodes] = await during(nodes, async ({ done }) => {
    await sleep(WARM_UP_MS)
    const before = done()
    const at = performance.now()
    await sleep(STEADY_MS)
    return ((done() - before) * 1000) / (performance.now() - at)
  })
}

const outcome = await during(first.length, async ({ swarm, done, applied }) => {
  await sleep(WARM_UP_MS)
  const names = new Map(swarm.pnodes.map((pnode, i) => [first[i], pnode]))
  const [before, appliedBefore, begun] = [done(), applied(), performance.now()]
  for (const { atMs, isAdded, node } of trace.filter((change) => change.atMs > 0)) {
    await sleep(Math.max(0, begun + atMs / Number(faster) - performance.now()))
    // Neither is waited for: the next change comes when it comes.
    if (isAdded) void swarm.add(names.get(node) ?? node)
    else void swarm.killPNode(names.get(node) ?? node, 'preempted')
  }
  await sleep(Math.max(0, begun + spanMs - performance.now()))
  const seconds = (performance.now() - begun) / 1000
  const { moves } = swarm.monitor.counters
  return { seconds, steps: done() - before, vnodeSteps: applied() - appliedBefore, moves }
})
const changes = trace.filter(({ atMs }) => atMs > 0)
const nodes = parts.map((each) => each.nodes)
process.stdout.write(
  `${JSON.stringify({
    ...outcome,
    removed: changes.filter(({ isAdded }) => !isAdded).length,
    added: changes.filter(({ isAdded }) => isAdded).length,
    leastNodes: Math.min(...nodes),
    mostNodes: Math.max(...nodes),
    undisturbed,
  })}\n`,
)
process.exit()
