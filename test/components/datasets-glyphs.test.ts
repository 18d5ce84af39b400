import { createHash } from 'node:crypto'
import test from 'ava'
import { datasets, openDataset } from '../../components/datasets/index.js'

test('glyphs are the same bits everywhere', async (t) => {
  const dataset = await openDataset(datasets.glyphs({ train: 500, test: 100 }))
  const { train, test: heldOut } = dataset.splits
  t.is(createHash('sha256').update(train.samples).digest('hex'), 'e7ebc1e5de7421b9f60aa2d05daf3d3f522bb4973c9138246cb9fc145da93d2e')
  t.is(dataset.sha256, 'a72df23b0581eab624d64a2020aedda571ee44b2dc3d9cc805aac7bb506bdb83')
  t.deepEqual([train.size, heldOut?.size], [500, 100])
  t.deepEqual(Array.from(train.labels.subarray(0, 11)), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0])
})

test('an image depends on seed, split and number, not on how many there are', async (t) => {
  const open = async (train: number, seed: number) => (await openDataset(datasets.glyphs({ train, test: 10, seed }))).splits
  const [few, many, other] = [await open(10, 0), await open(30, 0), await open(10, 1)]
  t.deepEqual(few.train.samples, many.train.samples.slice(0, 10 * 784))
  t.notDeepEqual(few.train.samples, other.train.samples)
  t.notDeepEqual(few.train.samples, few.test?.samples)
  t.is((await openDataset(datasets.glyphs({ train: 10, test: 0 }))).splits.test, undefined)
})

test('pixels have the mean and deviation that the normalisation says', async (t) => {
  const { splits, normalisation } = await openDataset(datasets.glyphs({ train: 2000, test: 0 }))
  const samples = Array.from(splits.train.samples)
  const mean = samples.reduce((sum, x) => sum + x / 255, 0) / samples.length
  const deviation = Math.sqrt(samples.reduce((sum, x) => sum + (x / 255 - mean) ** 2, 0) / samples.length)
  t.true(Math.abs(mean - (normalisation?.mean ?? 0)) < 0.01, `mean ${mean}`)
  t.true(Math.abs(deviation - (normalisation?.deviation ?? 0)) < 0.01, `deviation ${deviation}`)
})

test('wrong sizes and seeds are refused', async (t) => {
  for (const options of [{ train: 0 }, { train: 1.5 }, { test: -1 }, { train: 1e9 }, { seed: 0.5 }]) {
    await t.throwsAsync(openDataset(datasets.glyphs(options)), { message: /option '(train|test|seed)' of glyphs/ })
  }
})
