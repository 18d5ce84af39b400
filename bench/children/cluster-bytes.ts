/** Bytes between hosts and broker for each batch that crosses from one PNode to another. */
import { pred, train } from '../../index.js'
import { clusterStore } from '../../actors/cluster.js'
import { readDefinition } from '../../actors/run/run-definition.js'
import { SOURCE } from '../../components/definition.js'
import { readHead } from '../../runtime/head-store.js'
import { benchCluster } from './cluster-parts.js'
import { BATCH, noise, wide } from './networks.js'

/** Enough that a frame which is sent again, as happens while a run starts, does not decide. */
const EPOCHS = 5
const STEPS_PER_EPOCH = 300
/** Tensors of a frame: inputs and labels of the source, or outputs and labels. */
const payloadOf = (width: number) => 4 * BATCH * (width + 1)

const made = await benchCluster({ pnodes: 3, isCounted: true })
try {
  const before = await made.counted()
  const run = train(wide, { data: noise(BATCH * STEPS_PER_EPOCH, 784), rule: pred(), epochs: EPOCHS, batchSize: BATCH }, { on: made.on })
  const { steps, moves } = await run.result
  const after = await made.counted()
  const { head } = await readHead(clusterStore(made.on), run.id)
  const { network } = await readDefinition(clusterStore(made.on), run.id)
  const hosts = [SOURCE, ...network.vnodes.map(({ id }) => id)].map((vnode) => head.directory[vnode].pnode)
  const crossed = hosts.slice(1).flatMap((host, i) => (host === hosts[i] ? [] : [payloadOf(i === 0 ? 784 : 1024)]))
  // One batch of evaluation after each epoch, as large as the others.
  const batches = steps + EPOCHS
  const total = (direction: 'up' | 'down') =>
    Object.entries(after)
      .filter(([name]) => name.endsWith('/data'))
      .reduce((sum, [name, count]) => sum + count[direction] - (before[name]?.[direction] ?? 0), 0)
  const payload = crossed.reduce((sum, bytes) => sum + bytes, 0)
  const beyond = (direction: 'up' | 'down') => (total(direction) / batches - payload) / crossed.length
  const figures = {
    moves,
    boundaries: crossed.length,
    payload: payload / crossed.length,
    beyondUp: beyond('up'),
    beyondDown: beyond('down'),
  }
  process.stdout.write(`${JSON.stringify(figures)}\n`)
} finally {
  await made.stop()
}
process.exit()
