import { z } from 'zod'
import type { BlockSpec, BuiltIn, Layer } from '../define.js'
import { callOf, checkOptions } from '../options.js'
import { sizeOf } from '../shapes.js'
import { tf } from '../tf.js'

const schema = z.strictObject({})

/** All dimensions of a sample as one, row-major. */
export const flattenSpec: BuiltIn<BlockSpec<{}>> = {
  name: 'flatten',
  options: (raw) => checkOptions("layer 'flatten'", schema, raw),
  shape: (input) => [sizeOf(input)],
  forward: (_parameters, x) => tf.reshape(x, [x.shape[0], x.size / x.shape[0]]),
  cost: () => 0,
}

/** Images to vectors. */
export function flatten(): Layer {
  return callOf(flattenSpec)
}
