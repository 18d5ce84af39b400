import { existsSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import test from 'ava'
import type { ExecutionContext } from 'ava'
import {
  batch,
  datasetFromShards,
  datasets,
  decodeText,
  encodeText,
  fromArrays,
  openDataset,
  shards,
} from '../../components/datasets/index.js'
import type { TextOptions } from '../../components/datasets/index.js'
import { isSwarmError } from '../../runtime/errors.js'
import { temporaryFolder } from '../support/idx-files.js'

async function textFile(content: string | Uint8Array): Promise<string> {
  const file = join(await temporaryFolder(), 'verse.txt')
  await writeFile(file, content)
  return file
}

const open = async (content: string | Uint8Array, options?: TextOptions) => openDataset(datasets.text(await textFile(content), options))

async function refused(t: ExecutionContext, content: string | Uint8Array, options: TextOptions, pattern: RegExp) {
  const error = await t.throwsAsync(open(content, options))
  t.true(isSwarmError(error, 'dataset.invalid'), String(error))
  t.regex(error.message, pattern)
}

test('a text is windows of characters, and for each character the one that follows', async (t) => {
  const text = 'abcabcdabc'
  const dataset = await open(text, { context: 3, test: 0, stride: 2 })
  t.deepEqual(dataset.input, [3])
  t.deepEqual(dataset.target, { kind: 'tokens', classes: 4 })
  t.deepEqual(dataset.classNames, ['a', 'b', 'c', 'd'])
  t.is(dataset.splits.test, undefined)
  const { train } = dataset.splits
  const { inputs, labels } = batch(
    train,
    Uint32Array.from({ length: train.size }, (_, i) => i),
  )
  const rows = (numbers: ArrayLike<number>) =>
    Array.from({ length: train.size }, (_, i) => decodeText(dataset, Array.from(numbers).slice(3 * i, 3 * i + 3)))
  t.deepEqual(rows(inputs), ['abc', 'cab', 'bcd', 'dab'])
  t.deepEqual(rows(labels), ['bca', 'abc', 'cda', 'abc'])
})

test('numbers of characters are whole, however many there are; the end of the text is for testing', async (t) => {
  const many = String.fromCodePoint(...Array.from({ length: 300 }, (_, i) => 0x1f300 + i))
  for (const [text, bytes] of [
    [many.slice(0, 2 * 256), true],
    [many, false],
  ] as const) {
    const size = Array.from(text).length
    const dataset = await open(text, { context: 10, test: 0.25 })
    const { train, test: held } = dataset.splits
    t.is(train.samples instanceof Uint8Array, bytes)
    const { inputs } = batch(
      train,
      Uint32Array.from({ length: train.size }, (_, i) => i),
    )
    t.deepEqual(
      Array.from(inputs),
      Array.from({ length: 10 * train.size }, (_, i) => i),
    )
    const first = size - Math.floor(size / 4)
    t.is(batch(held!, Uint32Array.of(0)).inputs[0], first)
    t.is(
      decodeText(dataset, batch(held!, Uint32Array.of(0)).inputs),
      Array.from(text)
        .slice(first, first + 10)
        .join(''),
    )
  }
})

test('a text is the same from its shards', async (t) => {
  const dataset = await open('to be or not to be, that is the question\n'.repeat(20), { context: 8, stride: 3 })
  const { manifest, pieces } = shards(dataset, { samplesPerShard: 50 })
  const bytes = new Map(pieces.map(({ sha256, bytes }) => [sha256, bytes()]))
  const again = await datasetFromShards(JSON.parse(JSON.stringify(manifest)) as typeof manifest, (sha256) => bytes.get(sha256)!)
  t.is(again.sha256, dataset.sha256)
  t.deepEqual(again.splits.test!.labels, dataset.splits.test!.labels)
  // The vocabulary is for people; what it means for the numbers is in them.
  t.deepEqual(again.classNames, dataset.classNames)
})

test('a text is told in the numbers of a data set, and a character that this lacks is named with its place', async (t) => {
  const dataset = await open('hello world', { context: 2, test: 0, vocabulary: 'abcdefghijklmnopqrstuvwxyz ' })
  t.deepEqual(Array.from(encodeText(dataset, 'cab')), [2, 0, 1])
  t.is(decodeText(dataset, encodeText(dataset, 'low word')), 'low word')
  const error = t.throws(() => encodeText(dataset, 'fine\nso far'))
  t.true(isSwarmError(error, 'dataset.invalid'))
  t.regex(error.message, /line 1, column 5.*got "\\n" \(U\+000A\)/)
})

test('what cannot be read as text is refused with the reason', async (t) => {
  await refused(t, 'abcdef', { context: 3, test: 0, vocabulary: 'abcde' }, /verse\.txt.*line 1, column 6|line 1, column 6.*verse\.txt/)
  await refused(t, 'ab\nc€', { context: 1, test: 0, vocabulary: 'abc\n' }, /line 2, column 2.*"€" \(U\+20AC\)/)
  await refused(t, 'abc', { vocabulary: 'abca' }, /twice.*"a"/)
  await refused(t, 'abc', { context: 3, test: 0 }, /training text.*4 characters or more.*got 3/)
  await refused(t, 'abcdefgh', { context: 3 }, /test text.*4 characters or more.*got 0/)
  await refused(t, 'abc', { context: 0 }, /context.*got 0/)
  await refused(t, 'abc', { stride: 1.5 }, /stride.*got 1\.5/)
  await refused(t, 'abc', { test: 1 }, /test.*got 1/)
  await refused(t, Uint8Array.of(0x61, 0xff, 0x62), { context: 1 }, /UTF-8/)
  const missing = await t.throwsAsync(openDataset(datasets.text('no/such.txt')))
  t.true(isSwarmError(missing, 'dataset.missing'))
  t.regex(missing.message, /such\.txt/)
})

test('labels of tokens in arrays: one for each number of a sample', (t) => {
  const target = { kind: 'tokens', classes: 3 } as const
  const dataset = fromArrays({ inputs: [[0, 1], [1, 2]], labels: [[1, 2], [2, 0]], target }) // prettier-ignore
  t.deepEqual(dataset.input, [2])
  t.deepEqual(batch(dataset.splits.train, Uint32Array.of(1)).labels, Int32Array.of(2, 0))
  const error = t.throws(() => fromArrays({ inputs: [[0, 1], [1, 2]], labels: [1, 2], target })) // prettier-ignore
  t.regex(error.message, /label/)
})

test('tokens in bytes are themselves; what is no number of a token is refused', (t) => {
  const target = { kind: 'tokens', classes: 65 } as const
  const inputs = Uint8Array.of(3, 64, 5, 0)
  const dataset = fromArrays({ inputs, labels: [64, 5, 0, 1], input: [4], target })
  t.deepEqual(Array.from(batch(dataset.splits.train, Uint32Array.of(0)).inputs), [3, 64, 5, 0])
  const refusal = (options: Partial<Parameters<typeof fromArrays>[0]>) => {
    const error = t.throws(() => fromArrays({ inputs, labels: [64, 5, 0, 1], input: [4], target, ...options }))
    t.true(isSwarmError(error, 'dataset.invalid'))
    return error.message
  }
  t.regex(refusal({ normalisation: { mean: 0, deviation: 1 } }), /not the number of a token.*expected a whole number from 0/)
  t.regex(refusal({ inputs: [3, 1.5, 5, 0] }), /not the number of a token.*got 1\.5/)
  t.regex(refusal({ inputs: [3, -1, 5, 0] }), /not the number of a token.*got -1/)
  t.regex(refusal({ labels: [64, 5, 0, 2 ** 32 + 1] }), /label 3.*got 4294967297/)
})

test.serial('a file that is not the published one is not taken for it', async (t) => {
  const root = await temporaryFolder()
  await mkdir(join(root, 'tiny-shakespeare'))
  await writeFile(join(root, 'tiny-shakespeare', 'input.txt'), 'abab'.repeat(100))
  const before = process.env.SWARMGRAD_DATA
  process.env.SWARMGRAD_DATA = root
  t.teardown(() => (before === undefined ? delete process.env.SWARMGRAD_DATA : (process.env.SWARMGRAD_DATA = before)))
  const error = await t.throwsAsync(openDataset(datasets.tinyShakespeare(), { download: false }))
  t.true(isSwarmError(error, 'dataset.damaged'), String(error))
  t.regex(error.message, /another file than the published one.*input\.txt.*got 400 bytes/)
})

const real = [process.env.SWARMGRAD_DATA, '../shared/data'].find((root) => root && existsSync(join(resolve(root), 'tiny-shakespeare')))
test.serial('tiny shakespeare has 65 characters', async (t) => {
  if (!real) {
    const error = await t.throwsAsync(openDataset(datasets.tinyShakespeare(), { download: false, cacheFolder: await temporaryFolder() }))
    t.true(isSwarmError(error, 'dataset.missing'))
    t.regex(error.message, /tiny-shakespeare.*input\.txt/s)
    return
  }
  const dataset = await openDataset(datasets.tinyShakespeare(), { download: false })
  t.is(dataset.classNames!.length, 65)
  t.is(decodeText(dataset, batch(dataset.splits.train, Uint32Array.of(0)).inputs).slice(0, 14), 'First Citizen:')
})
