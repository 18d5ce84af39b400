import test from 'ava'
import {
  batch,
  batchesPerEpoch,
  batchIndices,
  datasets,
  epochOrder,
  fromArrays,
  makeDataset,
  openDataset,
  splitValidation,
} from '../../components/datasets/index.js'
import type { Dataset } from '../../components/datasets/index.js'
import type { DatasetSpec, Options, Target } from '../../components/define.js'
import { isSwarmError } from '../../runtime/errors.js'
import type { ErrorCode } from '../../runtime/errors.js'

const two: Target = { kind: 'categorical', classes: 2 }
const task = { input: [2], target: two }
const reference = { kind: 'dataset', name: 'mine', module: 'file:///mine.js', options: { scale: 2 } } as const
const spec: DatasetSpec<Options> = {
  module: 'file:///mine.js',
  name: 'mine',
  size: () => ({ train: 3, test: 1 }),
  at: (index, split, options) => ({ x: [index * Number(options.scale), split === 'test' ? 1 : 0], label: index % 2 }),
}

test('arrays: nested, flat, or bytes with a normalisation', (t) => {
  const nested = fromArrays({ inputs: [[[1, 2]], [[3, 4]]], labels: [0, 1], target: two })
  t.deepEqual(nested.input, [1, 2])
  const flat = fromArrays({ inputs: Float32Array.of(1, 2, 3, 4), labels: Uint8Array.of(0, 1), target: two, input: [1, 2] })
  t.is(flat.sha256, nested.sha256)
  t.deepEqual(fromArrays({ inputs: [1, 2, 3, 4], labels: [0, 1], target: two }).input, [2])
  const bytes = fromArrays({
    inputs: Uint8Array.of(0, 51, 102, 255),
    labels: [1, 0],
    target: two,
    normalisation: { mean: 0.2, deviation: 0.5 },
  })
  const { inputs, labels } = batch(bytes.splits.train, Uint32Array.of(1, 0, 1))
  t.deepEqual(
    [...inputs],
    [0.4 - 0.2, 1 - 0.2, -0.2, 0, 0.2, 0.8].map((x) => Math.fround(x / 0.5)),
  )
  t.deepEqual([...labels], [0, 1, 0])
  const continuous = fromArrays({
    inputs: [[1], [2]],
    labels: [
      [0.5, 1],
      [2, 3],
    ],
    target: { kind: 'continuous', size: 2 },
  })
  t.deepEqual([...batch(continuous.splits.train, Uint32Array.of(1)).labels], [2, 3])
})

test('a batch can be made in memory that is used again', (t) => {
  const { train } = fromArrays({
    inputs: [
      [1, 2],
      [3, 4],
    ],
    labels: [0, 1],
    target: two,
  }).splits
  const into = new Float32Array(6)
  const { inputs } = batch(train, Uint32Array.of(1, 0), into)
  t.is(inputs.buffer, into.buffer)
  t.deepEqual([...into], [3, 4, 1, 2, 0, 0])
  t.throws(() => batch(train, Uint32Array.of(0, 0, 0, 0), into), { message: /6 elements/ })
  t.throws(() => batch(train, Uint32Array.of(2)), { message: /sample 2 of a split of 2/ })
})

