/** `LayersModel.fit` of the same network on tfjs-node: its backend and its kernels, on the same TensorFlow with one thread. */
import * as tf from '@tensorflow/tfjs'
import { loadBackend } from '../../components/native/load.js'
import { BATCH } from './networks.js'

const { backend } = loadBackend(tf, 'cpu')
tf.registerBackend('tensorflow', () => backend as never)
await tf.setBackend('tensorflow')
const model = tf.sequential()
for (let layer = 0; layer < 3; layer++) {
  model.add(tf.layers.dense({ units: 1024, activation: 'relu', ...(layer === 0 && { inputShape: [784] }) }))
}
model.add(tf.layers.dense({ units: 10, activation: 'softmax' }))
model.compile({ optimizer: tf.train.adam(1e-3), loss: 'categoricalCrossentropy' })
const steps = 120
const xs = tf.randomUniform([BATCH * steps, 784])
const ys = tf.oneHot(tf.randomUniform([BATCH * steps], 0, 10, 'int32'), 10)
await model.fit(xs.slice(0, BATCH * 20), ys.slice(0, BATCH * 20), { epochs: 1, batchSize: BATCH, verbose: 0 })
const started = performance.now()
await model.fit(xs, ys, { epochs: 1, batchSize: BATCH, verbose: 0 })
const samplesPerSecond = (steps * BATCH * 1000) / (performance.now() - started)
process.stdout.write(`${JSON.stringify({ samplesPerSecond })}\n`)
