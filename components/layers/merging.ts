/** Layers that join several inputs: functions of symbolic values, `add(a, b)`. */
import { z } from 'zod'
import { SwarmError } from '../../runtime/errors.js'
import type { BlockSpec, BuiltIn, Layer, Shape } from '../define.js'
import { callOf, checkOptions } from '../options.js'
import { sameShape, showShape, sizeOf } from '../shapes.js'
import { tf } from '../tf.js'

const none = z.strictObject({})

/** x₁ + x₂ + …; all of one shape. */
export const addSpec: BuiltIn<BlockSpec<{}>> = {
  name: 'add',
  arity: 'many',
  options: (raw) => checkOptions("layer 'add'", none, raw),
  shape: (input, _options, inputs) => {
    const other = inputs.find((shape) => !sameShape(shape, input))
    if (other) throw differ('add needs inputs of one shape', showShape(input), other)
    return input
  },
  forward: (_parameters, first, _context, _options, xs) => xs.slice(1).reduce((sum, x) => tf.add(sum, x), first),
  cost: sizeOf,
}

/** The inputs side by side along the last dimension; the others are equal. */
export const concatSpec: BuiltIn<BlockSpec<{}>> = {
  name: 'concat',
  arity: 'many',
  options: (raw) => checkOptions("layer 'concat'", none, raw),
  shape: (input, _options, inputs) => {
    const outer = input.slice(0, -1)
    const other = inputs.find((shape) => shape.length !== input.length || !sameShape(shape.slice(0, -1), outer))
    if (other)
      throw differ('concat needs inputs that are equal but for the last dimension', showShape([...outer, -1]).replace('-1', '*'), other)
    return [...outer, inputs.reduce((sum, shape) => sum + shape[shape.length - 1], 0)]
  },
  forward: (_parameters, _first, _context, _options, xs) => tf.concat([...xs], -1),
  cost: sizeOf,
}

/** The sum of its arguments: `add(a, b, …)`. */
export const add: Layer = callOf(addSpec)
/** Its arguments side by side along the last dimension: `concat(a, b, …)`. */
export const concat: Layer = callOf(concatSpec)

function differ(what: string, expected: string, got: Shape): SwarmError {
  return new SwarmError('graph.shape', { what, expected, got: showShape(got) })
}
