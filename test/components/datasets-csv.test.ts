import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import test from 'ava'
import { batch, datasets, normalise, openDataset } from '../../components/datasets/index.js'
import type { CsvOptions } from '../../components/datasets/index.js'
import { isSwarmError } from '../../runtime/errors.js'
import type { ErrorCode } from '../../runtime/errors.js'
import { temporaryFolder } from '../support/idx-files.js'

const IRIS = 'length,width,kind\n1,10,b\n3,10,a\n\n5,10,"b"\n7,10,a\n'

async function csv(text: string, options: CsvOptions) {
  const file = join(await temporaryFolder(), 'table.csv')
  await writeFile(file, text)
  return openDataset(datasets.csv(file, options))
}

test('columns become inputs, texts become classes in order of their names', async (t) => {
  const dataset = await csv(IRIS, { label: 'kind', standardise: false })
  t.is(dataset.id, 'table.csv')
  t.deepEqual(dataset.input, [2])
  t.deepEqual(dataset.target, { kind: 'categorical', classes: 2 })
  t.deepEqual(dataset.classNames, ['a', 'b'])
  const { inputs, labels } = batch(dataset.splits.train, Uint32Array.of(0, 1, 3))
  t.deepEqual([...inputs], [1, 10, 3, 10, 7, 10])
  t.deepEqual([...labels], [1, 0, 0])
  t.is(dataset.splits.test, undefined)
})

test('columns are standardised by the training rows; a constant one becomes 0', async (t) => {
  const folder = await temporaryFolder()
  const other = join(folder, 'test.csv')
  await writeFile(other, 'kind,width,length\na,11,8\n') // columns go by name, not by place
  const dataset = await csv(IRIS, { label: 'kind', test: other })
  const deviation = Math.sqrt(5)
  t.deepEqual(dataset.features, [
    { name: 'length', mean: 4, deviation },
    { name: 'width', mean: 10, deviation: 1 },
  ])
  t.deepEqual(
    [...dataset.splits.train.samples],
    [-3, 0, -1, 0, 1, 0, 3, 0].map((x) => Math.fround(x / (x === 0 ? 1 : deviation))),
  )
  t.deepEqual([...(dataset.splits.test?.samples ?? [])], [Math.fround(4 / deviation), 1])
  t.deepEqual([...normalise(dataset, [8, 11])], [Math.fround(4 / deviation), 1])
})

test('numbers as classes are sorted by size, given classes keep their order', async (t) => {
  t.deepEqual((await csv('x,y\n1,10\n2,9\n3,100\n', { label: 'y' })).classNames, ['9', '10', '100'])
  t.deepEqual([...(await csv('x,y\n1,no\n2,yes\n', { label: 'y', classes: ['yes', 'no', 'perhaps'] })).splits.train.labels], [1, 0])
})

test('continuous labels, several of them', async (t) => {
  const dataset = await csv('\uFEFFy1;x;y2\n1.5;2;-3e1\n2.5;4;7\n', { label: ['y1', 'y2'], target: 'continuous', delimiter: ';' })
  t.deepEqual(dataset.target, { kind: 'continuous', size: 2 })
  t.deepEqual([...batch(dataset.splits.train, Uint32Array.of(1, 0)).labels], [2.5, 7, 1.5, -30])
})

test('a fraction of the rows is set apart, the same for the same seed', async (t) => {
  const rows = Array.from({ length: 100 }, (_, i) => `${i},${i % 2}`).join('\n')
  const open = (seed: number) => csv(`x,y\n${rows}\n`, { label: 'y', test: 0.2, seed, standardise: false })
  const [first, again, other] = [await open(1), await open(1), await open(2)]
  t.deepEqual([first.splits.train.size, first.splits.test?.size], [80, 20])
  t.is(first.sha256, again.sha256)
  t.not(first.sha256, other.sha256)
  const all = [...first.splits.train.samples, ...(first.splits.test?.samples ?? [])].sort((a, b) => a - b)
  t.deepEqual(
    all,
    Array.from({ length: 100 }, (_, i) => i),
  )
})

const refusals: [string, string, CsvOptions, string[], ErrorCode?][] = [
  ['an empty file', '', { label: 'y' }, ['empty file']],
  ['column names alone', 'x,y\n', { label: 'y' }, ['no rows']],
  ['a missing label column', 'x,z\n1,2\n', { label: 'y' }, ['table.csv:1', "'y'", 'x, z']],
  ['a missing feature', 'x,y\n1,2\n', { label: 'y', features: ['w'] }, ["'w'"]],
  ['a label among the features', 'x,y\n1,2\n', { label: 'y', features: ['x', 'y'] }, ["column 2 'y'", 'both'].slice(1)],
  ['no inputs', 'y\n1\n', { label: 'y' }, ['no input columns']],
  ['a repeated column', 'x,x,y\n1,1,2\n', { label: 'y' }, ["'x'"]],
  ['a ragged row', 'x,y\n1,2\n\n3\n', { label: 'y' }, ['table.csv:4', '2 cells', 'got 1']],
  ['a cell that is not a number', 'x,y\n1,a\n2,b\nthree,a\n', { label: 'y' }, ["table.csv:4, column 1 'x'", "'three'"]],
  ['an empty cell', 'x,w,y\n1,,a\n', { label: 'y' }, ["table.csv:2, column 2 'w'", "''"]],
  ['a number beyond float32', 'x,y\n1e39,a\n', { label: 'y' }, ["'1e39'"]],
  ['an empty label', 'x,y\n1,a\n2,\n', { label: 'y' }, ["table.csv:3, column 2 'y'", 'empty label']],
  ['a continuous label that is a word', 'x,y\n1,a\n', { label: 'y', target: 'continuous' }, ["table.csv:2, column 2 'y'"]],
  ['an unknown class', 'x,y\n1,a\n2,c\n', { label: 'y', classes: ['a', 'b'] }, ['table.csv:3', 'a, b', "'c'"]],
  ['one class', 'x,y\n1,a\n2,a\n', { label: 'y' }, ['too few classes']],
  [
    'a thousand classes',
    `x,y\n${Array.from({ length: 1001 }, (_, i) => `1,${i / 7}`).join('\n')}`,
    { label: 'y' },
    ["target: 'continuous'"],
  ],
  ['two labels for classes', 'x,y,z\n1,2,3\n', { label: ['y', 'z'] }, ['continuous']],
  ['a fraction of 1', 'x,y\n1,a\n2,b\n', { label: 'y', test: 1 }, ['fraction']],
  ['an open quote', 'x,y\n"1,a\n2,b\n', { label: 'y' }, ['table.csv']],
  ['a test file that is not there', 'x,y\n1,a\n2,b\n', { label: 'y', test: 'nowhere.csv' }, ['nowhere.csv'], 'dataset.missing'],
]
for (const [what, text, options, parts, code = 'dataset.invalid'] of refusals) {
  test(`${what} is refused`, async (t) => {
    const error = await t.throwsAsync(csv(text, options))
    t.true(isSwarmError(error, code), `${error}`)
    for (const part of parts) t.true(error?.message.includes(part), `'${part}' is not in: ${error?.message}`)
  })
}
