/**
 * The library in one page: a network, a run on four PNodes of this process, its events, and its answers.
 *
 *     npm run build && node dist/examples/quickstart.js [training images] [epochs]
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { batchNorm, block, categorical, dense, flatten, leakyRelu, network } from 'swarmgrad'
import { adam, datasets, local, predsim, train } from 'swarmgrad'

const [images = 4_000, epochs = 3] = process.argv.slice(2).map(Number)

// Each block is one VNode: it has a loss of its own, and sends nothing back.
const hidden = (units: number) => block(dense(units), batchNorm(), leakyRelu())
const net = network({ input: [28, 28, 1], target: categorical(10) }, [flatten(), hidden(128), hidden(128), hidden(128)])

const store = await mkdtemp(join(tmpdir(), 'swarmgrad-quickstart-'))
try {
  // The first object decides the hash of the result; the second does not.
  const run = train(
    net,
    { data: datasets.glyphs({ train: images, test: 500 }), rule: predsim(), optimizer: adam(), batchSize: 100, epochs, seed: 1 },
    { on: local({ pnodes: 4 }), store },
  )
  for await (const event of run.events()) {
    if (event.type === 'placed') console.log(`${event.vnode} is on ${event.pnode}: ${event.reason}`)
    if (event.type === 'evaluated') console.log(`step ${event.step}: ${(event.metrics.accuracy * 100).toFixed(1)} % right`)
  }
  const { status, hash } = await run.result
  console.log(`${status}: ${hash}`)

  const model = await run.model()
  const { labels, probabilities } = await model.predict(plusSign())
  console.log(`a plus sign is class ${labels[0]} with probability ${probabilities[labels[0]].toFixed(2)}`)
  await model.close()
} finally {
  await rm(store, { recursive: true, force: true })
}

/** 28×28 grey bytes, as in the data set: class 0 is the plus sign. */
function plusSign(): Uint8Array {
  const image = new Uint8Array(28 * 28)
  for (let i = 6; i < 22; i++) {
    for (const near of [13, 14]) {
      image[i * 28 + near] = 255
      image[near * 28 + i] = 255
    }
  }
  return image
}
