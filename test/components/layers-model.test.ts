import { createHash } from 'node:crypto'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import * as fc from 'fast-check'
import { compile } from '../../components/compile.js'
import type { DefinitionRef, NetworkDefinition } from '../../components/definition.js'
import { type LayersModel, layersModelOf } from '../../components/interchange/layers-model.js'
import { batchNorm, builtInLayers, dense, dropout, relu } from '../../components/layers/index.js'
import { block, categorical, network, networkOf } from '../../components/network.js'
import { readLayersModel } from '../../components/interchange/read-layers-model.js'
import { isSwarmError, SwarmError } from '../../runtime/errors.js'
import type { StateTensor } from '../../runtime/state.js'
import { answersOf, loadLayersModel } from '../support/layers-models.js'

const ORIGIN = { version: '0.1.0', run: 'r', step: 3, network: 'cd'.repeat(32), rule: 'pred' }
const PRED: DefinitionRef = { name: 'pred', options: {} }
/** Any change of what is written needs a look at what reads it. */
const GOLDEN = 'b6f547af896e2c03e99b333529f2b8518dc536a2fcf52eb70ec4d1c89acf768e'

const small = compile(network({ input: [2], target: categorical(2) }, [block(dense(3), relu(), dropout(0.5))]), { layers: builtInLayers })

/** Every tensor counts: 0.1, 0.2 … */
function exported(of: NetworkDefinition, shapes: { readonly [name: string]: readonly number[] }, rule = PRED): LayersModel {
  const tensors = Object.entries(shapes).map(([name, shape]): [string, StateTensor] => {
    const values = Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => (i + 1) / 10)
    return [name, { name, dtype: 'float32', shape, values }]
  })
  return layersModelOf({ network: of, rule, tensors: new Map(tensors), origin: ORIGIN, about: { classNames: ['no', 'yes'] } })
}

const SHAPES = {
  'dense-1/layers/dense-1/w': [2, 3],
  'dense-1/layers/dense-1/b': [3],
  'dense-1/head/head': [3, 2],
  'dense-1/head/bias': [2],
}

test('the files of a model are these bytes', (t) => {
  const { json, weights } = exported(small, SHAPES)
  const hash = createHash('sha256').update(json)
  for (const piece of weights) hash.update(piece)
  t.is(hash.digest('hex'), GOLDEN, json)
  t.is(Buffer.concat(weights).byteLength, 4 * (6 + 3 + 6 + 2))
})

test('names that TensorFlow.js does not take, or that we need ourselves, are changed, and the model loads', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'swarmgrad-model-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  const entries = [
    { layer: dense(3), name: '-w' },
    { layer: dense(3), name: 'layer-w' },
    { layer: relu(), name: 'input' },
    { layer: relu(), name: '_a-head' },
  ]
  const odd = compile(networkOf({ input: [2], target: categorical(2) }, entries), { layers: builtInLayers })
  const shapes = {
    '-w/layers/-w/w': [2, 3],
    '-w/layers/-w/b': [3],
    'layer-w/layers/layer-w/w': [3, 3],
    'layer-w/layers/layer-w/b': [3],
    [`${odd.output}/head/head`]: [3, 2],
    [`${odd.output}/head/bias`]: [2],
  }
  const { json, weights } = exported(odd, shapes)
  await writeFile(join(folder, 'model.json'), json)
  await writeFile(join(folder, 'weights.bin'), Buffer.concat(weights))
  const model = await loadLayersModel(join(folder, 'model.json'))
  t.is(new Set(model.layers.map(({ name }) => name)).size, 6)
  const [no, yes] = answersOf(model, Float32Array.of(1, 2))
  t.true(no > 0 && no < yes && Math.abs(no + yes - 1) < 1e-6)
  model.dispose()
})

test('normalisation of more than images is refused by name', (t) => {
  const high = compile(network({ input: [2, 2, 2, 2], target: categorical(2) }, [batchNorm()]), { layers: builtInLayers })
  const error = t.throws(() => exported(high, {}), { instanceOf: SwarmError })
  t.is(error.code, 'export.unsupported')
  t.regex(error.message, /layer 'batchNorm-1': .*got BatchNormalization of \[2, 2, 2, 2\]/)
})

/** Every place in a JSON value. */
function* placesOf(value: unknown, path: readonly string[] = []): Generator<readonly string[]> {
  if (path.length > 0) yield path
  if (typeof value !== 'object' || value === null) return
  for (const [key, inner] of Object.entries(value)) yield* placesOf(inner, [...path, key])
}

test('whatever one value of a model.json is replaced by, it is read or refused by name', async (t) => {
  const { json, weights } = exported(small, SHAPES)
  const read = async () => new Uint8Array(Buffer.concat(weights))
  const attempt = (text: string) => readLayersModel(text, { where: 'model.json', read, network: small, rule: PRED })
  t.deepEqual(new Set((await attempt(json)).tensors.keys()), new Set(Object.keys(SHAPES)))
  const foreign = JSON.stringify({ ...(JSON.parse(json) as object), userDefinedMetadata: undefined })
  t.deepEqual(new Set((await attempt(foreign)).tensors.keys()), new Set(Object.keys(SHAPES)), 'layer by layer')
  for (const text of [json, foreign]) {
    const places = [...placesOf(JSON.parse(text))]
    const someValue = fc.constantFrom<unknown>(null, 0, -1, 1e300, 1.5, 'x', '', true, [], {}, [[]], [null])
    const property = fc.asyncProperty(fc.constantFrom(...places), someValue, async (path, value) => {
      const changed = JSON.parse(text) as object
      const parent = path.slice(0, -1).reduce((inner, key) => inner[key] as never, changed as { [key: string]: unknown })
      parent[path.at(-1)!] = value
      await attempt(JSON.stringify(changed)).catch((error: unknown) => {
        if (!isSwarmError(error, 'weights.damaged', 'weights.mismatch', 'weights.version')) throw error
      })
    })
    await fc.assert(property, { numRuns: 400 })
  }
})
