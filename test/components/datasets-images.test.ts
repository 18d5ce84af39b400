import { mkdir, readdir } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { gunzipSync } from 'node:zlib'
import test from 'ava'
import type { ExecutionContext } from 'ava'
import { batch, datasets, openDataset } from '../../components/datasets/index.js'
import { openImages } from '../../components/datasets/images.js'
import { isSwarmError } from '../../runtime/errors.js'
import type { ErrorCode } from '../../runtime/errors.js'
import { NAMES, idx, imageFiles, imageSet, temporaryFolder, writeFiles } from '../support/idx-files.js'

const files = imageFiles()

/** The error of `promise`, which must have that code and say all of `parts`. */
async function refused(t: ExecutionContext, promise: Promise<unknown>, code: ErrorCode, ...parts: string[]) {
  const error = await t.throwsAsync(promise)
  t.true(isSwarmError(error, code), `${error}`)
  for (const part of parts) t.true(error?.message.includes(part), `'${part}' is not in: ${error?.message}`)
}

/** A server on this machine, for one test. */
async function serve(t: ExecutionContext, listener: RequestListener): Promise<string> {
  const server = createServer(listener)
  await new Promise<void>((ready) => server.listen(0, '127.0.0.1', ready))
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
}

const serveFiles =
  (requests: string[] = []): RequestListener =>
  (request, response) => {
    requests.push(request.url ?? '')
    response.end(files.get(request.url?.slice(1) ?? ''))
  }

/** A cache that holds the test's files, with some of them replaced. */
async function cacheWith(changed: Record<string, Uint8Array> = {}) {
  const cacheFolder = await temporaryFolder()
  const folder = join(cacheFolder, 'made-for-tests')
  await mkdir(folder)
  await writeFiles(folder, new Map<string, Uint8Array>([...files, ...Object.entries(changed)]))
  return { cacheFolder, folder, download: false }
}

for (const [name, reference, mean] of [
  ['fashion-mnist', datasets.fashionMnist(), 0.286],
  ['mnist', datasets.mnist(), 0.1307],
] as const) {
  test.serial(`${name} is read from SWARMGRAD_DATA, or from made files where there are none`, async (t) => {
    const before = process.env.SWARMGRAD_DATA
    const real = [before, '../shared/data'].find((root) => root && existsSync(join(resolve(root), name, NAMES[0])))
    const root = real ?? (await temporaryFolder())
    if (!real) {
      await mkdir(join(root, name))
      await writeFiles(join(root, name), files)
    }
    process.env.SWARMGRAD_DATA = root
    t.teardown(() => (before === undefined ? delete process.env.SWARMGRAD_DATA : (process.env.SWARMGRAD_DATA = before)))
    const dataset = await openDataset(reference, {
      download: false,
      task: { input: [28, 28, 1], target: { kind: 'categorical', classes: 10 } },
    })
    t.is(dataset.id, name)
    t.is(dataset.classNames?.length, 10)
    const { train, test: heldOut } = dataset.splits
    t.deepEqual([train.size, heldOut?.size], real ? [60_000, 10_000] : [6, 4])
    const { inputs, labels } = batch(train, Uint32Array.of(0, 5))
    t.is(inputs.length, 2 * 784)
    t.deepEqual([...labels], [train.labels[0], train.labels[5]])
    t.is(inputs[0], Math.fround((train.samples[0] / 255 - mean) / (name === 'mnist' ? 0.3081 : 0.353)))
    if (!real) return
    let pixels = 0
    for (const x of train.samples) pixels += x / 255 / train.samples.length
    t.true(Math.abs(pixels - mean) < 1e-4, `mean ${pixels}`)
    t.true(new Set(train.labels).size === 10 && new Set(heldOut?.labels).size === 10)
  })
}

test.serial('a folder is searched itself, but not one that is named after another set', async (t) => {
  const before = process.env.SWARMGRAD_DATA
  t.teardown(() => (before === undefined ? delete process.env.SWARMGRAD_DATA : (process.env.SWARMGRAD_DATA = before)))
  const root = await temporaryFolder()
  await writeFiles(root, files)
  process.env.SWARMGRAD_DATA = root
  t.is((await openImages(imageSet(files), { download: false })).splits.train.size, 6)
  const other = join(root, 'mnist')
  await mkdir(other)
  await writeFiles(other, files)
  process.env.SWARMGRAD_DATA = other
  await refused(t, openImages(imageSet(files), { download: false, cacheFolder: root }), 'dataset.missing')
})

test('plain files and names with a dot before idx are read too', async (t) => {
  const { cacheFolder, folder } = await cacheWith()
  const zipped = await openImages(imageSet(files), { cacheFolder, download: false })
  const other = join(await temporaryFolder(), 'made-for-tests')
  await mkdir(other)
  await writeFiles(other, new Map([...files].map(([name, bytes]) => [name.replace('-idx', '.idx').replace('.gz', ''), gunzipSync(bytes)])))
  const plain = await openImages(imageSet(files), { cacheFolder: join(other, '..'), download: false })
  t.is(plain.sha256, zipped.sha256)
  t.is((await readdir(folder)).length, 4)
})

test('a missing data set names every place and what to do', async (t) => {
  const cacheFolder = await temporaryFolder()
  await refused(
    t,
    openImages(imageSet(files), { cacheFolder, download: false }),
    'dataset.missing',
    resolve('data', 'made-for-tests'),
    resolve('../shared/data'),
    join(cacheFolder, 'made-for-tests'),
    'SWARMGRAD_DATA',
    'train-images-idx3-ubyte.gz',
  )
})

