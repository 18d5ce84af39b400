/** Derivatives of kernels that move elements without changing them. */
import { gradient } from './kernel.js'
import type { GradConfig, Tensor, Tf } from './kernel.js'

/** Gradients by kernel name. */
export function shapeGradients(tf: Tf): GradConfig[] {
  const { reshape, cast } = tf
  return [
    gradient('Identity', {}, (dy) => ({ x: () => cast(dy, 'float32') })),
    gradient('Cast', {}, (dy) => ({ x: () => dy.clone() })),
    gradient('Reshape', { inputs: ['x'] }, (dy, [x]) => ({ x: () => reshape(dy, x.shape) })),
    gradient('ExpandDims', { inputs: ['input'] }, (dy, [x]) => ({ input: () => reshape(dy, x.shape) })),
    gradient('Transpose', {}, (dy, _saved, { perm }) => ({ x: () => tf.transpose(dy, tf.backend_util.getUndoAxesPermutation(perm)) })),
    {
      ...gradient('Concat', {}, () => ({})),
      saveAllInputs: true,
      gradFunc: (dy, saved, attrs) => splitBack(tf, dy as Tensor, saved, attrs),
    },
    {
      kernelName: 'SplitV',
      gradFunc: (dy, _saved, { axis }) => ({ x: () => tf.concat(dy as Tensor[], axis as number) }),
    },
    { kernelName: 'Unpack', gradFunc: (dy, _saved, { axis }) => ({ value: () => tf.stack(dy as Tensor[], axis as number) }) },
    {
      kernelName: 'Pack',
      saveAllInputs: true,
      gradFunc: (dy, saved, { axis }) => {
        const parts = tf.unstack(dy as Tensor, axis as number)
        return Object.fromEntries(saved.map((_, i) => [i, () => parts[i]]))
      },
    },
    gradient('Slice', { inputs: ['x'] }, (dy, [x], { begin, size }) => {
      const [from, sizes] = tf.slice_util.parseSliceParams(x, begin, size)
      return {
        x: () =>
          tf.pad(
            dy,
            x.shape.map((n, i): [number, number] => [from[i], n - from[i] - sizes[i]]),
          ),
      }
    }),
    gradient('PadV2', { inputs: ['x'] }, (dy, [x], { paddings }) => ({
      x: () =>
        tf.slice(
          dy,
          (paddings as number[][]).map(([before]) => before),
          x.shape,
        ),
    })),
    gradient('Tile', { inputs: ['x'] }, (dy, [x], { reps }) => ({
      x: () => {
        const split = x.shape.flatMap((n, i) => [reps[i] as number, n])
        return reshape(
          tf.sum(
            reshape(dy, split),
            x.shape.map((_, i) => 2 * i),
          ),
          x.shape,
        )
      },
    })),
    gradient('Reverse', {}, (dy, _saved, { dims }) => ({ x: () => tf.reverse(dy, dims) })),
    gradient('Select', { inputs: ['condition'] }, (dy, [condition]) => ({
      condition: () => tf.zeros(condition.shape),
      t: () => tf.mul(dy, cast(condition, 'float32')),
      e: () => tf.mul(dy, cast(tf.logicalNot(condition), 'float32')),
    })),
    gradient('OneHot', { inputs: ['indices'] }, (_dy, [indices]) => ({ indices: () => tf.zeros(indices.shape) })),
    gradient('GatherV2', { inputs: ['x', 'indices'] }, (dy, [x, indices], { axis, batchDims }) => ({
      x: () => scatterBack(tf, dy, x, indices, axis, batchDims),
      indices: () => tf.zeros(indices.shape),
    })),
    gradient('SpaceToBatchND', {}, (dy, _saved, { blockShape, paddings }) => ({ x: () => tf.batchToSpaceND(dy, blockShape, paddings) })),
    gradient('BatchToSpaceND', {}, (dy, _saved, { blockShape, crops }) => ({ x: () => tf.spaceToBatchND(dy, blockShape, crops) })),
  ]
}

function splitBack(tf: Tf, dy: Tensor, saved: Tensor[], attrs: { [name: string]: unknown }): { [input: string]: () => Tensor } {
  const axis = tf.util.parseAxisParam(attrs.axis as number, saved[0].shape)[0]
  const parts = tf.split(
    dy,
    saved.map(({ shape }) => shape[axis]),
    axis,
  )
  return Object.fromEntries(saved.map((_, i) => [i, () => parts[i]]))
}

/** The derivative of gather: rows of dy are added where they were taken from. */
function scatterBack(tf: Tf, dy: Tensor, x: Tensor, indices: Tensor, axis: number, batchDims: number): Tensor {
  const at = tf.util.parseAxisParam(axis, x.shape)[0]
  if (at !== 0 || batchDims) throw new Error('swarmgrad has a gradient of gather for axis 0 without batch dimensions only')
  const rows = indices.size
  const flatIndices = reshapeInt(tf, indices, [rows, 1])
  return tf.scatterND(flatIndices, tf.reshape(dy, [rows, ...x.shape.slice(1)]), x.shape)
}

function reshapeInt(tf: Tf, x: Tensor, shape: number[]): Tensor {
  return tf.cast(tf.reshape(x, shape), 'int32')
}
