import test from 'ava'
import type { BackendWasm } from '../../components/kernels/kernel.js'
import { mixByOperations, mixOnHeap } from '../../components/layers/attention.js'
import { adamStep } from '../../components/kernels/optimizer-steps.js'
import { Products, type Sizes, productsOn } from '../../components/kernels/product.js'
import { RandomStream } from '../../runtime/random.js'
import { markChanged, runKernel, startBackend, tf, viewOf } from '../../components/tf.js'
import { checkGradient, near, numbers, randomTensor } from './numeric.js'

test.before(async () => {
  await startBackend()
})

function product(a: ArrayLike<number>, b: ArrayLike<number>, m: number, k: number, n: number, ta: boolean, tb: boolean): Float32Array {
  const out = new Float32Array(m * n)
  for (let i = 0; i < m; i++) {
    for (let j = 0; j < n; j++) {
      let sum = 0
      for (let l = 0; l < k; l++) sum += a[ta ? l * m + i : i * k + l] * b[tb ? j * k + l : l * n + j]
      out[i * n + j] = sum
    }
  }
  return out
}

for (const [m, k, n] of [
  [3, 4, 5],
  [2, 9, 70],
  [1, 6, 1],
]) {
  for (const [ta, tb] of [
    [false, false],
    [true, false],
    [false, true],
    [true, true],
  ]) {
    test(`a matrix product ${m}×${k}×${n} is right with transposes ${ta} and ${tb}`, (t) => {
      const a = randomTensor('a', ta ? [k, m] : [m, k]) as tf.Tensor2D
      const b = randomTensor('b', tb ? [n, k] : [k, n]) as tf.Tensor2D
      const expected = product(a.dataSync(), b.dataSync(), m, k, n, ta, tb)
      near(t, tf.matMul(a, b, ta, tb).dataSync(), expected, 'matMul', 1e-5)
      near(t, tf.fused.matMul({ a, b, transposeA: ta, transposeB: tb }).dataSync(), expected, 'fused.matMul', 1e-5)
    })
  }
}

test('a batched product transposes each matrix', (t) => {
  const a = randomTensor('a', [2, 3, 4])
  const b = randomTensor('b', [2, 5, 4])
  const out = tf.matMul(a, b, false, true).dataSync()
  const [av, bv] = [a.dataSync(), b.dataSync()]
  for (let i = 0; i < 2; i++) {
    const expected = product(av.slice(i * 12, i * 12 + 12), bv.slice(i * 20, i * 20 + 20), 3, 4, 5, false, true)
    near(t, out.slice(i * 15, i * 15 + 15), expected, `matrix ${i}`, 1e-5)
  }
})

/** The same products without vectors, on the same heap. */
const inOrder = (backend: BackendWasm, sizes: Sizes): Products => new Products(backend, sizes, undefined)

test('vectors give the bits of a product made number by number, with any strides and sizes', (t) => {
  const backend = tf.backend() as BackendWasm
  const fast = productsOn((backend as unknown as { wasm: { asm: { memory: unknown } } }).wasm.asm.memory)
  const sizes = [1, 2, 3, 4, 5, 7, 8, 9, 13, 16, 17, 33]
  const random = new RandomStream(1, 'sizes')
  const pick = () => sizes[random.below(sizes.length)]
  for (let i = 0; i < 400; i++) {
    const [m, n, k] = [pick(), pick(), pick()]
    // Of b some rows and columns lie further apart than they need to.
    const [gap, ta, tb] = [random.below(3), random.below(2) === 1, random.below(2) === 1]
    const width = n + gap
    const a = randomTensor(`a${i}`, [m * k])
    const b = randomTensor(`b${i}`, [Math.max(width * k, (k + gap) * n)])
    const outs = [fast, inOrder].map((products) => {
      const c = tf.mul(tf.ones([m * (n + 1)]), 7)
      const run = products(backend, { m, n, k })
      const at = (x: tf.Tensor) => viewOf(x).byteOffset
      run.multiply(
        { address: at(a), rowBytes: ta ? 4 : 4 * k, columnBytes: ta ? 4 * m : 4 },
        { address: at(b), rowBytes: tb ? 4 : 4 * width, columnBytes: tb ? 4 * (k + gap) : 4 },
        { address: at(c), rowBytes: 4 * (n + 1) },
      )
      run.close()
      return c.dataSync().slice()
    })
    t.deepEqual(outs[0], outs[1], JSON.stringify({ m, n, k, gap, ta, tb }))
    // What lies between the rows of c is somebody else's.
    for (let row = 0; row < m; row++) t.is(outs[0][row * (n + 1) + n], 7)
  }
})

