/** Dropout on the wasm heap. */
import test from 'ava'
import { applyMask } from '../../components/kernels/mask.js'
import { runKernel, startBackend, type tf } from '../../components/tf.js'
import { RandomStream } from '../../runtime/random.js'
import { randomTensor } from './numeric.js'

test.before(async () => {
  await startBackend()
})

test('a mask in vectors has the bits of one made number by number', (t) => {
  for (const size of [1, 3, 4, 5, 8, 131, 4096]) {
    for (const rate of [0.1, 0.5, 0.999]) {
      const x = randomTensor('x', [size])
      const random = new RandomStream(7, 'mask', size)
      random.take(2 ** 32 - 50)
      const mask = { numbers: random.take(size), below: Math.floor(rate * 2 ** 32), scale: Math.fround(1 / (1 - rate)) }
      const expected = new Float32Array(size)
      applyMask(x.dataSync() as Float32Array, expected, mask)
      t.deepEqual((runKernel('Masked', { x }, mask) as tf.Tensor).dataSync(), expected, `${size} ${rate}`)
      if (size > 1000) t.true(Math.abs(expected.filter((value) => value === 0).length / size - rate) < 0.05)
    }
  }
})
