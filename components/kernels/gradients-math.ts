/** Derivatives of arithmetic, reductions and products. `dy` is the derivative of the loss by the kernel's output. */
import { gradient } from './kernel.js'
import type { GradConfig, Tensor, Tf } from './kernel.js'

/** Constant almost everywhere; without a gradient `tf.where(tf.greater(x, 0), …)` could not be differentiated. */
const STEPS_OF_TWO = 'Equal FloorDiv Greater GreaterEqual Less LessEqual LogicalAnd LogicalOr NotEqual'.split(' ')

/** Gradients by kernel name; formulas from any table of derivatives. */
export function mathGradients(tf: Tf): GradConfig[] {
  const { mul, div, sub, neg, add, square, sqrt, cast, zerosLike } = tf
  const sumTo = (dx: Tensor, shape: number[]): Tensor => sumToShape(tf, dx, shape)
  const mask = (condition: Tensor): Tensor => cast(condition, 'float32')
  const unary = (name: string, derivative: (x: Tensor) => Tensor): GradConfig =>
    gradient(name, { inputs: ['x'] }, (dy, [x]) => ({ x: () => mul(dy, derivative(cast(x, 'float32'))) }))
  const flat = (name: string): GradConfig => gradient(name, {}, (dy) => ({ x: () => tf.zeros(dy.shape) }))

  return [
    gradient('Add', { inputs: ['a', 'b'] }, (dy, [a, b]) => ({ a: () => sumTo(dy, a.shape), b: () => sumTo(dy, b.shape) })),
    gradient('Sub', { inputs: ['a', 'b'] }, (dy, [a, b]) => ({ a: () => sumTo(dy, a.shape), b: () => sumTo(neg(dy), b.shape) })),
    gradient('Multiply', { inputs: ['a', 'b'] }, (dy, [a, b]) => ({
      a: () => sumTo(mul(dy, cast(b, 'float32')), a.shape),
      b: () => sumTo(mul(dy, cast(a, 'float32')), b.shape),
    })),
    gradient('RealDiv', { inputs: ['a', 'b'] }, (dy, [a, b]) => ({
      a: () => sumTo(div(dy, cast(b, 'float32')), a.shape),
      b: () => sumTo(neg(div(mul(dy, cast(a, 'float32')), square(cast(b, 'float32')))), b.shape),
    })),
    gradient('SquaredDifference', { inputs: ['a', 'b'] }, (dy, [a, b]) => ({
      a: () => sumTo(mul(dy, mul(sub(a, b), 2)), a.shape),
      b: () => sumTo(mul(dy, mul(sub(b, a), 2)), b.shape),
    })),
    gradient('Maximum', { inputs: ['a', 'b'] }, (dy, [a, b]) => ({
      a: () => sumTo(mul(dy, mask(tf.greaterEqual(a, b))), a.shape),
      b: () => sumTo(mul(dy, mask(tf.less(a, b))), b.shape),
    })),
    gradient('Minimum', { inputs: ['a', 'b'] }, (dy, [a, b]) => ({
      a: () => sumTo(mul(dy, mask(tf.lessEqual(a, b))), a.shape),
      b: () => sumTo(mul(dy, mask(tf.greater(a, b))), b.shape),
    })),
    gradient('Pow', { inputs: ['a', 'b'], output: true }, (dy, [a, b, y]) => ({
      a: () => sumTo(mul(dy, mul(cast(b, 'float32'), tf.pow(a, sub(cast(b, 'float32'), 1)))), a.shape),
      b: () => sumTo(mul(dy, mul(y, tf.where(tf.greater(a, 0), tf.log(a), zerosLike(a)))), b.shape),
    })),
    gradient('Atan2', { inputs: ['a', 'b'] }, (dy, [a, b]) => {
      const radius = () => add(square(a), square(b))
      return { a: () => sumTo(mul(dy, div(b, radius())), a.shape), b: () => sumTo(neg(mul(dy, div(a, radius()))), b.shape) }
    }),
    gradient('Mod', { inputs: ['a', 'b'] }, (dy, [a, b]) => ({
      a: () => sumTo(dy, a.shape),
      b: () => sumTo(neg(mul(dy, tf.floor(div(a, b)))), b.shape),
    })),
    {
      kernelName: 'AddN',
      saveAllInputs: true,
      gradFunc: (dy, saved) => Object.fromEntries(saved.map((_, i) => [i, () => (dy as Tensor).clone()])),
    },

    unary('Abs', (x) => tf.sign(x)),
    unary('Acos', (x) => neg(tf.rsqrt(sub(1, square(x))))),
    unary('Acosh', (x) => tf.rsqrt(sub(square(x), 1))),
    unary('Asin', (x) => tf.rsqrt(sub(1, square(x)))),
    unary('Asinh', (x) => tf.rsqrt(add(square(x), 1))),
    unary('Atan', (x) => tf.reciprocal(add(square(x), 1))),
    unary('Atanh', (x) => tf.reciprocal(sub(1, square(x)))),
    unary('Cos', (x) => neg(tf.sin(x))),
    unary('Cosh', (x) => tf.sinh(x)),
    unary('Erf', (x) => mul(tf.exp(neg(square(x))), 1.1283791670955126)), // 2/√π
    unary('Expm1', (x) => tf.exp(x)),
    unary('Log', (x) => tf.reciprocal(x)),
    unary('Log1p', (x) => tf.reciprocal(add(x, 1))),
    unary('Neg', (x) => tf.fill(x.shape, -1)),
    unary('Reciprocal', (x) => neg(tf.reciprocal(square(x)))),
    unary('Rsqrt', (x) => mul(div(tf.rsqrt(x), x), -0.5)),
    unary('Sin', (x) => tf.cos(x)),
    unary('Sinh', (x) => tf.cosh(x)),
    unary('Sqrt', (x) => div(0.5, sqrt(x))),
    unary('Square', (x) => mul(x, 2)),
    unary('Tan', (x) => tf.reciprocal(square(tf.cos(x)))),
    gradient('Exp', { output: true }, (dy, [y]) => ({ x: () => mul(dy, y) })),
    gradient('ClipByValue', { inputs: ['x'] }, (dy, [x], { clipValueMin, clipValueMax }) => ({
      x: () => mul(dy, mask(tf.logicalAnd(tf.greaterEqual(x, clipValueMin), tf.lessEqual(x, clipValueMax)))),
    })),
    ...['Ceil', 'Floor', 'Round', 'Sign', 'Step', 'ZerosLike', 'OnesLike', 'IsFinite', 'IsInf', 'IsNan', 'LogicalNot'].map(flat),
    ...STEPS_OF_TWO.map((name) =>
      gradient(name, { inputs: ['a', 'b'] }, (_dy, [a, b]) => ({ a: () => tf.zeros(a.shape), b: () => tf.zeros(b.shape) })),
    ),

    gradient('Sum', { inputs: ['x'] }, (dy, [x], { axis }) => ({ x: () => spread(tf, dy, x, axis) })),
    gradient('Mean', { inputs: ['x'] }, (dy, [x], { axis }) => ({
      x: () => spread(tf, div(dy, x.size / dy.size), x, axis),
    })),
    ...(['Max', 'Min'] as const).map((name) =>
      gradient(name, { inputs: ['x'], output: true }, (dy, [x, y], { reductionIndices, axis }) => {
        const kept = keptShape(tf, x, reductionIndices ?? axis)
        return { x: () => mul(tf.reshape(dy, kept), mask(tf.equal(x, tf.reshape(y, kept)))) }
      }),
    ),
    gradient('Cumsum', { inputs: ['x'] }, (dy, _saved, { axis, exclusive, reverse }) => ({
      x: () => tf.cumsum(dy, axis, exclusive, !reverse),
    })),

    gradient('BatchMatMul', { inputs: ['a', 'b'] }, (dy, [a, b], { transposeA, transposeB }) => {
      const to = (dx: Tensor, x: Tensor): Tensor => sumTo(dx, x.shape)
      return {
        a: () => to(transposeA ? tf.matMul(b, dy, transposeB, true) : tf.matMul(dy, b, false, !transposeB), a),
        b: () => to(transposeB ? tf.matMul(dy, a, true, transposeA) : tf.matMul(a, dy, !transposeA, false), b),
      }
    }),
  ]
}

/** Sums `dx` over the dimensions that broadcasting added or stretched. */
export function sumToShape(tf: Tf, dx: Tensor, shape: number[]): Tensor {
  const axes = tf.broadcast_util.getReductionAxes(shape, dx.shape)
  if (axes.length > 0 && axes.every((axis, i) => axis === i) && tf.getBackend() === 'wasm') {
    return tf.engine().runKernel<Tensor>('SumRows', { x: dx }, { shape })
  }
  return tf.reshape(axes.length > 0 ? tf.sum(dx, axes) : dx, shape)
}

/** The shape of a reduction's output with its axes kept as 1. */
function keptShape(tf: Tf, x: Tensor, axis: number | number[] | undefined): number[] {
  const axes = tf.util.parseAxisParam(axis as number[], x.shape)
  return x.shape.map((size, i) => (axes.includes(i) ? 1 : size))
}

function spread(tf: Tf, dy: Tensor, x: Tensor, axis: number | number[] | undefined): Tensor {
  return tf.mul(tf.reshape(dy, keptShape(tf, x, axis)), tf.ones(x.shape))
}
