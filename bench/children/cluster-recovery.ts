/** Ends PNodes of a cluster from outside and times what follows, VNode by VNode. */
import { setTimeout as sleep } from 'node:timers/promises'
import { batchNorm, block, categorical, datasets, dense, dropout, flatten, leakyRelu, network, predsim, train } from '../../index.js'
import type { Run } from '../../index.js'
import { SOURCE } from '../../components/definition.js'
import { systemClock } from '../../runtime/clock.js'
import { RandomStream } from '../../runtime/random.js'
import { followed } from '../../runtime/followers.js'
import { StandbyCount } from './standby-count.js'
import { until } from './cluster-gauges.js'
import { benchCluster } from './cluster-parts.js'

/** How a PNode goes: its process alone (daprd is ended with it a moment later), both at once, or it falls silent. */
export type Ending = 'app' | 'appAndDaprd' | 'silent'

/** Between two losses. */
const PAUSE_MS = 1_000

const [, , ending, wanted, standbys = '0'] = process.argv as [string, string, Ending, string, string?]
const random = new RandomStream(1, `kills ${ending}`)
const hidden = (units: number) => block(dense(units), batchNorm(), leakyRelu(), dropout(0.025))
const net = network({ input: [28, 28, 1], target: categorical(10) }, [flatten(), hidden(256), hidden(256), hidden(256)])
const samples: { firstStepMs: number; newStepMs: number }[] = []
/** Where each VNode is. */
const placed = new Map<string, string>()
/** VNodes that have to come back. */
const gone = new Set<string>()
const standing = new StandbyCount()
let goneAtMs = 0
let step = 0
const reasons: { [reason: string]: number } = {}

const made = await benchCluster({ pnodes: 4 })
try {
  const stop = new AbortController()
  const training = { data: datasets.fashionMnist(), rule: predsim(), epochs: 1_000, seed: 1, learningRate: 2e-3 }
  const run = train(net, training, { on: made.on, replicas: Number(standbys), signal: stop.signal })
  const watching = (async () => {
    for await (const event of run.events()) {
      standing.see(event)
      if (event.type === 'snapshot') for (const { vnode, pnode } of event.vnodes) placed.set(vnode, pnode)
      else if (event.type === 'progress') step = event.step
      else if (event.type === 'placed' && event.vnode !== SOURCE && followed(event.vnode) === undefined)
        placed.set(event.vnode, event.pnode)
      else if (event.type === 'lost') {
        const reason = event.reason.replaceAll(/[\d.]+/g, 'n')
        reasons[reason] = (reasons[reason] ?? 0) + 1
      } else if (event.type === 'relocated' && gone.delete(event.vnode)) {
        // The event comes with the first new step; the first one applied at all was so much earlier. One clock: one machine.
        const newStepMs = event.atMs - goneAtMs
        samples.push({ firstStepMs: newStepMs - event.caughtUpMs + event.firstStepMs, newStepMs })
      }
    }
  })()
  await until(run, () => step >= 100, 'the first 100 steps')
  for (let kill = 1; kill <= Number(wanted); kill++) {
    const names = [...new Set(placed.values())].toSorted()
    await endOne(run, names[random.below(names.length)])
    await until(run, () => standing.isFull(Number(standbys)), 'all standbys')
    await sleep(PAUSE_MS)
  }
  stop.abort()
  const { stepsLost, stepsDoubled, moves, stepsReplayed } = await run.result
  await watching
  process.stdout.write(`${JSON.stringify({ kills: Number(wanted), samples, moves, stepsReplayed, stepsLost, stepsDoubled, reasons })}\n`)
} finally {
  await made.stop()
}
process.exit()

/** Ends a PNode, waits until its VNodes are back elsewhere, and starts it again. */
async function endOne(run: Run, name: string): Promise<void> {
  const { app, daprd } = made.hosts.get(name)!
  for (const [vnode, pnode] of placed) if (pnode === name) gone.add(vnode)
  goneAtMs = systemClock.now()
  try {
    if (ending === 'appAndDaprd') process.kill(daprd, 'SIGKILL')
    app.kill(ending === 'silent' ? 'SIGSTOP' : 'SIGKILL')
    await until(run, () => gone.size === 0, `${[...gone].join(', ')}, lost with ${name}`)
  } finally {
    app.kill('SIGKILL')
    made.hosts.delete(name)
  }
  await made.addHost(name)
}
