import test from 'ava'
import { block, categorical, datasets, dense, flatten, local, network, pred, relu } from '../../index.js'
import { train } from '../../actors/train.js'
import { memoryStore } from '../../runtime/object-store/memory-store.js'

const net = network({ input: [28, 28, 1], target: categorical(10) }, [flatten(), block(dense(8), relu())])
const training = { data: datasets.glyphs({ train: 320, test: 160 }), batchSize: 32, epochs: 4, rule: pred() }

for (const everySteps of [1, 2, 3, 7]) {
  test(`with no room for retention but the least, evaluations never leave the source without a place for a cut (every ${everySteps} steps)`, async (t) => {
    t.timeout(60_000)
    const on = local({ pnodes: 1, threads: false, window: 1 })
    const run = train(net, training, { on, store: memoryStore(), checkpoint: { everySteps, retentionBytes: 0 } })
    t.is((await run.result).status, 'done')
  })
}