const refusedArrays: [string, Parameters<typeof fromArrays>[0], RegExp][] = [
  ['a label out of range', { inputs: [[1], [2]], labels: [0, 2], target: two }, /train sample 1.*0 to 1, got 2/],
  ['a negative label', { inputs: [[1], [2]], labels: [-1, 0], target: two }, /train sample 0/],
  ['a fraction as a class', { inputs: [[1], [2]], labels: [0, 0.5], target: two }, /label 1.*0.5/],
  ['NaN among the inputs', { inputs: [[1], [Number.NaN]], labels: [0, 1], target: two }, /finite.*train sample 1/],
  ['an infinite label', { inputs: [[1]], labels: [Infinity], target: { kind: 'continuous', size: 1 } }, /finite/],
  [
    'fewer labels than samples',
    { inputs: [[1], [2]], labels: [0], target: two, input: [1] },
    /one label for each sample.*expected 2, got 1/,
  ],
  ['ragged samples', { inputs: [[1, 2], [3]], labels: [0, 1], target: two }, /entry 1.*expected 2, got 1/],
  [
    'samples of another shape',
    {
      inputs: [
        [1, 2],
        [3, 4],
        [5, 6],
      ],
      labels: [0, 1, 0],
      target: two,
      input: [4],
    },
    /multiple of 4, got 6/,
  ],
  ['no samples', { inputs: [], labels: [], target: two, input: [1] }, /no samples/],
  ['one class', { inputs: [[1]], labels: [0], target: { kind: 'categorical', classes: 1 } }, /categorical target/],
  ['a normalisation of numbers', { inputs: [[1]], labels: [0], target: two, normalisation: { mean: 0, deviation: 1 } }, /Uint8Array/],
  [
    'a deviation of 0',
    { inputs: Uint8Array.of(1), labels: [0], target: two, normalisation: { mean: 0, deviation: 0 } },
    /positive deviation/,
  ],
  ['a test split that is wrong', { inputs: [[1]], labels: [0], target: two, test: { inputs: [[1]], labels: [3] } }, /test sample 0/],
]
for (const [what, options, message] of refusedArrays) {
  test(`arrays are refused: ${what}`, (t) => {
    const error = t.throws(() => fromArrays(options), { message })
    t.true(isSwarmError(error, 'dataset.invalid'))
  })
}

test('the hash is of the content: not of the name, but of order, labels, shape, target and normalisation', (t) => {
  const base = { input: [2], target: two, normalisation: { mean: 0, deviation: 1 } }
  const make = (change: object = {}, samples = [1, 2, 3, 4], labels = [0, 1]): Dataset =>
    makeDataset({ id: 'a', ...base, ...change }, { train: { samples: Uint8Array.from(samples), labels: Int32Array.from(labels) } })
  const hashes = [
    make(),
    make({}, [3, 4, 1, 2]),
    make({}, undefined, [1, 0]),
    make({ input: [1, 2] }),
    make({ target: { kind: 'categorical', classes: 3 } }),
    make({ normalisation: { mean: 0.5, deviation: 1 } }),
  ].map(({ sha256 }) => sha256)
  t.is(new Set(hashes).size, hashes.length)
  t.is(make({ id: 'b', classNames: ['x', 'y'] }).sha256, hashes[0])
  t.is(hashes[0], '423c4c656b647c79756fb3624b13b5e9cdcdb04aece8ae15b1c3cf7e12c043e9') // golden: runs are named by it
})

test('a definition is asked for all its samples, now or later', async (t) => {
  const progress: number[] = []
  const now = await openDataset(reference, { spec, task, onProgress: (done) => progress.push(done) })
  t.deepEqual([...now.splits.train.samples], [0, 0, 2, 0, 4, 0])
  t.deepEqual([...(now.splits.test?.samples ?? [])], [0, 1])
  t.is(progress.at(-1), 4)
  const later = await openDataset(reference, { spec: { ...spec, at: async (...sample) => spec.at(...sample) }, task })
  t.is(later.sha256, now.sha256)
  const withDefaults = await openDataset({ ...reference, options: {} }, { spec: { ...spec, options: () => ({ scale: 2 }) }, task })
  t.is(withDefaults.sha256, now.sha256)
  t.is(await openDataset(now), now)
})

