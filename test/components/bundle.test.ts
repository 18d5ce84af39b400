import { createHash } from 'node:crypto'
import { mkdir, mkdtemp, readdir, realpath, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { Worker } from 'node:worker_threads'
import test from 'ava'
import type { ExecutionContext } from 'ava'
import { bundleModule, bundleModules, definitionIn, importModule, loadBundle } from '../../components/bundle.js'
import { compile, modulesOf } from '../../components/compile.js'
import { builtInLayers } from '../../components/layers/index.js'
import { loadDefinition } from '../../components/load-definition.js'
import type { Network } from '../../components/network.js'

/** A folder with files, outside of any checkout; gone after the test. */
async function folderOf(t: ExecutionContext, files: { [path: string]: string }): Promise<string> {
  const folder = await realpath(await mkdtemp(join(tmpdir(), 'definition-')))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  for (const [path, text] of Object.entries(files)) {
    await mkdir(dirname(join(folder, path)), { recursive: true })
    await writeFile(join(folder, path), text)
  }
  return folder
}

const custom = `// a block of one's own
import { tf, defineBlock } from 'swarmgrad'
import { twice } from './lib/twice.js'
import halve from 'halve'
const module: string = import.meta.url
export const gated = defineBlock({
  module, name: 'gated',
  shape: (_input, o: { units: number }) => [halve(twice(o.units))],
  init: ([d], o, random) => ({ w: random.glorot([d, o.units]) }),
  forward: (p, x) => tf.matMul(x, p.w),
})
`
const files = {
  'custom.ts': custom,
  'lib/twice.ts': 'export const twice = (n: number): number => 2 * n\n',
  'node_modules/halve/package.json': '{ "name": "halve", "version": "1.0.0", "main": "index.js" }',
  'node_modules/halve/index.js': `const { EOL } = require('os'); module.exports = (n) => EOL && n / 2`,
  'main.ts': `import { network, categorical, dense, flatten } from 'swarmgrad'
import { gated } from './custom.js'
export default network({ input: [4, 4], target: categorical(3) } as const, [flatten(), gated({ units: 5 }), dense(3)])
`,
}

test('a bundle has the same bytes wherever its sources are, and no path in it', async (t) => {
  const folders = [
    await folderOf(t, files),
    await folderOf(t, Object.fromEntries(Object.entries(files).map(([k, v]) => [`deep/er/${k}`, v]))),
  ]
  const [a, b] = await Promise.all([
    bundleModule(pathToFileURL(join(folders[0], 'custom.ts')).href),
    bundleModule(pathToFileURL(join(folders[1], 'deep/er/custom.ts')).href),
  ])
  t.is(Buffer.from(a.code).toString(), Buffer.from(b.code).toString())
  t.is(a.sha256, b.sha256)
  t.is(a.sha256, createHash('sha256').update(a.code).digest('hex'))
  const text = Buffer.from(a.code).toString()
  for (const trace of [...folders, tmpdir(), process.cwd(), 'definition-', 'sourceMappingURL']) t.false(text.includes(trace), trace)
  t.regex(text, /gated = \$defineBlock\(/, 'not numbered: a new name in the package changes no bundle')
  t.true(text.length < 5_000, `${text.length} characters: the package itself is not in it`)
})

test('packages are named alike wherever they are installed', async (t) => {
  const { 'node_modules/halve/package.json': manifest, 'node_modules/halve/index.js': code, ...own } = files
  const above = await folderOf(t, {
    ...Object.fromEntries(Object.entries(own).map(([path, text]) => [`src/${path}`, text])),
    'node_modules/halve/package.json': manifest,
    'node_modules/halve/index.js': code,
  })
  const beside = await folderOf(t, files)
  const a = await bundleModule(pathToFileURL(join(above, 'src/custom.ts')).href)
  const b = await bundleModule(pathToFileURL(join(beside, 'custom.ts')).href)
  t.is(Buffer.from(a.code).toString(), Buffer.from(b.code).toString())
})

test('neither a tsconfig nor the environment changes the bytes', async (t) => {
  const plain = await folderOf(t, files)
  const configured = await folderOf(t, {
    ...files,
    'tsconfig.json': '{ "compilerOptions": { "target": "es5", "useDefineForClassFields": false } }',
  })
  const [a, b] = await Promise.all([plain, configured].map((folder) => bundleModule(pathToFileURL(join(folder, 'custom.ts')).href)))
  t.is(a.sha256, b.sha256)
})

test('a bundle loads from anywhere, and in a worker', async (t) => {
  const source = await folderOf(t, files)
  const { sha256, code } = await bundleModule(pathToFileURL(join(source, 'custom.ts')).href)
  const elsewhere = await folderOf(t, {})
  const path = join(elsewhere, sha256)
  await writeFile(path, code)
  await rm(source, { recursive: true })
  const spec = definitionIn(await loadBundle(path, sha256), 'block', 'gated') as unknown as { module: string; shape: Function }
  t.deepEqual(spec.shape([3], { units: 7 }), [7])
  t.is(spec.module, 'file:///swarmgrad/bundle.mjs')
  const main = `
    import { parentPort } from 'node:worker_threads'
    import { loadBundle } from ${JSON.stringify(new URL('../../components/bundle.js', import.meta.url).href)}
    parentPort.postMessage(Object.keys(await loadBundle(${JSON.stringify(path)}, '${sha256}')))`
  const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(main)}`))
  const names = await new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject))
  await worker.terminate()
  t.deepEqual(names, ['gated'])
})

test('a bundle with other bytes, or none, is refused', async (t) => {
  const folder = await folderOf(t, { b: 'export const a = 1' })
  await t.throwsAsync(loadBundle(join(folder, 'b'), '0'.repeat(64)), { code: 'store.damaged', message: /expected 0000/ })
  await t.throwsAsync(loadBundle(join(folder, 'c'), '0'.repeat(64)), { code: 'store.not-found' })
})

test('a definition that is not exported is named, with those that are', async (t) => {
  const folder = await folderOf(t, files)
  const exports = await importModule(join(folder, 'custom.ts'))
  t.throws(() => definitionIn(exports, 'block', 'gate'), { code: 'definition.invalid', message: /no block 'gate'.*got gated/ })
  t.throws(() => definitionIn(exports, 'rule', 'gated'), { code: 'definition.invalid', message: /no rule 'gated'.*got no rule/ })
})

test('a TypeScript definition loads in a folder with nothing else, and its modules are found', async (t) => {
  const folder = await folderOf(t, files)
  const { network } = await loadDefinition(join(folder, 'main.ts'))
  const modules = modulesOf(network)
  t.deepEqual(modules, [pathToFileURL(join(folder, 'custom.ts')).href])
  const bundles = await bundleModules(modules)
  const hashes = Object.fromEntries(Object.entries(bundles).map(([url, { sha256 }]) => [url, sha256]))
  const { vnodes } = compile(network, { layers: builtInLayers, bundles: hashes })
  t.deepEqual(
    vnodes.map(({ id, parameters }) => [id, parameters]),
    [
      ['gated-1', 16 * 5],
      ['dense-1', 5 * 3 + 3],
    ],
  )
})

test('nothing is left behind in the temporary folder', async (t) => {
  const folder = await folderOf(t, {
    'main.js': `import { tmpdir } from 'node:os'\nexport const url = import.meta.url\nexport const dir = import.meta.dirname`,
  })
  const { url, dir } = await importModule(join(folder, 'main.js'))
  t.is(url, pathToFileURL(join(folder, 'main.js')).href)
  t.is(dir, folder)
  t.deepEqual(await readdir(folder), ['main.js'])
})

const start = `import { network, categorical, dense, pred, adam, datasets } from 'swarmgrad'
const net = network({ input: [4], target: categorical(3) }, [dense(3)])
`

test('training options come with the default export, or as exports of their own', async (t) => {
  const folder = await folderOf(t, {
    'a.mjs': `${start}export default { network: net, rule: pred(), optimizer: adam(), data: datasets.glyphs(), batchSize: 8, epochs: 2, seed: 3, validation: 0.2 }`,
    'b.js': `${start}export { net as network }; export const epochs = 4; export const helper = 1`,
    'c.yaml': 'input: [4]\ntarget: { categorical: 3 }\nlayers:\n  - dense: 3\nrule: pred\ndata: fashion-mnist\n',
  })
  const { network, rule, data, ...rest } = await loadDefinition(join(folder, 'a.mjs'))
  t.is(network.output, 'dense-1')
  t.is(rule?.name, 'pred')
  t.like(data, { name: 'glyphs' })
  t.is(rest.optimizer?.name, 'adam')
  t.like(rest, { batchSize: 8, epochs: 2, seed: 3, validation: 0.2 })
  t.like(await loadDefinition(join(folder, 'b.js')), { network, epochs: 4 })
  const yaml = await loadDefinition(join(folder, 'c.yaml'))
  t.like(yaml.data, { name: 'fashion-mnist' })
  t.is(compile(yaml.network, { layers: builtInLayers }).vnodes.length, 1)
})

test("YAML uses modules of one's own", async (t) => {
  const text = 'input: [4]\ntarget: { categorical: 3 }\nuse: ./custom.ts\nlayers:\n  - gated: { units: 3 }\n'
  const folder = await folderOf(t, { ...files, 'net.yml': text })
  const { network } = await loadDefinition(join(folder, 'net.yml'))
  t.deepEqual(modulesOf(network), [pathToFileURL(join(folder, 'custom.ts')).href])
})

test('tfjs in a module is the running one', async (t) => {
  const folder = await folderOf(t, {
    'a.ts': `import * as core from '@tensorflow/tfjs-core'\nimport { tf } from 'swarmgrad'\nexport const same = core.matMul === tf.matMul && core.Tensor === tf.Tensor`,
  })
  t.true((await importModule(join(folder, 'a.ts'))).same)
})

test('the networks of API.md compile with the layers that swarmgrad brings along', async (t) => {
  const folder = await folderOf(t, {
    ...files,
    'main.ts': `import { network, categorical, block, dense, batchNorm, leakyRelu, dropout, flatten, add } from 'swarmgrad'
import { gated } from './custom.js'
const hidden = (units: number) => block(dense(units), batchNorm(), leakyRelu(), dropout(0.025))
const task = { input: [28, 28, 1], target: categorical(10) } as const
export const net = network(task, [flatten(), hidden(256), gated({ units: 256 })])
export const branched = network(task, (x) => { const a = hidden(256)(flatten()(x)); return add(a, hidden(256)(a)) })
`,
  })
  const { net, branched } = (await importModule(join(folder, 'main.ts'))) as Record<string, Network>
  const bundles = { [modulesOf(net)[0]]: 'f00d' }
  const cuts = (network: Network) =>
    compile(network, { layers: builtInLayers, bundles }).vnodes.map(({ id, parameters }) => [id, parameters])
  const norm = 2 * 256
  t.deepEqual(cuts(net), [
    ['dense-1', 785 * 256 + norm],
    ['gated-1', 256 * 256],
  ])
  t.deepEqual(cuts(branched), [
    ['dense-1', 785 * 256 + norm],
    ['dense-2', 257 * 256 + norm],
    ['add-1', 0],
  ])
})

const bad: readonly [string, string, string, string, RegExp][] = [
  ['syntax', 'a.ts', 'const x = 1\nconst = 2\n', 'definition.invalid', /a\.ts:2:7/],
  ['a missing import', 'a.ts', `import x from './none.js'\nexport default x`, 'definition.invalid', /none\.js.*a\.ts:1:15/],
  [
    'a name that swarmgrad does not have',
    'a.ts',
    `\nimport { dens } from 'swarmgrad'\nexport default dens`,
    'definition.invalid',
    /"dens".*a\.ts:2:10/,
  ],
  ['another entry of the package', 'a.ts', `import 'swarmgrad/testing'`, 'definition.invalid', /swarmgrad\/testing.*a\.ts:1/],
  ['a throw', 'a.ts', `// comment\ntype T = 1\nthrow new Error('my fault')`, 'definition.threw', /my fault.*a\.ts:3:7/],
  ['a throw of a string', 'a.js', `throw 'my fault'`, 'definition.threw', /my fault.*a\.js/],
  ['a rejection', 'a.mjs', `await Promise.reject(new Error('late'))`, 'definition.threw', /late/],
  ['one of our own errors', 'a.ts', `import { block } from 'swarmgrad'\nblock()`, 'definition.invalid', /block\(\).*a\.ts:2/],
  ['training', 'a.ts', `import { train } from 'swarmgrad'\ntrain()`, 'definition.invalid', /train\(\) was called while.*a\.ts:2/],
  ['no export', 'a.js', `const x = 1`, 'definition.invalid', /a\.js.*expected a network.*got no exports/],
  ['other exports', 'a.js', `export const x = 1`, 'definition.invalid', /got exports x/],
  ['a number', 'a.js', `export default 3`, 'definition.invalid', /got 3/],
  ['a function', 'a.js', `export default () => 3`, 'definition.invalid', /got a function/],
  ['an object without a network', 'a.js', `export default { epochs: 3 }`, 'definition.invalid', /'network'.*got nothing/],
  ['an unknown option', 'a.js', `${start}export default { network: net, batchsize: 3 }`, 'graph.unknown', /'batchsize'.*'batchSize'\?/],
  [
    'a rule not called',
    'a.js',
    `${start}export default { network: net, rule: pred }`,
    'definition.invalid',
    /'rule'.*got a function\. Call it/,
  ],
  [
    'half an epoch',
    'a.js',
    `${start}export default { network: net, epochs: 0.5 }`,
    'definition.invalid',
    /'epochs'.*integer ≥ 1, got 0\.5/,
  ],
  ['YAML that is none', 'a.yaml', `input: [`, 'definition.invalid', /a\.yaml:1:/],
  ['something else', 'a.json', `{}`, 'definition.invalid', /expected a \.ts, \.js, \.mjs or \.yaml file/],
]
for (const [what, name, text, code, message] of bad) {
  test(`refused in one line: ${what}`, async (t) => {
    const folder = await folderOf(t, { [name]: text })
    const error = await t.throwsAsync(loadDefinition(join(folder, name)), { code, message })
    t.false(error.message.includes('\n'))
    t.false(error.message.includes('bundle.mjs'))
  })
}

test('refused in one line: a missing file, a folder', async (t) => {
  const folder = await folderOf(t, { 'd.ts/x': '' })
  await t.throwsAsync(loadDefinition(join(folder, 'none.ts')), { code: 'definition.invalid', message: /no such file.*none\.ts/ })
  await t.throwsAsync(loadDefinition(join(folder, 'd.ts')), { code: 'definition.invalid' })
  await t.throwsAsync(bundleModule(pathToFileURL(join(folder, 'none.ts')).href), { code: 'definition.invalid', message: /no such file/ })
  await t.throwsAsync(bundleModule('data:text/javascript,'), { code: 'definition.invalid', message: /file URL/ })
})
