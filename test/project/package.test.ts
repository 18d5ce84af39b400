/** The package as a stranger gets it: packed, installed in an empty folder, and used from there. */
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { builtinModules } from 'node:module'
import { dirname, join, posix } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { repository, run, runNode, said, temporaryFolder } from './repository.js'

/** Installing fetches the dependencies, unless npm has them. */
const INSTALL_MS = 300_000
const TRAIN_MS = 120_000
const ENTRIES = [
  'dist/index.js',
  'dist/index.d.ts',
  'dist/cli/main.js',
  'dist/runtime/compute/worker.js',
  'dist/components/vnode-machine.js',
  'dist/test/conformance/index.js',
  'dist/test/conformance/integer-machines.js',
  'examples/quickstart.ts',
  'native/install.sh',
  'native/environment.cc',
  'native/include/tensorflow/c/c_api.h',
  'dapr/config.yaml',
  'dapr/resources/pnode/state.yaml',
  'dapr/tools/go.mod',
  'LICENSE',
  'README.md',
]

const CUSTOM = `
import { tf, defineBlock, defineRule } from 'swarmgrad'
const module = import.meta.url
export const gated = defineBlock({
  module, name: 'gated',
  shape: (_input, o: { units: number }) => [o.units],
  init: ([d], o, random) => ({ w: random.glorot([d, o.units]), g: random.glorot([d, o.units]) }),
  forward: (p, x, _context) => tf.mul(tf.matMul(x, p.w), tf.sigmoid(tf.matMul(x, p.g))),
})
export const smooth = defineRule({
  module, name: 'smooth',
  init: ([d], target, random) => ({ head: random.zeros([d, target.classes]) }),
  logits: (p, h) => tf.matMul(h, p.head),
  loss: ({ logits, y }, o: { epsilon: number }) => tf.losses.softmaxCrossEntropy(y, logits, undefined, o.epsilon),
})
`
const DEFINITION = `
import { block, categorical, datasets, dense, flatten, network, relu } from 'swarmgrad'
import { gated, smooth } from './custom.js'
export default network({ input: [28, 28, 1], target: categorical(10) }, [flatten(), block(dense(32), relu()), gated({ units: 32 })])
export const rule = smooth({ epsilon: 0.1 })
export const data = datasets.glyphs({ train: 800, test: 100 })
`
const SCRIPT = `
import { block, categorical, datasets, dense, flatten, local, network, train } from 'swarmgrad'
import * as testing from 'swarmgrad/testing'
const net = network({ input: [28, 28, 1], target: categorical(10) }, [flatten(), block(dense(16))])
const training = { data: datasets.glyphs({ train: 200, test: 100 }), batchSize: 50, epochs: 1, seed: 1 }
const run = train(net, training, { on: local({ pnodes: 2 }), store: './library-runs' })
const { status, hash } = await run.result
console.log(JSON.stringify({ status, hash, suites: Object.keys(testing).sort() }))
`

interface Packed {
  readonly filename: string
  readonly files: readonly { readonly path: string }[]
}

async function pack(t: ExecutionContext, folder: string): Promise<{ tarball: string; files: string[] }> {
  const args = ['pack', '--ignore-scripts', '--json', '--pack-destination', folder]
  const ended = await run('npm', args, { cwd: repository, deadlineMs: 60_000 })
  t.is(ended.status, 0, said(ended))
  const [{ filename, files }] = JSON.parse(ended.stdout) as Packed[]
  return { tarball: join(folder, filename), files: files.map(({ path }) => path) }
}