const damages: [string, Record<string, Uint8Array>, string[]][] = [
  ['a truncated gzip file', { [NAMES[0]]: (files.get(NAMES[0]) as Buffer).subarray(0, 100) }, [NAMES[0], '100 bytes']],
  ['an empty file', { [NAMES[1]]: new Uint8Array(0) }, [NAMES[1], '0 bytes']],
  ['a wrong magic number', { [NAMES[0]]: idx([6, 28, 28], () => 0, 0x0801) }, ['0x00000803', '0x00000801']],
  ['images of another size', { [NAMES[0]]: idx([6, 14, 14], () => 0) }, ['28×28', '14×14']],
  ['a body that is too short', { [NAMES[0]]: idx([6, 28, 28], () => 0).subarray(0, 4000) }, ['4720 bytes', '4000 bytes']],
  ['bytes after the end', { [NAMES[1]]: Buffer.concat([idx([6], () => 0), Buffer.of(1)]) }, ['14 bytes', '15 bytes']],
  ['a label out of range', { [NAMES[3]]: idx([4], (i) => (i === 2 ? 10 : 0)) }, [NAMES[3], 'label 2', 'less than 10', 'got 10']],
  ['fewer labels than images', { [NAMES[1]]: idx([5], () => 0) }, [NAMES[0], NAMES[1], '6 labels', 'got 5']],
  ['no images', { [NAMES[0]]: idx([0, 28, 28], () => 0) }, ['no samples']],
]
for (const [what, changed, parts] of damages) {
  test(`${what} is refused with the file, what was expected and what came`, async (t) => {
    await refused(t, openImages(imageSet(files), await cacheWith(changed)), 'dataset.damaged', ...parts)
  })
}

test('a download is checked, kept, and reported byte by byte', async (t) => {
  const requests: string[] = []
  const set = imageSet(files, [await serve(t, serveFiles(requests))])
  const cacheFolder = await temporaryFolder()
  const progress: [number, number][] = []
  const dataset = await openImages(set, { cacheFolder, onProgress: (done, total) => progress.push([done, total]) })
  const total = set.files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)
  t.deepEqual(progress.at(-1), [total, total])
  t.true(progress.every(([done], i) => i === 0 || done > progress[i - 1][0]))
  t.deepEqual((await readdir(join(cacheFolder, set.id))).sort(), [...NAMES].sort())
  const again = await openImages(set, { cacheFolder })
  t.is(again.sha256, dataset.sha256)
  t.is(requests.length, 4)
})

test('a download that stopped between two files goes on with the next', async (t) => {
  const requests: string[] = []
  const set = imageSet(files, [await serve(t, serveFiles(requests))])
  const { cacheFolder, folder } = { cacheFolder: await temporaryFolder(), folder: 'made-for-tests' }
  await mkdir(join(cacheFolder, folder))
  await writeFiles(join(cacheFolder, folder), new Map([...files].slice(0, 2)))
  await openImages(set, { cacheFolder })
  t.deepEqual(requests, [`/${NAMES[2]}`, `/${NAMES[3]}`])
})

test('a second origin serves when the first one does not', async (t) => {
  const failing = await serve(t, (_request, response) => response.writeHead(500).end())
  const working = await serve(t, serveFiles())
  const dataset = await openImages(imageSet(files, [failing, working]), { cacheFolder: await temporaryFolder() })
  t.is(dataset.splits.train.size, 6)
})

const refusals: [string, RequestListener, ErrorCode, string[]][] = [
  ['status 500', (_request, response) => response.writeHead(500).end(), 'dataset.missing', ['status 200', 'got 500', 'SWARMGRAD_DATA']],
  [
    'another content',
    (request, response) => response.end(Buffer.alloc(files.get(request.url?.slice(1) ?? '')?.length ?? 0)),
    'dataset.damaged',
    ['SHA-256'],
  ],
  ['a short body', (request, response) => response.end(files.get(request.url?.slice(1) ?? '')?.subarray(1)), 'dataset.damaged', ['bytes']],
  ['a body that is too long', (_request, response) => response.end(Buffer.alloc(100_000)), 'dataset.damaged', ['got more']],
  [
    'a connection that ends early',
    (_request, response) => {
      response.writeHead(200, { 'content-length': 1000 })
      response.write('x', () => response.destroy())
    },
    'dataset.damaged',
    ['bytes'],
  ],
]
for (const [what, listener, code, parts] of refusals) {
  test(`a download is refused: ${what}; nothing is left behind`, async (t) => {
    const cacheFolder = await temporaryFolder()
    const origin = await serve(t, listener)
    await refused(t, openImages(imageSet(files, [origin]), { cacheFolder }), code, origin, ...parts)
    t.deepEqual(await readdir(join(cacheFolder, 'made-for-tests')).catch(() => []), [])
  })
}

test('no server: the message has the address', async (t) => {
  const cacheFolder = await temporaryFolder()
  await refused(
    t,
    openImages(imageSet(files, ['http://127.0.0.1:1/']), { cacheFolder }),
    'dataset.missing',
    'http://127.0.0.1:1/',
    cacheFolder,
  )
})

test('a download is aborted and leaves nothing behind', async (t) => {
  const controller = new AbortController()
  const cacheFolder = await temporaryFolder()
  const origin = await serve(t, (_request, response) => {
    response.writeHead(200, { 'content-length': 1000 })
    response.write('x')
  })
  const opening = openImages(imageSet(files, [origin]), { cacheFolder, signal: controller.signal, onProgress: () => controller.abort() })
  await refused(t, opening, 'aborted')
  t.deepEqual(await readdir(join(cacheFolder, 'made-for-tests')), [])
  await refused(t, openDataset(datasets.glyphs(), { signal: controller.signal }), 'aborted')
})
