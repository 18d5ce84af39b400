/** Memory of every process while one worker does not consume for 20 s and all hearts beat on. In MB. */
import { rm, writeFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { pred, train } from '../../index.js'
import { SOURCE } from '../../components/definition.js'
import { residentMB, until } from './cluster-gauges.js'
import { benchCluster } from './cluster-parts.js'
import { BATCH, noise, wide } from './networks.js'

const HELD_MS = 20_000
/** Memory that a process has had before says nothing about withholding: its most in this time is what growth is counted from. */
const BEFORE_MS = 20_000
const LOOK_MS = 250

const made = await benchCluster({ pnodes: 3, isHeld: true })
try {
  const stop = new AbortController()
  const training = { data: noise(BATCH * 200, 784), rule: pred(), epochs: 1_000, batchSize: BATCH }
  const run = train(wide, training, { on: made.on, signal: stop.signal })
  const placed = new Map<string, string>()
  let step = 0
  let lost = 0
  const watching = (async () => {
    for await (const event of run.events()) {
      if (event.type === 'snapshot') for (const { vnode, pnode } of event.vnodes) placed.set(vnode, pnode)
      else if (event.type === 'placed' && event.vnode !== SOURCE) placed.set(event.vnode, event.pnode)
      else if (event.type === 'progress') step = event.step
      else if (event.type === 'lost') lost++
    }
  })()
  await until(run, () => step >= 100, 'the first 100 steps')
  const before = await most(BEFORE_MS)
  // One in the middle: what comes before it piles up, what comes after it starves.
  const [, middle] = [...placed.keys()].toSorted()
  const holdFile = made.holdFileOf(placed.get(middle)!)
  await writeFile(holdFile, '')
  await sleep(1_000)
  const heldAt = step
  const during = await most(HELD_MS)
  const stepsWhileHeld = step - heldAt
  await rm(holdFile)
  await until(run, () => step >= heldAt + 20, 'steps after the hold')
  stop.abort()
  await run.result
  await watching
  const growthMB = Object.fromEntries(Object.entries(during).map(([name, mb]) => [name, mb - before[name]]))
  process.stdout.write(`${JSON.stringify({ growthMB, beforeMB: before, stepsWhileHeld, lost })}\n`)
} finally {
  await made.stop()
}
process.exit()

/** The most that each process has at any time during the next `ms`. */
async function most(ms: number): Promise<{ readonly [name: string]: number }> {
  const highest: { [name: string]: number } = {}
  for (const end = performance.now() + ms; performance.now() < end; await sleep(LOOK_MS)) {
    for (const [name, mb] of Object.entries(residentMB({ ...made.processes, trainer: process.pid })))
      highest[name] = Math.max(highest[name] ?? 0, mb)
  }
  return highest
}