test('the package has what it needs, and nothing else', async (t) => {
  t.timeout(90_000)
  const { files } = await pack(t, await temporaryFolder(t))
  for (const entry of ENTRIES) t.true(files.includes(entry), `${entry} is missing`)
  const allowed =
    /^(dist\/(index\.|runtime\/|components\/|actors\/|adversaries\/|cli\/|test\/conformance\/)|examples\/|native\/|dapr\/|LICENSE$|README\.md$|package\.json$)/
  for (const file of files) {
    t.regex(file, allowed)
    t.notRegex(file, /\.test\.|\.map$|\.tsbuildinfo$/)
  }

  const manifest = JSON.parse(await readFile(join(repository, 'package.json'), 'utf8')) as { dependencies: { [name: string]: string } }
  const present = new Set(files)
  for (const file of files.filter((name) => name.endsWith('.js'))) {
    const code = await readFile(join(repository, file), 'utf8')
    const imported = [/^(?:import|export)\b[^'"]*?\bfrom '([^']+)'/gm, /\bimport\('([^']+)'\)/g, /\bnew URL\('(\.[^']*[^/'])', import/g]
    for (const [, specifier] of imported.flatMap((pattern) => [...code.matchAll(pattern)])) {
      if (specifier.startsWith('.')) t.true(present.has(posix.join(posix.dirname(file), specifier)), `${file} needs ${specifier}`)
      else if (!specifier.startsWith('node:') && !builtinModules.includes(specifier)) {
        const name = specifier.split('/', specifier.startsWith('@') ? 2 : 1).join('/')
        t.true(name in manifest.dependencies, `${file} needs ${name}, which is no dependency`)
      }
    }
  }
})

test('installed in an empty folder it trains a TypeScript definition, and is a library', async (t) => {
  t.timeout(INSTALL_MS + 3 * TRAIN_MS)
  const folder = await temporaryFolder(t)
  const { tarball } = await pack(t, folder)
  const cwd = join(folder, 'project')
  await mkdir(cwd)
  await writeFile(join(cwd, 'package.json'), '{ "private": true, "type": "module" }\n')
  const install = ['install', tarball, '--no-audit', '--no-fund', '--prefer-offline', '--loglevel=error']
  const installed = await run('npm', install, { cwd, deadlineMs: INSTALL_MS })
  t.is(installed.status, 0, said(installed))
  for (const [name, text] of Object.entries({ 'custom.ts': CUSTOM, 'net.ts': DEFINITION, 'script.mjs': SCRIPT })) {
    await writeFile(join(cwd, name), text)
  }

  const check = ['--noEmit', '--strict', '--module', 'nodenext', '--target', 'es2023', '--types', 'node', '--skipLibCheck']
  const tsc = [join(repository, 'node_modules/typescript/bin/tsc'), ...check, '--typeRoots', join(repository, 'node_modules/@types')]
  const compiled = await runNode([...tsc, 'custom.ts', 'net.ts'], { cwd, deadlineMs: TRAIN_MS })
  t.is(compiled.status, 0, said(compiled))

  const train = ['--no-install', 'swarmgrad', 'train', 'net.ts', '--epochs', '2', '--batch-size', '50', '--pnodes', '2', '--json']
  const trained = await run('npx', train, { cwd, deadlineMs: TRAIN_MS })
  t.is(trained.status, 0, said(trained))
  const done = JSON.parse(trained.stdout.trim().split('\n').at(-1)!) as { [name: string]: unknown }
  t.like(done, { type: 'done', steps: 32, epochs: 2, stepsLost: 0, stepsDoubled: 0 }, said(trained))
  t.regex(String(done.hash), /^[0-9a-f]{64}$/)
  t.true((await readdir(join(cwd, 'runs'))).length > 0, 'the run is kept in ./runs')

  const used = await runNode(['script.mjs'], { cwd, deadlineMs: TRAIN_MS })
  t.is(used.status, 0, said(used))
  const answer = JSON.parse(used.stdout) as { status: string; hash: string; suites: string[] }
  t.is(answer.status, 'done')
  t.regex(answer.hash, /^[0-9a-f]{64}$/)
  t.deepEqual(answer.suites, ['actorSystemSuite', 'computeSuite', 'objectStoreSuite', 'tensorBusSuite'])
  t.is(used.stderr, '', 'the library prints nothing')
  t.is(dirname(tarball), folder)
})
