/** Steady samples per second of the wide network on three PNodes: `embedded` in this process, or on a `cluster` of processes. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { local, pred, train } from '../../index.js'
import { steadily } from './cluster-gauges.js'
import { benchCluster } from './cluster-parts.js'
import { BATCH, noise, wide } from './networks.js'

const [, , where, epochs] = process.argv
const training = { data: noise(BATCH * 200, 784), rule: pred(), epochs: Number(epochs), batchSize: BATCH }
const measured = { warmUp: 100, batch: BATCH }
process.stdout.write(`${JSON.stringify(where === 'cluster' ? await onCluster() : await embedded())}\n`)
process.exit()

async function embedded() {
  const store = await mkdtemp(join(tmpdir(), 'swarmgrad-bench-'))
  try {
    return await steadily(train(wide, training, { on: local({ pnodes: 3 }), store }), { ...measured, pids: { all: process.pid } })
  } finally {
    await rm(store, { recursive: true, force: true })
  }
}

async function onCluster() {
  const made = await benchCluster({ pnodes: 3 })
  try {
    return await steadily(train(wide, training, { on: made.on }), { ...measured, pids: { ...made.processes, trainer: process.pid } })
  } finally {
    await made.stop()
  }
}
