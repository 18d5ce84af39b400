/** Trained networks in files, out and in again: TensorFlow.js computes the same with them, and a run that begins with them too. */
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { exportRun } from '../../actors/export-model.js'
import { openModel } from '../../actors/model.js'
import { prepare } from '../../actors/prepare.js'
import { readDefinition } from '../../actors/run/run-definition.js'
import { train } from '../../actors/train.js'
import { verifyRun } from '../../actors/verify.js'
import { fromArrays, normalise } from '../../components/datasets/index.js'
import { decodeSafetensors } from '../../components/interchange/safetensors.js'
import { builtInLayers, dense, flatten, relu, rmsNorm } from '../../components/layers/index.js'
import { block, continuous, network, type Network } from '../../components/network.js'
import { backprop, pred, solo } from '../../components/rules/index.js'
import { tf } from '../../components/tf.js'
import { memoryStore } from '../../runtime/object-store/memory-store.js'
import { gated, smooth } from '../../examples/custom-block-and-rule/custom.js'
import { answersAtStart, NETWORKS, ON, refused, samples, TASK, trained, TRAINING } from '../support/exported-runs.js'
import { answersOf, loadLayersModel, saveLayersModel } from '../support/layers-models.js'
import * as networks from '../support/small-runs.js'

/** What was promised. */
const CLOSE = 1e-6

function isClose(t: ExecutionContext, got: Float32Array, expected: Float32Array): void {
  t.is(got.length, expected.length)
  const difference = expected.reduce((most, x, i) => Math.max(most, Math.abs(x - got[i])), 0)
  t.true(difference <= CLOSE, `differs by ${difference}`)
}

