import test from 'ava'
import {
  datasetFromShards,
  datasets,
  fromArrays,
  openDataset,
  shardKey,
  shards,
  splitValidation,
  storeDataset,
} from '../../components/datasets/index.js'
import type { DataManifest, Dataset } from '../../components/datasets/index.js'
import { SwarmError, isSwarmError } from '../../runtime/errors.js'
import type { ObjectStore } from '../../runtime/object-store/object-store.js'

/** As much of a store as shards need. */
function mapStore(objects: Map<string, Uint8Array>): ObjectStore {
  const store: Pick<ObjectStore, 'get' | 'put'> = {
    get: async (key) => {
      const bytes = objects.get(key)
      if (!bytes) throw new SwarmError('store.not-found', key)
      return { bytes: bytes.slice(), etag: '' }
    },
    put: async (key, bytes, options) => {
      if (options?.ifNoneMatch && objects.has(key)) throw new SwarmError('store.conflict', key)
      objects.set(key, bytes.slice())
      return { etag: '' }
    },
  }
  return store as ObjectStore
}

const two = { kind: 'categorical', classes: 2 } as const
const small = fromArrays({
  inputs: Uint8Array.of(1, 2, 3, 4, 5, 6),
  labels: [0, 1, 1],
  target: two,
  test: { inputs: Uint8Array.of(7, 8), labels: [0] },
})

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex')

async function stored(dataset: Dataset, samplesPerShard?: number) {
  const objects = new Map<string, Uint8Array>()
  const store = mapStore(objects)
  const manifest = await storeDataset(store, dataset, { samplesPerShard })
  const get = async (sha256: string) => (await store.get(shardKey(sha256))).bytes
  return { objects, store, get, manifest: JSON.parse(JSON.stringify(manifest)) as DataManifest }
}

test('golden bytes of a shard', (t) => {
  const { manifest, pieces } = shards(small, { samplesPerShard: 2 })
  t.deepEqual(
    pieces.map(({ bytes }) => hex(bytes())),
    [
      '53474453 01000000 02000000 02000000 01000000 01030000 00000000 00000000 0102030400000000 0000000001000000',
      '53474453 01000000 01000000 02000000 01000000 01030000 00000000 00000000 0506000000000000 01000000',
      '53474453 01000000 01000000 02000000 01000000 01030000 00000000 00000000 0708000000000000 00000000',
    ].map((bytes) => bytes.replaceAll(' ', '')),
  )
  const golden = {
    v: 1,
    id: 'arrays',
    input: [2],
    target: { kind: 'categorical', classes: 2 },
    normalisation: { mean: 0, deviation: 1 },
    sha256: '2087e161a699d23fda96244efecb01612d6b10340ee8183c2463fc3453778946',
    splits: {
      train: [
        { sha256: 'd3d54679c8ced32f86f17dcafeff1c79535708f3ceae7112c78d707315753a9b', samples: 2, sizeBytes: 48 },
        { sha256: 'bca1684a6a6c3ccf67915ac445736b469f740cd56c7e284c4c77eaa258a02b58', samples: 1, sizeBytes: 44 },
      ],
      test: [{ sha256: 'd27c61ffd067f69e47694e69661e363c60cefbaabe2ad9d0eb2218e189fc0e96', samples: 1, sizeBytes: 44 }],
    },
  }
  t.is(JSON.stringify(manifest), JSON.stringify(golden))
})

test('a data set comes back whole, however it was cut', async (t) => {
  const continuous = fromArrays({
    inputs: [
      [1.5, 2],
      [3, 4],
      [5, 6],
    ],
    labels: [
      [1, 2],
      [3, 4],
      [5, 6],
    ],
    target: { kind: 'continuous', size: 2 },
  })
  const glyphs = splitValidation(await openDataset(datasets.glyphs({ train: 200, test: 50 })), 0.1, 1)
  for (const dataset of [small, continuous, glyphs]) {
    for (const samplesPerShard of [1, 2, 64, undefined]) {
      const { manifest, get } = await stored(dataset, samplesPerShard)
      const again = await datasetFromShards(manifest, get)
      t.is(again.sha256, dataset.sha256)
      t.deepEqual(again.splits, dataset.splits)
      t.deepEqual(again.classNames, dataset.classNames)
    }
  }
})

test('equal pieces are stored once, and storing again is no error', async (t) => {
  const dataset = fromArrays({ inputs: [[1], [1], [1], [2]], labels: [0, 0, 0, 1], target: two })
  const { objects, store, manifest } = await stored(dataset, 1)
  t.is(manifest.splits.train?.length, 4)
  t.is(objects.size, 2)
  t.deepEqual(JSON.parse(JSON.stringify(await storeDataset(store, dataset, { samplesPerShard: 1 }))), manifest)
})

test('a changed, a wrong and a missing piece are refused by name', async (t) => {
  const { objects, manifest, get } = await stored(small, 2)
  const [first, second] = manifest.splits.train ?? []
  const original = objects.get(shardKey(first.sha256)) as Uint8Array
  const refused = async (code: 'dataset.damaged' | 'store.not-found', altered = manifest) => {
    const error = await t.throwsAsync(datasetFromShards(altered, get))
    t.true(isSwarmError(error, code), `${error}`)
    return error?.message ?? ''
  }
  for (const at of [0, 4, 12, 33, original.length - 1]) {
    objects.set(shardKey(first.sha256), original.with(at, original[at] ^ 1))
    t.true((await refused('dataset.damaged')).includes(`train shard 0, data/${first.sha256}`))
  }
  objects.set(shardKey(first.sha256), original.subarray(0, 40))
  await refused('dataset.damaged')
  objects.delete(shardKey(first.sha256))
  await refused('store.not-found')
  objects.set(shardKey(first.sha256), original)
  t.regex(await refused('dataset.damaged', { ...manifest, splits: { ...manifest.splits, train: [second, first] } }), /do not make up/)
  t.regex(
    await refused('dataset.damaged', { ...manifest, splits: { ...manifest.splits, train: [{ ...first, samples: 3 }] } }),
    /other samples/,
  )
  t.regex(await refused('dataset.damaged', { ...manifest, input: [1] }), /other samples/)
  t.regex(await refused('dataset.damaged', { ...manifest, splits: {} }), /without training samples/)
})

test('a manifest of another version, and shards of no size, are refused', async (t) => {
  const { manifest, get } = await stored(small)
  const error = await t.throwsAsync(datasetFromShards({ ...manifest, v: 2 as 1 }, get))
  t.true(isSwarmError(error, 'manifest.version'))
  t.throws(() => shards(small, { samplesPerShard: 0 }), { message: /samplesPerShard/ })
})
