/** `x.add(y)` and its like: the chained methods that tfjs declares and its Node bundle of tfjs-core does not have. */
import type { Tensor, Tf } from './kernels/kernel.js'

/** Methods whose arguments are those of the function of the same name after its first. */
const SAME = `abs acos acosh add all any argMax argMin asin asinh atan atan2 atanh avgPool batchToSpaceND batchNorm broadcastTo cast ceil
  clipByValue conv1d conv2d conv2dTranspose cos cosh cumprod cumsum depthToSpace depthwiseConv2d dilation2d div divNoNan dot elu
  equal erf euclideanNorm exp expandDims expm1 fft floor floorDiv gather greater greaterEqual ifft irfft isFinite isInf isNaN
  leakyRelu less lessEqual localResponseNormalization log log1p logSigmoid logSoftmax logSumExp logicalAnd logicalNot logicalOr
  logicalXor matMul max maxPool maximum mean min minimum mirrorPad mod mul neg norm notEqual oneHot onesLike pad pool pow prelu
  prod reciprocal relu relu6 reshape reverse rfft round rsqrt selu separableConv2d sigmoid sign sin sinh slice softmax softplus
  spaceToBatchND split sqrt square squaredDifference squeeze step stridedSlice sub sum tan tanh tile topk transpose unique
  unsortedSegmentSum unstack zerosLike`.split(/\s+/)

type Method = (this: Tensor, ...rest: any[]) => unknown

/** Adds the methods to the Tensor prototype; again is harmless. */
export function chainOps(tf: Tf): void {
  const functions = { ...tf.spectral, ...tf } as unknown as { [name: string]: (...all: unknown[]) => unknown }
  const own: { [name: string]: Method } = {
    as1D() {
      return tf.reshape(this, [this.size])
    },
    as2D(...shape: number[]) {
      return tf.reshape(this, shape)
    },
    as3D(...shape: number[]) {
      return tf.reshape(this, shape)
    },
    as4D(...shape: number[]) {
      return tf.reshape(this, shape)
    },
    as5D(...shape: number[]) {
      return tf.reshape(this, shape)
    },
    asScalar() {
      return tf.reshape(this, [])
    },
    asType(dtype) {
      return tf.cast(this, dtype)
    },
    concat(others: Tensor | Tensor[], axis) {
      return tf.concat([this, ...(Array.isArray(others) ? others : [others])], axis)
    },
    flatten() {
      return tf.reshape(this, [this.size])
    },
    reshapeAs(x: Tensor) {
      return tf.reshape(this, x.shape)
    },
    resizeBilinear(...rest) {
      return tf.image.resizeBilinear(this as never, ...(rest as [never]))
    },
    resizeNearestNeighbor(...rest) {
      return tf.image.resizeNearestNeighbor(this as never, ...(rest as [never]))
    },
    stack(others: Tensor | Tensor[], axis) {
      return tf.stack([this, ...(Array.isArray(others) ? others : [others])], axis)
    },
    toBool() {
      return tf.cast(this, 'bool')
    },
    toFloat() {
      return tf.cast(this, 'float32')
    },
    toInt() {
      return tf.cast(this, 'int32')
    },
    where(condition, x) {
      return tf.where(condition, this, x)
    },
  }
  for (const name of SAME)
    own[name] = function (...rest) {
      return functions[name](this, ...rest)
    }
  for (const [name, method] of Object.entries(own)) {
    Object.defineProperty(tf.Tensor.prototype, name, { value: method, configurable: true, writable: true, enumerable: false })
  }
}
