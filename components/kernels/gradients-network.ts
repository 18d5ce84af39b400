/** Derivatives of convolution, pooling, batch normalisation and resizing. */
import { gradient } from './kernel.js'
import type { GradConfig, Tensor, Tf } from './kernel.js'

/** Gradients by kernel name. */
export function networkGradients(tf: Tf): GradConfig[] {
  const run = (name: string, inputs: { [name: string]: Tensor }, attrs: {}): Tensor => tf.engine().runKernel<Tensor>(name, inputs, attrs)
  return [
    gradient('Conv2D', { inputs: ['x', 'filter'] }, (dy, [x, filter], { strides, pad, dilations, dataFormat, dimRoundingMode }) => ({
      x: () => {
        if (!tf.backend_util.tupleValuesAreOne(dilations)) throw new Error('no gradient of a dilated conv2d by its input')
        return run('Conv2DBackpropInput', { dy, filter }, { strides, pad, dataFormat, dimRoundingMode, inputShape: x.shape })
      },
      filter: () =>
        run('Conv2DBackpropFilter', { x, dy }, { strides, pad, dilations, dataFormat, dimRoundingMode, filterShape: filter.shape }),
    })),
    gradient('Conv2DBackpropInput', { inputs: ['dy', 'filter'] }, (ddx, [dy, filter], { strides, pad, dataFormat, dimRoundingMode }) => ({
      dy: () => tf.conv2d(ddx as never, filter as never, strides, pad, dataFormat, 1, dimRoundingMode),
      filter: () =>
        run('Conv2DBackpropFilter', { x: ddx, dy }, { strides, pad, dilations: 1, dataFormat, dimRoundingMode, filterShape: filter.shape }),
    })),
    gradient('MaxPool', { inputs: ['x'], output: true }, (dy, [x, y], { filterSize, strides, pad, dimRoundingMode }) => ({
      x: () => run('MaxPoolGrad', { dy, input: x, output: y }, { filterSize, strides, pad, dimRoundingMode }),
    })),
    gradient('AvgPool', { inputs: ['x'] }, (dy, [x], { filterSize, strides, pad, dimRoundingMode }) => ({
      x: () => {
        const perWindow = windowShares(tf, x.shape, filterSize, strides, pad, dimRoundingMode)
        return run('AvgPoolGrad', { dy: perWindow ? tf.mul(dy, perWindow) : dy, input: x }, { filterSize, strides, pad, dimRoundingMode })
      },
    })),
    gradient('FusedBatchNorm', { inputs: ['x', 'mean', 'variance', 'scale'] }, (dy, [x, mean, variance, scale], { varianceEpsilon }) =>
      batchNormGradients(tf, dy, x, mean, variance, scale, varianceEpsilon),
    ),
    gradient('ResizeBilinear', { inputs: ['images'] }, (dy, [images], attrs) => ({
      images: () => run('ResizeBilinearGrad', { dy, images }, attrs),
    })),
    gradient('ResizeNearestNeighbor', { inputs: ['images'] }, (dy, [images], attrs) => ({
      images: () => run('ResizeNearestNeighborGrad', { dy, images }, attrs),
    })),
  ]
}

/**
 * Size of the window over how many of its elements lie inside the image, [1, height, width, 1] of the output. The wasm AvgPool
 * divides by the second and AvgPoolGrad by the first; `undefined` where all windows lie inside.
 */
function windowShares(
  tf: Tf,
  shape: number[],
  filterSize: number | [number, number],
  strides: number | [number, number],
  pad: 'same' | 'valid' | number,
  dimRoundingMode?: 'floor' | 'round' | 'ceil',
): Tensor | undefined {
  const info = tf.backend_util.computePool2DInfo(shape as [number, number, number, number], filterSize, strides, 1, pad, dimRoundingMode)
  const inside = (position: number, stride: number, before: number, window: number, length: number): number =>
    Math.min(length, position * stride - before + window) - Math.max(0, position * stride - before)
  const shares = new Float32Array(info.outHeight * info.outWidth)
  const full = info.filterHeight * info.filterWidth
  for (let row = 0; row < info.outHeight; row++) {
    const rows = inside(row, info.strideHeight, info.padInfo.top, info.filterHeight, info.inHeight)
    for (let column = 0; column < info.outWidth; column++) {
      const columns = inside(column, info.strideWidth, info.padInfo.left, info.filterWidth, info.inWidth)
      shares[row * info.outWidth + column] = full / (rows * columns)
    }
  }
  return shares.every((share) => share === 1) ? undefined : tf.tensor(shares, [1, info.outHeight, info.outWidth, 1])
}

/** y = (x − mean)·scale/√(variance + ε) + offset, with mean and variance as independent inputs. */
function batchNormGradients(tf: Tf, dy: Tensor, x: Tensor, mean: Tensor, variance: Tensor, scale: Tensor | undefined, epsilon: number) {
  const axes = tf.broadcast_util.getReductionAxes(mean.shape, x.shape)
  const to = (dx: Tensor): Tensor => tf.reshape(axes.length > 0 ? tf.sum(dx, axes) : dx, mean.shape)
  const inverse = tf.rsqrt(tf.add(variance, epsilon))
  const gain = scale ? tf.mul(inverse, scale) : inverse
  const centred = (): Tensor => tf.sub(x, mean)
  return {
    x: () => tf.mul(dy, gain),
    mean: () => tf.neg(tf.mul(to(dy), gain)),
    variance: () => tf.mul(to(tf.mul(dy, centred())), tf.mul(tf.mul(gain, tf.square(inverse)), -0.5)),
    scale: () => tf.mul(to(tf.mul(dy, centred())), inverse),
    offset: () => to(dy),
  }
}
