/** Whole runs on TensorFlow: what happens to them changes nothing, and they stay what they began as. */
import { local, pred, resume, train } from '../../index.js'
import { block, categorical, datasets, dense, flatten, network, relu } from '../../index.js'
import { verifyRun } from '../../actors/verify.js'
import { train as trainWith, type Internals } from '../../actors/train.js'
import { isSwarmError } from '../../runtime/errors.js'
import { readHead } from '../../runtime/head-store.js'
import { memoryStore } from '../../runtime/object-store/memory-store.js'
import type { ObjectStore } from '../../runtime/object-store/object-store.js'
import { onNative } from './native.js'

const NETWORK = network({ input: [28, 28, 1], target: categorical(10) }, [flatten(), ...[64, 64].map((n) => block(dense(n), relu()))])
const TRAINING = { data: datasets.glyphs({ train: 2560, test: 256 }), rule: pred(), epochs: 3, batchSize: 32 } as const
const native = local({ pnodes: 2, backend: 'native' })

async function run(store: ObjectStore, internals: Internals = {}) {
  return trainWith(NETWORK, TRAINING, { on: native, store, checkpoint: { everySteps: 50 } }, internals).result
}

onNative('a run ends the same whatever is killed, and verifies', async (t) => {
  const undisturbed = await run(memoryStore())
  const store = memoryStore()
  let kills = 0
  const disturbed = await run(store, {
    onSwarm(swarm) {
      swarm.monitor.feed.listen((event) => {
        if (event.type !== 'progress' || event.step < 60 * (kills + 1) || kills >= 3) return
        kills++
        swarm.killWorker('pnode-1', 'test')
      })
    },
  })
  t.is(kills, 3)
  t.true(disturbed.moves > 0)
  t.is(disturbed.hash, undisturbed.hash, 'one model of processor, one thread: the same bits')
  const verified = await verifyRun(store, disturbed.run)
  t.is(verified.difference, undefined)
  t.is(verified.steps, 240)
})

onNative('it learns what it learns on wasm', async (t) => {
  const [mine, wasm] = [await run(memoryStore()), await train(NETWORK, TRAINING, { on: local({ pnodes: 2 }), store: memoryStore() }).result]
  t.not(mine.hash, wasm.hash)
  const [got, expected] = [mine.metrics, wasm.metrics] as unknown as { accuracy: number; loss: number }[]
  t.true(Math.abs(got.accuracy - expected.accuracy) < 0.03, `${got.accuracy}, on wasm ${expected.accuracy}`)
  t.true(Math.abs(got.loss - expected.loss) < 0.1, `${got.loss}, on wasm ${expected.loss}`)
})

onNative('a run goes on with what it began with, and is refused another backend by name', async (t) => {
  const store = memoryStore()
  const first = train(NETWORK, TRAINING, { on: native, store, checkpoint: { everySteps: 20 } })
  for await (const event of first.events()) if (event.type === 'checkpoint') break
  await first.pause()
  t.regex((await readHead(store, first.id)).head.computeClass!, /\| native \|/)
  const error = await t.throwsAsync(resume(first.id, { on: local({ pnodes: 2, backend: 'wasm' }), store }).result)
  t.true(isSwarmError(error, 'checkpoint.class'), error?.message)
  const { status, hash } = await resume(first.id, { on: local({ pnodes: 2 }), store }).result
  t.is(status, 'done')
  t.is(hash, (await run(memoryStore())).hash)
})
