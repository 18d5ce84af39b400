/** Terminates compute workers behind the runtime's back and times what follows, VNode by VNode. */
import { mkdtemp, rm } from 'node:fs/promises'
import { createRequire, syncBuiltinESMExports } from 'node:module'
import { tmpdir } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import { join } from 'node:path'
import type { Worker } from 'node:worker_threads'

// Every worker that the runtime starts is noted down here, before it is loaded: that is the only way to reach one from outside.
const threads = createRequire(import.meta.url)('node:worker_threads') as { Worker: typeof Worker }
const alive = new Set<Worker>()
threads.Worker = class extends threads.Worker {
  constructor(...args: ConstructorParameters<typeof Worker>) {
    super(...args)
    alive.add(this)
    this.once('exit', () => alive.delete(this))
  }
}
syncBuiltinESMExports()

const { batchNorm, block, categorical, datasets, dense, dropout, flatten, leakyRelu, local, network, predsim } =
  await import('../../index.js')
const { train } = await import('../../actors/train.js')
const { followed } = await import('../../runtime/followers.js')
const { StandbyCount } = await import('./standby-count.js')
const { RandomStream } = await import('../../runtime/random.js')

const [, , seed, wanted, standbys = '0'] = process.argv
const random = new RandomStream(Number(seed), 'kills')
const hidden = (units: number) => block(dense(units), batchNorm(), leakyRelu(), dropout(0.025))
const net = network({ input: [28, 28, 1], target: categorical(10) }, [flatten(), hidden(256), hidden(256), hidden(256)])
const store = await mkdtemp(join(tmpdir(), 'swarmgrad-bench-'))
const standing = new StandbyCount()
const samples: { firstStepMs: number; newStepMs: number }[] = []
/** VNodes that the last kill may have moved: term before it, highest step applied. */
const known = new Map<string, { term: number; frontier: number; firstAt?: number }>()
let killedAt = 0
let kills = 0
/** A loss has been told, and no step has been applied since by what was lost. */
let lost = false
const started = { resolve: () => {}, promise: Promise.resolve() }
started.promise = new Promise((resolve) => (started.resolve = resolve))
const stop = new AbortController()

/** A kill that moved a VNode shows within this time; the worker of an idle PNode or the spare moves nothing. */
const NOTICE_MS = 300
/** After a recovery: time for the spare to become warm, as between two real losses. */
const PAUSE_MS = 1_000

async function killOne(): Promise<void> {
  const victims = [...alive]
  const before = samples.length
  killedAt = performance.now()
  await victims[random.below(victims.length)]?.terminate()
  await sleep(NOTICE_MS)
  if (samples.length === before && !isMoving()) return
  while (isMoving()) await sleep(20)
  await sleep(PAUSE_MS)
  while (!standing.isFull(Number(standbys))) await sleep(20)
  if (Number(standbys) > 0) await sleep(PAUSE_MS)
  kills++
  if (kills >= Number(wanted)) stop.abort()
}

/** Whether a VNode waits for its first step, or replays. */
function isMoving(): boolean {
  return lost || [...known.values()].some(({ firstAt }) => firstAt !== undefined)
}

const run = train(
  net,
  { data: datasets.fashionMnist(), rule: predsim(), epochs: 1_000, seed: 1, learningRate: 2e-3 },
  { on: local({ pnodes: 4 }), store, replicas: Number(standbys), signal: stop.signal },
  {
    onSwarm: (swarm) => {
      swarm.monitor.feed.listen((event) => {
        standing.see(event)
        if (event.type === 'lost') lost = event.vnodes.some((vnode) => followed(vnode) === undefined)
      })
      started.resolve()
    },
    onObservation: (seen) => {
      if (seen.type !== 'applied' || seen.entry.evaluation > 0) return
      const now = performance.now()
      const before = known.get(seen.vnode) ?? { term: seen.term, frontier: 0 }
      known.set(seen.vnode, before)
      if (seen.term > before.term) {
        lost = false
        Object.assign(before, { term: seen.term, firstAt: now - killedAt })
      }
      if (seen.entry.step > before.frontier) {
        if (before.firstAt !== undefined) samples.push({ firstStepMs: before.firstAt, newStepMs: now - killedAt })
        before.firstAt = undefined
        before.frontier = seen.entry.step
      }
    },
  },
)
const killing = (async () => {
  await started.promise
  await sleep(2_000)
  while (!stop.signal.aborted) await killOne()
})()
try {
  await run.result
  await killing
} finally {
  await rm(store, { recursive: true, force: true })
}
process.stdout.write(`${JSON.stringify({ kills, samples })}\n`)
