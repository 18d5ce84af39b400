/** Runs that begin with a file: what is taken from it, and which files are refused. */
import { readFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import test from 'ava'
import { exportRun } from '../../actors/export-model.js'
import { prepare, type TrainingOptions } from '../../actors/prepare.js'
import { weightsKey } from '../../actors/run/run-definition.js'
import { train } from '../../actors/train.js'
import { decodeSafetensors, encodeSafetensors, metadataOf } from '../../components/interchange/safetensors.js'
import { batchNorm, conv2d, dense, flatten, leakyRelu, relu, rmsNorm, tanh } from '../../components/layers/index.js'
import { block, network, type Network } from '../../components/network.js'
import { backprop, pred, predsim } from '../../components/rules/index.js'
import { memoryStore } from '../../runtime/object-store/memory-store.js'
import type { ObjectStore } from '../../runtime/object-store/object-store.js'
import { decodeState, type StateTensor } from '../../runtime/state.js'
import { ON, refused, samples, TASK, trained, TRAINING, answersAtStart } from '../support/exported-runs.js'
import { answersOf, saveLayersModel, tfjs } from '../support/layers-models.js'

const net = network(TASK, [flatten(), block(dense(12), batchNorm(), leakyRelu()), block(dense(8), relu())])

/** The first weights of a run, by VNode and tensor. */
async function weightsAtStart(store: ObjectStore, of: Network, options: Partial<TrainingOptions>) {
  const { definition, notes } = await prepare(of, { ...TRAINING, ...options }, store)
  const tensors = new Map<string, StateTensor>()
  for (const [vnode, hash] of Object.entries(definition.initial!)) {
    for (const tensor of decodeState((await store.get(weightsKey(hash))).bytes, hash)) tensors.set(`${vnode}/${tensor.name}`, tensor)
  }
  return { tensors, notes }
}

const isZero = ({ values }: StateTensor): boolean => values.every((x) => x === 0)

test.serial('under another rule the layers are taken and the heads begin from the seed, which an event says', async (t) => {
  const { store, folder } = await trained(t, net)
  const [from] = (await exportRun(store, 'a', join(folder, 'a.safetensors'))).files
  const file = decodeSafetensors(await readFile(from), from)
  const { tensors, notes } = await weightsAtStart(store, net, { from, rule: pred() })
  t.deepEqual(tensors.get('dense-2/layers/dense-2/w')!.values, file.tensors.get('dense-2/layers/dense-2/w')!.values)
  t.deepEqual(tensors.get('dense-1/state/batchNorm-1/mean')!.values, file.tensors.get('dense-1/state/batchNorm-1/mean')!.values)
  t.true(isZero(tensors.get('dense-2/head/head')!))
  const says =
    /a\.safetensors: tensors 'dense-1\/head\/bias'.* begin from the seed, since they were learnt with rule 'predsim', and this run has 'pred'$/
  t.is(notes.length, 1)
  t.regex(notes[0], says)
  const run = train(net, { ...TRAINING, from, rule: pred() }, { on: ON, store }, { id: 'b' })
  const warnings: string[] = []
  for await (const event of run.events()) if (event.type === 'warning') warnings.push(event.error.message)
  t.is((await run.result).status, 'done')
  t.deepEqual(warnings, notes)
})

test.serial('layers are found by their names: what was trained end to end goes on in VNodes', async (t) => {
  const { store, folder } = await trained(t, net, { rule: backprop() })
  const [from] = (await exportRun(store, 'a', join(folder, 'a.safetensors'))).files
  const { tensors, notes } = await weightsAtStart(store, net, { from, rule: predsim() })
  const file = decodeSafetensors(await readFile(from), from)
  t.true(file.tensors.has('network/layers/dense-2/w'))
  t.deepEqual(tensors.get('dense-2/layers/dense-2/w')!.values, file.tensors.get('network/layers/dense-2/w')!.values)
  t.is(notes.length, 2)
  t.regex(notes[1], /was exported from another network, that of run a; all names and shapes fit/)
})

test.serial('a file that somebody else wrote with our names is taken, with heads or without', async (t) => {
  const { store, folder } = await trained(t, net)
  const [from] = (await exportRun(store, 'a', join(folder, 'a.safetensors'))).files
  const { tensors: all } = decodeSafetensors(await readFile(from), from)
  await writeFile(from, Buffer.concat(encodeSafetensors(all.values())))
  const whole = await weightsAtStart(store, net, { from })
  t.deepEqual([whole.tensors.size, whole.notes], [all.size, []])
  t.false(isZero(whole.tensors.get('dense-2/head/head')!))
  const layers = [...all.values()].filter(({ name }) => !name.includes('/head/'))
  await writeFile(from, Buffer.concat(encodeSafetensors(layers)))
  const { tensors, notes } = await weightsAtStart(store, net, { from })
  t.true(isZero(tensors.get('dense-2/head/head')!))
  t.regex(notes[0], /begin from the seed, since the file has no heads/)
})

test.serial('a file of another network is refused by the name of a tensor, and nothing is kept of the run', async (t) => {
  const { store, folder } = await trained(t, net)
  const from = join(folder, 'a.safetensors')
  await exportRun(store, 'a', from)
  const start = (other: Network, options: Partial<TrainingOptions> = {}) =>
    train(other, { ...TRAINING, from, ...options }, { on: ON, store }, { id: 'b' }).result
  const wide = network(TASK, [flatten(), block(dense(12), batchNorm(), leakyRelu()), block(dense(9), relu())])
  await refused(
    t,
    start(wide),
    'weights.mismatch',
    /tensor 'dense-2\/layers\/dense-2\/w' .*a\.safetensors.*expected float32 \[12, 9\], got float32 \[12, 8\]/,
  )
  const deep = network(TASK, [flatten(), block(dense(12), batchNorm(), leakyRelu()), block(dense(8), relu()), block(dense(8), relu())])
  await refused(
    t,
    start(deep),
    'weights.mismatch',
    /the file lacks tensors '.*dense-3.*Start from an export of the same network, or train without --from/,
  )
  const flat = network(TASK, [flatten(), block(dense(12), leakyRelu()), block(dense(8), relu())])
  await refused(t, start(flat), 'weights.mismatch', /the network has no tensors '.*batchNorm-1/)
  await refused(t, start(net, { rule: predsim({ rank: 3 }) }), 'weights.mismatch', /'dense-1\/head\/projector' .*Give the rule the options/)
  await refused(
    t,
    train(net, { ...TRAINING, from: 'a', rule: pred() }, { on: ON, store }, { id: 'b' }).result,
    'run.changed',
    /swarmgrad export a/,
  )
  for await (const { key } of store.list('runs/b/')) t.fail(key)
})

test.serial('a file that lacks tensors, is cut short or of another version says what to do', async (t) => {
  const { store, folder } = await trained(t, net)
  const from = join(folder, 'a.safetensors')
  await exportRun(store, 'a', from)
  const start = (file = from) => prepare(net, { ...TRAINING, from: file }, store)
  const bytes = await readFile(from)
  const { tensors, origin } = decodeSafetensors(bytes, from)
  const rest = [...tensors.values()].filter(({ name }) => !name.endsWith('gamma') && name !== 'dense-2/head/bias')
  await writeFile(from, Buffer.concat(encodeSafetensors(rest, metadataOf(origin!))))
  await refused(
    t,
    start(),
    'weights.mismatch',
    /lacks tensors 'dense-1\/layers\/batchNorm-1\/gamma', 'dense-2\/head\/bias' \(.*a\.safetensors\)\. Start from/,
  )
  await writeFile(from, bytes.subarray(0, -5))
  await refused(t, start(), 'weights.damaged', /cut short .*Export it again/)
  await writeFile(from, Buffer.concat(encodeSafetensors(tensors.values(), { ...metadataOf(origin!), 'swarmgrad.format': '7' })))
  await refused(t, start(), 'weights.version', /expected 1, got 7\. Export it again with this version.*swarmgrad 0\./)
  await refused(t, start(join(folder, 'none.safetensors')), 'weights.missing', /no such file of weights .*none\.safetensors/)
  await refused(t, start('a.bin'), 'usage', /a run, a \.safetensors file or the model\.json of a LayersModel, got 'a\.bin'/)
  await refused(t, start(7 as never), 'usage', /got 7/)
})

test.serial('a LayersModel that is damaged, of another version or no LayersModel says what to do', async (t) => {
  const { store, folder } = await trained(t, net)
  const [from] = (await exportRun(store, 'a', folder, { format: 'tfjs' })).files
  const start = () => prepare(net, { ...TRAINING, from }, store)
  const text = await readFile(from, 'utf8')
  const change = (from_: string, to: string) => writeFile(from, text.replace(from_, to))
  await change('"swarmgrad":{"format":1', '"swarmgrad":{"format":2')
  await refused(t, start(), 'weights.version', /model\.json.*expected 1, got 2/)
  await change('"layers-model"', '"graph-model"')
  await refused(t, start(), 'weights.mismatch', /not a LayersModel .*got format 'graph-model'/)
  await change('"weights.bin"', '"../weights.bin"')
  await refused(t, start(), 'weights.damaged', /'\.\.\/weights\.bin', which is not beside it/)
  await change('"dtype":"float32"},{"name":"dense-1/bias"', '"dtype":"float32","quantization":{"dtype":"uint8"}},{"name":"dense-1/bias"')
  await refused(t, start(), 'weights.mismatch', /elements of tensor 'dense-1\/kernel' .*without quantization/)
  await change('"dense-1/kernel":"dense-1/layers/dense-1/w",', '')
  await refused(t, start(), 'weights.mismatch', /lacks tensor 'dense-1\/layers\/dense-1\/w'/)
  await writeFile(from, '{')
  await refused(t, start(), 'weights.damaged', /no JSON/)
  await writeFile(from, text)
  const weights = join(folder, 'weights.bin')
  await writeFile(weights, (await readFile(weights)).subarray(4))
  await refused(t, start(), 'weights.damaged', /'.*-2-head\/bias' is cut short/)
  await rename(weights, join(folder, 'moved'))
  await refused(t, start(), 'weights.missing', /weights\.bin.*Copy it beside/)
})

test.serial('a LayersModel made elsewhere is read layer by layer', async (t) => {
  const { layers } = tfjs
  const { folder } = await trained(t, net)
  const model = tfjs.sequential({
    layers: [
      layers.conv2d({ inputShape: [28, 28, 1], filters: 3, kernelSize: 3, strides: 4, padding: 'same', biasInitializer: 'randomNormal' }),
      layers.batchNormalization({ epsilon: 1e-5, betaInitializer: 'randomNormal', movingMeanInitializer: 'randomNormal' }),
      layers.reLU(),
      layers.flatten(),
      layers.dense({ units: 7, activation: 'tanh' }),
      layers.dense({ units: 10, activation: 'softmax', biasInitializer: 'randomNormal' }),
    ],
  })
  const from = await saveLayersModel(model, join(folder, 'elsewhere'))
  const same = network(TASK, [block(conv2d(3, { strides: 4 }), batchNorm(), relu()), block(flatten(), dense(7), tanh())])
  const store = memoryStore()
  const raw = await samples()
  const { probabilities, notes } = await answersAtStart(store, same, { from, rule: pred() }, raw)
  const { data } = (await prepare(same, { ...TRAINING, rule: pred() }, store)).definition
  const inputs = Float32Array.from(raw, (x) => (x / 255 - data.normalisation!.mean) / data.normalisation!.deviation)
  const expected = answersOf(model, inputs)
  const difference = expected.reduce((most, x, i) => Math.max(most, Math.abs(x - probabilities[i])), 0)
  t.true(difference <= 1e-6, `differs by ${difference}`)
  t.is(notes.length, 1, 'of the head of the first VNode')
  const start = (other: Network, rule = pred()) => prepare(other, { ...TRAINING, from, rule }, store)
  const order = network(TASK, [block(conv2d(3, { strides: 4 }), relu()), block(flatten(), dense(7), tanh())])
  await refused(
    t,
    start(order),
    'weights.mismatch',
    /expected Conv2D, Dense, got Conv2D, BatchNormalization, Dense, Dense\. It is read layer by layer/,
  )
  const wide = network(TASK, [block(conv2d(4, { strides: 4 }), batchNorm(), relu()), block(flatten(), dense(7), tanh())])
  await refused(t, start(wide), 'weights.mismatch', /expected float32 \[3, 3, 1, 4\], got float32 \[3, 3, 1, 3\]/)
  const own = network(TASK, [flatten(), block(dense(7), rmsNorm())])
  await refused(t, start(own), 'weights.mismatch', /anything like layer 'rmsNorm-1'/)
  model.dispose()
})