const oops = () => {
  throw new Error('no file')
}
const refusedSpecs: [string, Partial<DatasetSpec<Options>>, ErrorCode, RegExp][] = [
  [
    'a sample of the wrong size',
    { at: (i) => ({ x: i === 2 ? [1] : [1, 2], label: 0 }) },
    'dataset.invalid',
    /mine, train sample 2.*expected 2.*got 1/,
  ],
  [
    'a label out of range',
    { at: (i, split) => ({ x: [1, 2], label: split === 'test' ? 2 : i % 2 }) },
    'dataset.invalid',
    /mine, test sample 0.*0 to 1, got 2/,
  ],
  ['two labels for one', { at: () => ({ x: [1, 2], label: [0, 1] }) }, 'dataset.invalid', /train sample 0.*1 number.*got 2/],
  ['no x', { at: () => ({ label: 0 }) as never }, 'dataset.invalid', /x is not an array/],
  ['nothing', { at: () => undefined as never }, 'dataset.invalid', /x is not an array/],
  ['NaN', { at: () => ({ x: [1, Number.NaN], label: 0 }) }, 'dataset.invalid', /finite.*train sample 0/],
  ['a size of -1', { size: () => ({ train: -1 }) }, 'dataset.invalid', /size of the train split.*-1/],
  ['at that throws', { at: oops }, 'definition.threw', /'mine' threw for train sample 0: no file/],
  ['at that rejects', { at: async () => oops() }, 'definition.threw', /'mine' threw for train sample 0: no file/],
  ['size that throws', { size: oops }, 'definition.threw', /'mine' threw for size: no file/],
]
for (const [what, change, code, message] of refusedSpecs) {
  test(`a definition is refused: ${what}`, async (t) => {
    const error = await t.throwsAsync(openDataset(reference, { spec: { ...spec, ...change }, task }), { message })
    t.true(isSwarmError(error, code))
  })
}

test('a definition stops when it is aborted, and is not opened without being loaded', async (t) => {
  const controller = new AbortController()
  const at: typeof spec.at = () => {
    controller.abort()
    return { x: [0, 0], label: 0 }
  }
  const endless = openDataset(reference, { spec: { ...spec, size: () => ({ train: 1e6 }), at }, task, signal: controller.signal })
  t.true(isSwarmError(await t.throwsAsync(endless), 'aborted'))
  t.true(isSwarmError(await t.throwsAsync(openDataset(reference)), 'usage'))
})

test('an unknown name and another task are refused', async (t) => {
  const error = await t.throwsAsync(openDataset({ kind: 'dataset', name: 'cifar', options: {} }), { message: /fashion-mnist.*'cifar'/ })
  t.true(isSwarmError(error, 'graph.unknown'))
  const small = datasets.glyphs({ train: 10, test: 0 })
  await t.throwsAsync(openDataset(small, { task: { input: [784], target: two } }), { message: /input shape.*\[784\], got \[28,28,1\]/ })
  await t.throwsAsync(openDataset(small, { task: { input: [28, 28, 1], target: two } }), { message: /target/ })
})

test('an epoch visits every sample once, in an order of its own; the last batch is smaller', (t) => {
  const [first, second] = [epochOrder(7, 0, 10), epochOrder(7, 1, 10)]
  for (const order of [first, second])
    t.deepEqual(
      [...order].sort((a, b) => a - b),
      [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
    )
  t.notDeepEqual(first, second)
  t.deepEqual(epochOrder(7, 0, 10), first)
  t.notDeepEqual(epochOrder(8, 0, 10), first)
  t.is(batchesPerEpoch(10, 4), 3)
  const batches = [0, 1, 2, 3].map((k) => [...batchIndices(first, k, 4)])
  t.deepEqual(
    batches.map(({ length }) => length),
    [4, 4, 2, 0],
  )
  t.deepEqual(batches.flat(), [...first])
  t.is([...first].join(), '1,7,2,5,3,8,9,0,4,6') // golden: the order decides the run's hash
})

test('validation samples are set apart from training samples by a seed', (t) => {
  const inputs = Array.from({ length: 50 }, (_, i) => [i])
  const dataset = fromArrays({ inputs, labels: inputs.map(([i]) => i % 2), target: two, test: { inputs: [[99]], labels: [1] } })
  const split = (seed: number) => splitValidation(dataset, 0.3, seed).splits
  const { train, validation, test: heldOut } = split(1)
  t.deepEqual([train.size, validation?.size, heldOut?.size], [35, 15, 1])
  t.deepEqual(
    [...train.samples, ...(validation?.samples ?? [])].sort((a, b) => a - b),
    inputs.flat(),
  )
  t.true(train.samples.every((x, i) => train.labels[i] === x % 2))
  t.deepEqual(split(1).validation?.samples, validation?.samples)
  t.notDeepEqual(split(2).validation?.samples, validation?.samples)
  t.not(splitValidation(dataset, 0.3, 1).sha256, dataset.sha256)
  for (const fraction of [0, 1, -0.5, Number.NaN]) t.throws(() => splitValidation(dataset, fraction, 1), { message: /fraction/ })
})