for (const [name, net] of Object.entries<Network>(NETWORKS)) {
  test.serial(`${name}: TensorFlow.js answers as the run does, and so does a run that begins with the files`, async (t) => {
    const { store, folder } = await trained(t, net)
    const raw = await samples()
    const model = await openModel(store, 'a')
    const { probabilities: expected } = await model.predict(raw)
    t.true(new Set(expected).size > 20, 'it has learnt something')
    const [json, bin] = await model.export(join(folder, 'web'), { format: 'tfjs' })
    t.is(bin, join(folder, 'web', 'weights.bin'))
    const [file] = await model.export(join(folder, 'a.safetensors'))
    await model.close()

    const loaded = await loadLayersModel(json)
    const { data } = await readDefinition(store, 'a')
    isClose(t, answersOf(loaded, normalise(data, raw)), expected)

    // Another seed: what is not taken from the file would show.
    const own = await answersAtStart(store, net, { seed: 99, from: file }, raw)
    t.deepEqual(own.probabilities, expected)
    t.deepEqual(own.notes, [])
    t.deepEqual(own.initial, (await prepare(net, { ...TRAINING, from: 'a' }, store)).definition.initial, 'every bit is that of the run')
    const theirs = await answersAtStart(store, net, { seed: 99, from: json }, raw)
    t.deepEqual(theirs.probabilities, expected)
    // Of the VNode that answers, too, what only learning needs.
    t.is(theirs.notes.length, 1)
    t.regex(theirs.notes[0], /tensors? '.*\/head\/.* begins? from the seed, since a LayersModel has only what leads to the answer/)

    const saved = await saveLayersModel(loaded, join(folder, 'again'))
    loaded.dispose()
    t.deepEqual((await answersAtStart(store, net, { seed: 99, from: saved }, raw)).probabilities, expected, 'saved again by TensorFlow.js')
  })
}

test('every layer is in one of the networks above, or is refused by name', (t) => {
  const used = new Set(Object.values<Network>(NETWORKS).flatMap(({ layers }) => layers.map(({ call }) => call.name)))
  const others = Object.keys(builtInLayers).filter((name) => !used.has(name))
  t.deepEqual(others.toSorted(), ['embedding', 'head', 'positionEmbedding', 'rmsNorm', 'selfAttention', 'transformerBlock'])
})

test.serial('a network for real numbers, trained end to end, answers with values', async (t) => {
  const inputs = Float32Array.from({ length: 4 * 64 }, (_, i) => ((i * 37) % 101) / 50 - 1)
  const labels = Float32Array.from({ length: 2 * 64 }, (_, i) => inputs[2 * i] - 2 * inputs[2 * i + 1])
  const target = continuous(2)
  const net = network({ input: [4], target }, [flatten(), block(dense(8), relu()), block(dense(6), relu())])
  const data = fromArrays({ inputs, labels, target, input: [4] })
  const { store, folder } = await trained(t, net, { data, rule: backprop() })
  const model = await openModel(store, 'a')
  const { probabilities } = await model.predict(inputs)
  const [json] = await model.export(join(folder, 'model.json'), { format: 'tfjs' })
  await model.close()
  t.is(json, join(folder, 'model.json'))
  const loaded = await loadLayersModel(json)
  isClose(t, answersOf(loaded, inputs), probabilities)
  loaded.dispose()
  const start = await answersAtStart(store, net, { data, rule: backprop(), from: json }, inputs)
  t.deepEqual([start.probabilities, start.notes], [probabilities, []])
})

test.serial('names, versions and the origin are in the files', async (t) => {
  const { store, folder } = await trained(t, NETWORKS.mlp)
  const { step, files } = await exportRun(store, 'a', join(folder, 'deep', 'a.safetensors'))
  t.is(step, 8)
  const { tensors, origin } = decodeSafetensors(await readFile(files[0]), files[0])
  t.like(origin, { run: 'a', step: 8, rule: 'predsim' })
  t.regex(origin!.network, /^[0-9a-f]{64}$/)
  t.deepEqual(
    [...tensors.keys()].filter((name) => name.startsWith('dense-1/')).toSorted(),
    [
      'head/bias',
      'head/head',
      'head/projector',
      'layers/batchNorm-1/beta',
      'layers/batchNorm-1/gamma',
      'layers/dense-1/b',
      'layers/dense-1/w',
      'state/batchNorm-1/mean',
      'state/batchNorm-1/variance',
    ].map((name) => `dense-1/${name}`),
  )
  const again = await exportRun(store, 'a', join(folder, 'again.safetensors'))
  t.deepEqual(await readFile(again.files[0]), await readFile(files[0]), 'the same run, the same bytes')
  const [json] = (await exportRun(store, 'a', folder, { format: 'tfjs' })).files
  const { userDefinedMetadata } = JSON.parse(await readFile(json, 'utf8')) as { userDefinedMetadata: { swarmgrad: object } }
  t.like(userDefinedMetadata.swarmgrad, { format: 1, ...origin, normalisation: { mean: 0.17, deviation: 0.28 } })
  t.deepEqual((await readdir(folder)).toSorted(), ['again.safetensors', 'deep', 'model.json', 'weights.bin'], 'nothing half-written')
})

test.serial('blocks and rules of a user go into safetensors, and not into a LayersModel, which says so by name', async (t) => {
  const { store, folder } = await trained(t, networks.chain, { rule: pred() })
  const { files } = await exportRun(store, 'a', join(folder, 'a.safetensors'))
  const { tensors } = decodeSafetensors(await readFile(files[0]), files[0])
  t.like(tensors.get('dense-1/state/chained-1/chain'), { dtype: 'int32', shape: [8] })
  const { initial } = await answersAtStart(store, networks.chain, { rule: pred(), from: files[0], seed: 9 }, await samples())
  t.deepEqual(initial, (await prepare(networks.chain, { ...TRAINING, rule: pred(), from: 'a' }, store)).definition.initial)

  const asModel = { format: 'tfjs' } as const
  await refused(
    t,
    exportRun(store, 'a', folder, asModel),
    'export.unsupported',
    /nothing like layer 'chained-1'.*got chained, which is your own\. .*safetensors/,
  )
  const refusals = [
    [
      network(TASK, [flatten(), block(dense(8), rmsNorm())]),
      pred(),
      /layer 'rmsNorm-1'.*got rmsNorm\. Export it with --format safetensors/,
    ],
    [network(TASK, [flatten(), gated({ units: 8 })]), pred(), /layer 'gated-1'/],
    [
      network(TASK, [flatten(), block(dense(8))]),
      smooth({ epsilon: 0.1 }),
      /head of rule 'smooth': expected one of .*predsim, relay, got a rule of your own/,
    ],
    [network(TASK, [flatten(), block(dense(8))]), solo(), /head of rule 'solo': expected one of .*relay, got 'solo', whose head has more/],
  ] as const
  for (const [net, rule, says] of refusals) {
    const other = await trained(t, net, { rule })
    await refused(t, exportRun(other.store, 'a', other.folder, asModel), 'export.unsupported', says)
    t.deepEqual(await readdir(other.folder), [])
    await exportRun(other.store, 'a', join(other.folder, 'a.safetensors'))
  }
})

test.serial('a place that cannot be is refused before anything is written', async (t) => {
  const { store, folder } = await trained(t, network(TASK, [flatten(), dense(4)]))
  await refused(t, exportRun(store, 'a', join(folder, 'a.bin')), 'usage', /ends in \.safetensors, got '.*a\.bin'/)
  await refused(
    t,
    exportRun(store, 'a', join(folder, 'a.safetensors'), { format: 'tfjs' }),
    'usage',
    /a folder, or the path of a model\.json/,
  )
  await refused(t, exportRun(store, 'a', folder, { format: 'onnx' as 'tfjs' }), 'usage', /safetensors or tfjs, got onnx/)
  await refused(t, exportRun(store, 'none', join(folder, 'a.safetensors')), 'run.not-found', /no run 'none'/)
  t.deepEqual(await readdir(folder), [])
  await exportRun(store, 'a', join(folder, 'a.safetensors'))
  await refused(t, exportRun(store, 'a', join(folder, 'a.safetensors', 'b'), { format: 'tfjs' }), 'store.unavailable', /cannot write/)
})

test.serial('a run that begins with a file can be verified, and gives the same hash wherever it is started', async (t) => {
  const { store, folder } = await trained(t, NETWORKS.mlp)
  const [file] = (await exportRun(store, 'a', join(folder, 'a.safetensors'))).files
  const first = await train(NETWORKS.mlp, { ...TRAINING, from: file }, { on: ON, store }, { id: 'b' }).result
  const elsewhere = memoryStore()
  const second = await train(NETWORKS.mlp, { ...TRAINING, from: file }, { on: ON, store: elsewhere }, { id: 'b' }).result
  const byRun = await train(NETWORKS.mlp, { ...TRAINING, from: 'a' }, { on: ON, store }, { id: 'c' }).result
  t.is(first.hash, second.hash)
  t.is(first.hash, byRun.hash)
  t.is((await verifyRun(store, 'b', { threads: false })).difference, undefined)
})

test.serial('neither exporting nor importing leaves tensors behind', async (t) => {
  const { store, folder } = await trained(t, NETWORKS.mlp)
  const before = tf.memory().numTensors
  const [file] = (await exportRun(store, 'a', join(folder, 'a.safetensors'))).files
  const [json] = (await exportRun(store, 'a', folder, { format: 'tfjs' })).files
  for (const from of [file, json]) await answersAtStart(store, NETWORKS.mlp, { from }, await samples())
  t.is(tf.memory().numTensors, before)
})
