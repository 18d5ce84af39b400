/** Layers that only have shapes, for tests of the compiler: quick, and independent of tfjs. */
import { builtInLayer, describe } from '../../components/define.js'
import { SwarmError } from '../../runtime/errors.js'
import { suggest } from '../../components/suggest.js'
import type { BlockSpec, BuiltIn, Layer, Options } from '../../components/define.js'

const forward = () => {
  throw new Error('a stub has no arithmetic')
}
const size = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1)

const numbers =
  (...names: string[]) =>
  (raw: Options): Options => {
    for (const [name, value] of Object.entries(raw)) {
      if (!names.includes(name)) throw new SwarmError('graph.unknown', { what: `unknown option '${name}'`, fix: suggest(name, names) })
      if (typeof value !== 'number' || !(value > 0))
        throw new SwarmError('graph.unknown', { what: `bad option '${name}'`, got: describe(value) })
    }
    return raw
  }

export const stubLayers: Record<string, BuiltIn<BlockSpec<any>>> = {
  dense: {
    name: 'dense',
    positional: 'units',
    options: numbers('units'),
    shape: (input, o) => {
      if (input.length !== 1) throw new Error('dense takes a flat input, [n]')
      return [o.units]
    },
    init: ([d], o, random) => ({ w: random.he([d, o.units]), b: random.zeros([o.units]) }),
    cost: ([d], o) => d * o.units,
    forward,
  },
  norm: { name: 'norm', options: numbers(), shape: (input) => input, init: (input, _o, random) => ({ g: random.ones(input) }), forward },
  relu: { name: 'relu', positional: 'slope', shape: (input) => input, forward },
  dropout: { name: 'dropout', positional: 'rate', options: numbers('rate'), shape: (input) => input, forward },
  flatten: { name: 'flatten', options: numbers(), shape: (input) => [size(input)], forward },
  add: {
    name: 'add',
    arity: 'many',
    options: numbers(),
    shape: (input, _o, inputs) => {
      const other = inputs.find((shape) => shape.join() !== input.join())
      if (other) throw new Error(`add needs equal shapes, [${input.join(', ')}] and [${other.join(', ')}] differ`)
      return input
    },
    forward,
  },
}

export const dense = (units: number): Layer => builtInLayer('dense', { units })
export const norm = (): Layer => builtInLayer('norm')
export const relu = (): Layer => builtInLayer('relu')
export const dropout = (rate: number): Layer => builtInLayer('dropout', { rate })
export const flatten = (): Layer => builtInLayer('flatten')
export const add: Layer = builtInLayer('add')
