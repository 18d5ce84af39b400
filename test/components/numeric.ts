/** What the tests of the maths share: seeded numbers, finite differences, definitions and frames of small VNodes. */
import type { ExecutionContext } from 'ava'
import type { LayerDefinition, VNodeMachineDefinition } from '../../components/definition.js'
import type { Options, Shape, Target } from '../../components/define.js'
import { tf } from '../../components/tf.js'
import type { MachineInput } from '../../runtime/compute/machine.js'
import { RandomStream } from '../../runtime/random.js'

/** Uniform numbers of a shape. */
export function numbers(label: string, size: number, low = -1, high = 1): Float32Array {
  const random = new RandomStream(1, label)
  return Float32Array.from({ length: size }, () => low + (high - low) * random.uniform())
}

export const sizeOf = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1)

export function randomTensor(label: string, shape: readonly number[], low = -1, high = 1): tf.Tensor {
  return tf.tensor(numbers(label, sizeOf(shape), low, high), [...shape])
}

/** Central differences of a scalar function of one float32 array. */
export function differences(x: Float32Array, f: (x: Float32Array) => number, h = 1e-2): Float32Array {
  return x.map((value, i) => {
    const at = (shift: number): number => f(Float32Array.from(x, (v, j) => (j === i ? value + shift : v)))
    return (at(h) - at(-h)) / (2 * h)
  })
}

/** Asserts that two arrays agree within `tolerance`, relative above 1 and absolute below. */
export function near(t: ExecutionContext, got: ArrayLike<number>, expected: ArrayLike<number>, what: string, tolerance = 5e-3): void {
  t.is(got.length, expected.length, `${what}: length`)
  for (let i = 0; i < got.length; i++) {
    const allowed = tolerance * Math.max(1, Math.abs(expected[i]))
    if (!(Math.abs(got[i] - expected[i]) <= allowed)) t.fail(`${what}[${i}]: expected ${expected[i]}, got ${got[i]}`)
  }
  t.pass()
}

/**
 * Asserts that tfjs's gradient of Σ c·f(xs) (c fixed numbers) by every x is that of finite differences.
 */
export function checkGradient(
  t: ExecutionContext,
  what: string,
  f: (...xs: tf.Tensor[]) => tf.Tensor,
  xs: readonly tf.Tensor[],
  tolerance = 5e-3,
): void {
  const weights = (size: number): Float32Array => numbers(`weights ${what}`, size)
  const value = (inputs: tf.Tensor[]): number => {
    const out = tf.tidy(() => f(...inputs))
    const [values, c] = [out.dataSync() as Float32Array, weights(out.size)]
    out.dispose()
    return values.reduce((sum, v, i) => sum + v * c[i], 0)
  }
  const gradients = tf.tidy(() => {
    const loss = (...inputs: tf.Tensor[]): tf.Tensor => {
      const out = f(...inputs)
      return tf.sum(tf.mul(out, tf.tensor(weights(out.size), out.shape)))
    }
    return tf
      .grads(loss)([...xs])
      .map((gradient) => gradient.dataSync())
  })
  xs.forEach((x, k) => {
    const expected = differences(x.dataSync() as Float32Array, (moved) => {
      const tensor = tf.tensor(moved, x.shape)
      const result = value(xs.map((other, i) => (i === k ? tensor : other)))
      tensor.dispose()
      return result
    })
    near(t, gradients[k], expected, `d ${what} / d input ${k}`, tolerance)
  })
}

export interface LayerSketch {
  readonly name: string
  readonly options?: Options
  readonly out: Shape
  /** Default: the layer before. */
  readonly from?: readonly number[]
}

export interface VNodeSketch {
  readonly input: Shape
  readonly layers: readonly LayerSketch[]
  readonly rule?: { name: string; options?: Options }
  readonly optimizer?: { name: string; options?: Options }
  readonly target?: Target
  readonly hasHead?: boolean
  readonly seed?: number
  readonly learningRate?: number
  readonly totalSteps?: number
  readonly milestones?: readonly number[]
}

/** A VNode definition with layers in a row. */
export function sketch(s: VNodeSketch): VNodeMachineDefinition {
  const layers: LayerDefinition[] = []
  for (const [i, { name, options = {}, out, from }] of s.layers.entries()) {
    const inputs = from ?? [i === 0 ? -1 : i - 1]
    const inputShapes = inputs.map((at) => (at < 0 ? s.input : layers[at].outputShape))
    layers.push({ id: `${name}-${i + 1}`, layer: { name, options }, inputs, inputShapes, outputShape: out })
  }
  const outputShape = layers.length > 0 ? layers[layers.length - 1].outputShape : s.input
  return {
    v: 1,
    vnode: {
      id: 'v1',
      inputs: ['source'],
      inputShapes: [s.input],
      outputShape,
      layers,
      hasHead: s.hasHead ?? true,
      parameters: 0,
      cost: 0,
    },
    target: s.target ?? { kind: 'categorical', classes: 3 },
    training: {
      rule: { name: s.rule?.name ?? 'pred', options: s.rule?.options ?? {} },
      optimizer: { name: s.optimizer?.name ?? 'adam', options: s.optimizer?.options ?? {} },
      batchSize: 4,
      epochs: 1,
      seed: s.seed ?? 1,
      totalSteps: s.totalSteps ?? 100,
      learningRate: s.learningRate ?? 1e-2,
      decay: 0.25,
      milestones: s.milestones ?? [],
    },
    bundles: {},
  }
}

/** A step of the log: `batch` samples of seeded numbers; labels are classes, or numbers where `size` is given. */
export function stepInput(
  step: number,
  shape: Shape,
  options: { batch?: number; classes?: number; size?: number; evaluation?: number } = {},
): MachineInput {
  const { batch = 4, classes = 3, size, evaluation = 0 } = options
  const x = numbers(`x ${step} ${evaluation}`, batch * sizeOf(shape))
  const random = new RandomStream(1, 'labels', step, evaluation)
  const labels = size === undefined ? Int32Array.from({ length: batch }, () => random.below(classes)) : numbers(`y ${step}`, batch * size)
  return inputOf(step, x, [batch, ...shape], labels, size, evaluation)
}

export function inputOf(
  step: number,
  x: Float32Array,
  shape: readonly number[],
  labels: Int32Array | Float32Array,
  size?: number,
  evaluation = 0,
): MachineInput {
  const header = { kind: 'output' as const, marks: 0, generation: 0, term: 1, step, position: step, evaluation, run: 'r', vnode: 'source' }
  const bytesOf = (values: Int32Array | Float32Array): Uint8Array => new Uint8Array(values.buffer, values.byteOffset, values.byteLength)
  const output = { dtype: 'float32' as const, shape, bytes: bytesOf(x) }
  const labelBytes =
    labels instanceof Int32Array
      ? { dtype: 'int32' as const, shape: [labels.length], bytes: bytesOf(labels) }
      : { dtype: 'float32' as const, shape: [shape[0], size!], bytes: bytesOf(labels) }
  return { step, evaluation, inputs: [{ header, output, labels: labelBytes, batch: `batch ${step}` }] }
}