test('a factor of a batched product may have fewer matrices, which are used again', (t) => {
  for (const [left, right] of [
    [
      [2, 3],
      [1, 3],
    ],
    [[3], [2, 3]],
    [
      [2, 1],
      [1, 3],
    ],
    [[], [2, 2]],
    [[1], [4]],
  ]) {
    const a = randomTensor('a', [...left, 2, 5])
    const b = randomTensor('b', [...right, 5, 3])
    const out = tf.matMul(a, b)
    const batches = tf.broadcast_util.assertAndGetBroadcastShape(left, right)
    t.deepEqual(out.shape, [...batches, 2, 3])
    // The same by elementary operations: Σ a[…, m, k, 1]·b[…, 1, k, n].
    const expected = tf.sum(tf.mul(tf.expandDims(a, -1), tf.expandDims(b, -3)), -2)
    near(t, out.dataSync(), expected.dataSync(), `${left.join()} by ${right.join()}`, 1e-5)
    checkGradient(t, `matMul ${left.join()} by ${right.join()}`, (x, y) => tf.matMul(x, y), [a, b])
  }
})

test('products of nothing are zeros, and inner sizes that differ are refused', (t) => {
  t.deepEqual([...tf.matMul(tf.zeros<tf.Rank.R2>([2, 0]), tf.zeros<tf.Rank.R2>([0, 3])).dataSync()], [0, 0, 0, 0, 0, 0])
  t.deepEqual(tf.matMul(tf.zeros<tf.Rank.R2>([0, 2]), tf.zeros<tf.Rank.R2>([2, 3])).shape, [0, 3])
  t.throws(() => tf.matMul(tf.zeros<tf.Rank.R2>([2, 3]), tf.zeros<tf.Rank.R2>([2, 3])), { message: /inner/i })
})

test('whole numbers are no factors of a product', (t) => {
  const a = tf.tensor2d([1, 2, 3, 4], [2, 2], 'int32')
  t.throws(() => tf.matMul(a, a), { message: /matMul of int32 and int32: cast both to float32/ })
})

test('a fused product adds its bias and applies its activation', (t) => {
  const a = randomTensor('a', [4, 6]) as tf.Tensor2D
  const b = randomTensor('b', [6, 5]) as tf.Tensor2D
  const bias = randomTensor('bias', [5])
  const plain = tf.add(tf.matMul(a, b), bias)
  const expected = { linear: plain, relu: tf.relu(plain), elu: tf.elu(plain), sigmoid: tf.sigmoid(plain), relu6: tf.relu6(plain) }
  for (const [activation, value] of Object.entries(expected)) {
    const fused = tf.fused.matMul({ a, b, bias, activation: activation as never })
    t.deepEqual([...fused.dataSync()], [...value.dataSync()], activation)
  }
  const leaky = tf.fused.matMul({ a, b, bias, activation: 'leakyrelu', leakyreluAlpha: 0.3 })
  t.deepEqual([...leaky.dataSync()], [...tf.leakyRelu(plain, 0.3).dataSync()])
})

test('attention on the heap is that by operations, forwards and backwards', (t) => {
  for (const causal of [true, false]) {
    const qkv = randomTensor('qkv', [2, 5, 3, 2, 4], -2, 2)
    const [fast, slow] = [mixOnHeap, mixByOperations].map((mix) => (x: tf.Tensor) => mix(x, { causal }))
    near(t, fast(qkv).dataSync(), slow(qkv).dataSync(), 'mix', 1e-5)
    const weights = randomTensor('weights', [2, 5, 2, 4])
    const gradientBy = (mix: (x: tf.Tensor) => tf.Tensor) =>
      tf
        .grad((x) => tf.sum(tf.mul(mix(x), weights)))(qkv)
        .dataSync()
    near(t, gradientBy(fast), gradientBy(slow), 'gradient', 1e-5)
    checkGradient(t, `attention, causal ${causal}`, fast, [randomTensor('small', [1, 3, 3, 2, 2])])
  }
})

