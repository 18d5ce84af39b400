/** `LayersModel.fit` of the same network on the wasm backend: `stock` as installed, `fixed` with the transposes of BatchMatMul made first. */
import * as tf from '@tensorflow/tfjs'
import '@tensorflow/tfjs-backend-wasm'
import { replaceBatchMatMul } from './fixed-matmul.js'
import { BATCH } from './networks.js'

const mode = process.argv[2]
await tf.setBackend('wasm')
await tf.ready()
if (mode === 'fixed') replaceBatchMatMul(tf)
const model = tf.sequential()
for (let layer = 0; layer < 3; layer++) {
  model.add(tf.layers.dense({ units: 1024, activation: 'relu', ...(layer === 0 && { inputShape: [784] }) }))
}
model.add(tf.layers.dense({ units: 10, activation: 'softmax' }))
model.compile({ optimizer: tf.train.adam(1e-3), loss: 'categoricalCrossentropy' })
// A stock step takes a second: fewer of them give a figure as steady.
const steps = mode === 'fixed' ? 32 : 4
const xs = tf.randomUniform([BATCH * steps, 784])
const ys = tf.oneHot(tf.randomUniform([BATCH * steps], 0, 10, 'int32'), 10)
await model.fit(xs.slice(0, BATCH), ys.slice(0, BATCH), { epochs: 1, batchSize: BATCH })
const started = performance.now()
await model.fit(xs, ys, { epochs: 1, batchSize: BATCH })
const samplesPerSecond = (steps * BATCH * 1000) / (performance.now() - started)
process.stdout.write(`${JSON.stringify({ samplesPerSecond })}\n`)
