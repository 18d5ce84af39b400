/** `LayersModel.fit` of the same network on tfjs-node, `mlp` or `conv`: its backend and its kernels, on the same TensorFlow with one thread. */
import * as tf from '@tensorflow/tfjs'
import { loadBackend } from '../../components/native/load.js'
import { BATCH, DROPPED, SLOPE, VGG, VGG_UNITS } from './networks.js'

const CLASSES = 10
const isConv = process.argv[2] === 'conv'
const { backend } = loadBackend(tf, 'cpu')
tf.registerBackend('tensorflow', () => backend as never)
await tf.setBackend('tensorflow')
const model = tf.sequential({
  layers: [...(isConv ? convolutions() : dense()), tf.layers.dense({ units: CLASSES, activation: 'softmax' })],
})
model.compile({ optimizer: tf.train.adam(1e-3), loss: 'categoricalCrossentropy' })
const [steps, warmUp] = isConv ? [50, 10] : [120, 20]
const input = model.inputs[0].shape.slice(1) as number[]
const xs = tf.randomUniform([BATCH * steps, ...input])
const ys = tf.oneHot(tf.randomUniform([BATCH * steps], 0, CLASSES, 'int32'), CLASSES)
await model.fit(tf.slice(xs, 0, BATCH * warmUp), tf.slice(ys, 0, BATCH * warmUp), { epochs: 1, batchSize: BATCH, verbose: 0 })
const [started, before] = [performance.now(), process.cpuUsage()]
await model.fit(xs, ys, { epochs: 1, batchSize: BATCH, verbose: 0 })
const samplesPerSecond = (steps * BATCH * 1000) / (performance.now() - started)
const { user, system } = process.cpuUsage(before)
process.stdout.write(`${JSON.stringify({ samplesPerSecond, cpuMsPerStep: (user + system) / 1000 / steps })}\n`)

function dense(): tf.layers.Layer[] {
  return Array.from({ length: 3 }, (_, i) => tf.layers.dense({ units: 1024, activation: 'relu', ...(i === 0 && { inputShape: [784] }) }))
}

/** As `vgg()` of networks.ts. */
function convolutions(): tf.layers.Layer[] {
  const behind = (isPooled: boolean) => [
    tf.layers.batchNormalization(),
    tf.layers.leakyReLU({ alpha: SLOPE }),
    ...(isPooled ? [tf.layers.maxPooling2d({ poolSize: 2 })] : []),
    tf.layers.dropout({ rate: DROPPED }),
  ]
  const layers = VGG.flatMap(([filters, isPooled], i) => [
    tf.layers.conv2d({ filters, kernelSize: 3, padding: 'same', ...(i === 0 && { inputShape: [28, 28, 1] }) }),
    ...behind(isPooled),
  ])
  return [...layers, tf.layers.flatten(), tf.layers.dense({ units: VGG_UNITS }), ...behind(false)]
}