test('products and attention leave nothing behind', (t) => {
  const qkv = randomTensor('qkv', [2, 5, 3, 2, 4])
  const a = randomTensor('a', [3, 4, 5])
  const run = () =>
    tf.tidy(() => {
      tf.grad((x) => tf.sum(mixOnHeap(x, { causal: true })))(qkv)
      tf.grad((x) => tf.sum(tf.matMul(x, x, true)))(a)
    })
  run()
  const before = (tf.backend() as BackendWasm).numDataIds()
  for (let i = 0; i < 5; i++) run()
  t.is((tf.backend() as BackendWasm).numDataIds(), before)
})

test('a product sees a factor that was changed in place', (t) => {
  const x = tf.ones<tf.Rank.R2>([1, 4])
  const w = tf.ones<tf.Rank.R2>([4, 2])
  t.deepEqual([...tf.matMul(x, w).dataSync()], [4, 4])
  viewOf(w).fill(2)
  markChanged(w)
  t.deepEqual([...tf.matMul(x, w).dataSync()], [8, 8])
})

for (const padding of ['same', 'valid'] as const) {
  for (const strides of [1, 2, 3]) {
    test(`conv2d with strides ${strides} and padding ${padding} has the gradients of finite differences`, (t) => {
      const x = randomTensor('x', [2, 7, 6, 2])
      const w = randomTensor('w', [3, 3, 2, 3])
      checkGradient(t, 'conv2d', (a, b) => tf.conv2d(a as tf.Tensor4D, b as tf.Tensor4D, strides, padding), [x, w])
    })
  }
}

test('the filter of a dilated conv2d has the gradient of finite differences', (t) => {
  const x = randomTensor('x', [2, 7, 6, 2])
  for (const padding of ['same', 'valid'] as const) {
    checkGradient(t, 'dilated', (w) => tf.conv2d(x as tf.Tensor4D, w as tf.Tensor4D, 1, padding, 'NHWC', 2), [
      randomTensor('w', [3, 3, 2, 3]),
    ])
  }
})

test('a conv2d of even kernel and stride 1 has the gradients of finite differences', (t) => {
  const inputs = [randomTensor('x', [2, 5, 6, 2]), randomTensor('w', [2, 4, 2, 3])]
  for (const padding of ['same', 'valid'] as const) {
    checkGradient(t, 'conv2d', (a, b) => tf.conv2d(a as tf.Tensor4D, b as tf.Tensor4D, 1, padding), inputs)
  }
  const square = [inputs[0], randomTensor('w', [2, 2, 2, 3])]
  checkGradient(t, 'conv2d', (a, b) => tf.conv2d(a as tf.Tensor4D, b as tf.Tensor4D, 1, 1), square)
})

test('a conv2d of even kernel and odd stride has the gradients of finite differences', (t) => {
  const inputs = [randomTensor('x', [1, 5, 8, 1]), randomTensor('w', [2, 4, 1, 2])]
  for (const padding of ['same', 'valid'] as const) {
    checkGradient(t, 'conv2d', (a, b) => tf.conv2d(a as tf.Tensor4D, b as tf.Tensor4D, [2, 3], padding), inputs)
  }
})

const unary: { readonly [name: string]: readonly [low: number, high: number] } = {
  abs: [0.2, 2],
  acos: [-0.8, 0.8],
  acosh: [1.3, 3],
  asin: [-0.8, 0.8],
  asinh: [-2, 2],
  atan: [-2, 2],
  atanh: [-0.8, 0.8],
  cos: [-2, 2],
  cosh: [-1, 1],
  elu: [-2, -0.1],
  erf: [-1, 1],
  exp: [-1, 1],
  expm1: [-1, 1],
  log: [0.5, 2],
  log1p: [0, 2],
  logSigmoid: [-2, 2],
  logSoftmax: [-2, 2],
  neg: [-1, 1],
  reciprocal: [0.5, 2],
  relu: [0.1, 2],
  relu6: [0.1, 5],
  rsqrt: [0.5, 2],
  selu: [-2, -0.1],
  sigmoid: [-2, 2],
  sin: [-2, 2],
  sinh: [-1, 1],
  softmax: [-2, 2],
  softplus: [-2, 2],
  sqrt: [0.5, 2],
  square: [-2, 2],
  tan: [-1, 1],
  tanh: [-2, 2],
}
for (const [name, [low, high]] of Object.entries(unary)) {
  test(`${name} has the gradient of finite differences`, (t) => {
    const f = (tf as unknown as { [name: string]: (x: tf.Tensor) => tf.Tensor })[name]
    checkGradient(t, name, f, [randomTensor(name, [2, 5], low, high)])
  })
}

const { add, sub, mul, div, squaredDifference, maximum, minimum, pow, atan2 } = tf
for (const [name, f] of Object.entries({ add, sub, mul, div, squaredDifference, maximum, minimum, pow, atan2 })) {
  test(`${name} has the gradients of finite differences, also where it broadcasts`, (t) => {
    const a = randomTensor('a', [2, 3, 4], 1, 2)
    for (const shape of [[2, 3, 4], [4], [3, 1], [1, 3, 4], [1, 1, 1]])
      checkGradient(t, name, f, [a, randomTensor('b', shape, 0.3, 0.9)], 1e-2)
    checkGradient(t, name, f, [randomTensor('c', [4], 1, 2), randomTensor('d', [3, 4], 0.3, 0.9)], 1e-2)
  })
}

const shaped: { readonly [name: string]: (x: tf.Tensor) => tf.Tensor } = {
  sum: (x) => tf.sum(x, [0, 2]),
  'sum of all': (x) => tf.sum(x),
  mean: (x) => tf.mean(x, 1, true),
  max: (x) => tf.max(x, -1),
  min: (x) => tf.min(x, 0),
  cumsum: (x) => tf.cumsum(x, 2, true),
  logSumExp: (x) => tf.logSumExp(x, -1),
  norm: (x) => tf.norm(x, 2, -1),
  transpose: (x) => tf.transpose(x, [2, 0, 1]),
  reshape: (x) => tf.reshape(x, [4, 6]),
  slice: (x) => tf.slice(x, [0, 1, 1], [2, 2, -1]),
  pad: (x) =>
    tf.pad(x, [
      [1, 0],
      [0, 2],
      [1, 1],
    ]),
  tile: (x) => tf.tile(x, [2, 1, 3]),
  reverse: (x) => tf.reverse(x, [0, 2]),
  concat: (x) => tf.concat([x, tf.mul(x, 2)], 1),
  stack: (x) => tf.stack([x, tf.mul(x, 2)], 1),
  unstack: (x) => tf.add(tf.unstack(x, 0)[0], tf.mul(tf.unstack(x, 0)[1], 3)),
  split: (x) => tf.mul(tf.split(x, 2, 2)[0], tf.split(x, 2, 2)[1]),
  where: (x) => tf.where(tf.greater(tf.add(x, [4, -4, 4, -4]), 0), tf.mul(x, 2), tf.mul(x, 5)),
  gather: (x) => tf.gather(x, tf.tensor1d([1, 0, 1], 'int32')),
  clip: (x) => tf.clipByValue(x, -10, 10),
  leakyRelu: (x) => tf.leakyRelu(tf.add(x, 3), 0.1),
  addN: (x) => tf.addN([x, tf.mul(x, 2)]),
  chained: (x) =>
    x
      .mul(2)
      .add(1)
      .reshape([6, 4])
      .concat([x.reshape([6, 4])], 1)
      .sum(0)
      .square(),
}
for (const [name, f] of Object.entries(shaped)) {
  test(`the gradient of ${name} is that of finite differences`, (t) => checkGradient(t, name, f, [randomTensor(name, [2, 3, 4])], 1e-2))
}

for (const [name, pool] of Object.entries({ maxPool: tf.maxPool, avgPool: tf.avgPool })) {
  test(`${name} has the gradient of finite differences`, (t) => {
    // Distinct values, so that no difference changes which is the largest.
    const values = Float32Array.from({ length: 72 }, (_, i) => ((i * 29) % 72) / 20)
    for (const padding of ['valid', 'same'] as const)
      checkGradient(t, name, (x) => pool(x as tf.Tensor4D, 2, 2, padding), [tf.tensor(values, [1, 6, 6, 2])])
  })
}

test('sums over rows are those of tfjs', (t) => {
  const x = randomTensor('x', [5, 2, 3])
  near(t, (runKernel('SumRows', { x }, { shape: [2, 3] }) as tf.Tensor).dataSync(), tf.sum(x, 0).dataSync(), 'SumRows', 1e-6)
})

test('one fused step of Adam is the textbook formula', (t) => {
  const n = 50
  const [p, g] = [numbers('p', n), numbers('g', n)]
  const [m, v] = [new Float32Array(n), new Float32Array(n)]
  const expected = Float64Array.from(p)
  const [em, ev] = [new Float64Array(n), new Float64Array(n)]
  let [beta1Power, beta2Power] = [1, 1]
  for (let step = 1; step <= 20; step++) {
    beta1Power *= 0.9
    beta2Power *= 0.999
    t.is(adamStep(p, g, m, v, { learningRate: 1e-2, beta1: 0.9, beta2: 0.999, epsilon: 1e-6, beta1Power, beta2Power }), 0)
    for (let i = 0; i < n; i++) {
      em[i] = 0.9 * em[i] + 0.1 * g[i]
      ev[i] = 0.999 * ev[i] + 0.001 * g[i] * g[i]
      expected[i] -= (1e-2 * (em[i] / (1 - beta1Power))) / (Math.sqrt(ev[i] / (1 - beta2Power)) + 1e-6)
    }
  }
  near(t, p, expected, 'parameters', 1e-5)
  g[7] = Infinity
  t.not(adamStep(p, g, m, v, { learningRate: 1e-2, beta1: 0.9, beta2: 0.999, epsilon: 1e-6, beta1Power, beta2Power }), 0)
})

test('weight decay of Adam is decoupled from its moments, and none changes no bit', (t) => {
  const at = (weightDecay?: number) => {
    const [p, m, v] = [numbers('p', 9), new Float32Array(9), new Float32Array(9)]
    const c = { learningRate: 0.5, beta1: 0.9, beta2: 0.999, epsilon: 1e-6, beta1Power: 0.9, beta2Power: 0.999, weightDecay }
    t.is(adamStep(p, numbers('g', 9), m, v, c), 0)
    return { p, m, v }
  }
  const [plain, none, decayed] = [at(), at(0), at(0.1)]
  t.deepEqual(none, plain)
  t.deepEqual([decayed.m, decayed.v], [plain.m, plain.v])
  near(
    t,
    decayed.p,
    plain.p.map((p, i) => p - 0.5 * 0.1 * numbers('p', 9)[i]),
    'parameters',
    1e-6,
  )
})

test('Adam on the heap of the backend has the same bits as in plain arrays', (t) => {
  for (const n of [1, 3, 4, 101]) {
    const tensors = ['p', 'g', 'm', 'v'].map((name) => randomTensor(`${name}${n}`, [n], name === 'v' ? 0 : -1))
    const plain = tensors.map((tensor) => tensor.dataSync().slice() as Float32Array)
    const coefficients = {
      weightDecay: 0.01,
      learningRate: 2e-3,
      beta1: 0.9,
      beta2: 0.999,
      epsilon: 1e-6,
      beta1Power: 0.729,
      beta2Power: 0.997,
    }
    const [p, g, m, v] = tensors.map(viewOf)
    t.is(adamStep(p, g, m, v, coefficients), 0)
    t.is(adamStep(plain[0], plain[1], plain[2], plain[3], coefficients), 0)
    tensors.forEach((tensor, i) => t.deepEqual(tensor.dataSync(), plain[i]))
    viewOf(tensors[1])[0] = NaN
    t.not(adamStep(p, g, m, v, coefficients), 0)
  }
})

test('the backend leaves no process-wide error handlers', (t) => {
  const wasm = process.listeners('uncaughtException').filter((listener) => String(listener).includes('ExitStatus'))
  t.is(wasm.length, 0)
})
