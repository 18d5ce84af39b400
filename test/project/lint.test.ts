/** The linter's rules that hold up the architecture: each is broken on purpose, in a copy, and has to say so. */
import { cp, mkdir, symlink, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import test from 'ava'
import { repository, runNode, said, temporaryFolder } from './repository.js'

interface Planted {
  readonly file: string
  readonly code: string
  /** The rules that must fire there, and no other; none: the code is right. */
  readonly rules: readonly string[]
}

const direction = (file: string, imported: string): Planted => ({
  file,
  code: `import { x } from '${imported}'\nexport const y = x\n`,
  rules: ['swarmgrad(imports)'],
})
const banned = (file: string, expression: string, rule: string): Planted => ({
  file,
  code: `export const f = (x: number): unknown => [x, ${expression}]\n`,
  rules: [rule],
})
const fine = (file: string, code: string): Planted => ({ file, code, rules: [] })

const GLOBALS = 'eslint(no-restricted-globals)'
const PROPERTIES = 'eslint(no-restricted-properties)'
const POWERS = 'swarmgrad(powers)'
const TRANSCENDENTAL = 'pow exp expm1 log log1p log2 log10 cbrt hypot sin cos tan asin acos atan atan2 sinh cosh tanh asinh acosh atanh'

const PLANTED: readonly Planted[] = [
  // Imports run one way.
  direction('runtime/d1.ts', '../components/x.js'),
  direction('runtime/object-store/d2.ts', '../../actors/x.js'),
  direction('runtime/d3.ts', '../cli/x.js'),
  direction('runtime/d4.ts', '../index.js'),
  direction('components/d5.ts', '../actors/x.js'),
  direction('components/d6.ts', '../cli/x.js'),
  direction('actors/d7.ts', '../cli/x.js'),
  direction('actors/d8.ts', '../test/support/x.js'),
  direction('actors/d17.ts', '../adversaries/x.js'),
  direction('adversaries/d18.ts', '../cli/x.js'),
  direction('cli/d9.ts', '../test/support/x.js'),
  direction('cli/d10.ts', '../bench/x.js'),
  direction('test/conformance/d11.ts', '../support/x.js'),
  direction('test/conformance/d12.ts', '../../components/x.js'),
  direction('examples/d13.ts', '../actors/x.js'),
  direction('actors/own-name.ts', 'swarmgrad'),
  { file: 'runtime/d14.ts', code: `export const f = () => import('../actors/x.js')\n`, rules: ['swarmgrad(imports)'] },
  { file: 'runtime/d15.ts', code: `import type { x } from '../actors/x.js'\nexport type Y = typeof x\n`, rules: ['swarmgrad(imports)'] },
  { file: 'runtime/d16.ts', code: `export { x } from '../actors/x.js'\n`, rules: ['swarmgrad(imports)'] },
  fine('actors/down.ts', `import { x } from '../runtime/x.js'\nexport { x } from '../components/x.js'\nexport const y = x\n`),

  // A package that does I/O is imported in one file.
  ...['msgpackr', 'yaml', 'csv-parse/sync', 'esbuild', 'env-paths', 'commander', 'chalk', 'cli-table3', 'log-update'].flatMap((name) =>
    ['runtime', 'components', 'actors', 'cli'].map((folder) => direction(`${folder}/only-${name.replace('/', '-')}.ts`, name)),
  ),
  direction('components/tfjs1.ts', '@tensorflow/tfjs-core'),
  direction('actors/tfjs2.ts', '@tensorflow/tfjs-backend-wasm'),
  { file: 'actors/only-dynamic.ts', code: `export const f = () => import('esbuild')\n`, rules: ['swarmgrad(imports)'] },
  fine('components/types.ts', `import type { Tensor } from '@tensorflow/tfjs-core'\nexport type T = Tensor\n`),
  fine('components/yaml.ts', `import { parse } from 'yaml'\nexport const x = parse\n`),

  // PROTOCOL.md rule 19.
  ...['runtime', 'components', 'actors'].flatMap((folder) => [
    ...['Date.now()', 'new Date()', 'performance.now()', 'setTimeout(f, 1)', 'setInterval(f, 1)', 'setImmediate(f)'].map((code, i) =>
      banned(`${folder}/time${i}.ts`, code, GLOBALS),
    ),
    ...['random', ...TRANSCENDENTAL.split(' ')].map((name) => banned(`${folder}/math-${name}.ts`, `Math.${name}(x)`, PROPERTIES)),
    banned(`${folder}/power1.ts`, 'x ** 2', POWERS),
    banned(`${folder}/power2.ts`, '2 ** x', POWERS),
    { file: `${folder}/power3.ts`, code: `export const f = (x: number) => {\n  x **= 3\n  return x\n}\n`, rules: [POWERS] },
    { file: `${folder}/destructured.ts`, code: `const { tanh } = Math\nexport const f = tanh(1)\n`, rules: [PROPERTIES] },
    {
      file: `${folder}/timers.ts`,
      code: `import { setTimeout as sleep } from 'node:timers/promises'\nexport const f = () => sleep(1)\n`,
      rules: ['eslint(no-restricted-imports)'],
    },
  ]),
  banned('components/random.ts', 'tf.randomNormal([x])', PROPERTIES),
  fine('components/exact.ts', `export const f = (x: number) => Math.sqrt(x) * 2 ** 20 + Math.fround(x) + Math.imul(2, 3)\n`),
  fine('runtime/clock.ts', `export const now = () => performance.now()\nexport const later = (f: () => void) => setTimeout(f, 1)\n`),
  fine('cli/time.ts', `export const now = () => Date.now()\n`),
  // The exceptions are for what they say, and for no more.
  banned('runtime/compute/thread-compute.ts', 'setTimeout(f, 1)', GLOBALS),
  banned('runtime/clock-of-mine.ts', 'performance.now()', GLOBALS),

  // Promises, cycles, types.
  {
    file: 'actors/floating.ts',
    code: `export function f(g: () => Promise<void>) {\n  g()\n}\n`,
    rules: ['typescript(no-floating-promises)'],
  },
  {
    file: 'actors/cycle1.ts',
    code: `import { b } from './cycle2.js'\nexport const a = () => b\n`,
    rules: ['import(no-cycle)'],
  },
  {
    file: 'actors/cycle2.ts',
    code: `import { a } from './cycle1.js'\nexport const b = () => a\n`,
    rules: ['import(no-cycle)'],
  },
  { file: 'actors/any.ts', code: `export const f = (x: any): unknown => x\n`, rules: ['typescript(no-explicit-any)'] },
  {
    file: 'actors/type-import.ts',
    code: `import { X } from './x.js'\nexport type Y = X\n`,
    rules: ['typescript(consistent-type-imports)'],
  },
  { file: 'actors/print.ts', code: `export const f = () => console.log('hello')\n`, rules: ['eslint(no-console)'] },
  { file: 'actors/long.ts', code: `export const x = 1\n${'// a line\n'.repeat(401)}`, rules: ['eslint(max-lines)'] },
]

/** What the planted files import, so that types are known. */
const PRESENT = ['runtime', 'components', 'actors', 'adversaries', 'cli', 'bench', 'test/support', '.'].map((folder) => ({
  file: folder === '.' ? 'index.ts' : `${folder}/x.ts`,
  code: 'export const x = 1\nexport interface X {\n  readonly x: 1\n}\n',
}))

interface Diagnostic {
  readonly code: string
  readonly filename: string
}

test('each rule of the linter fires where it is broken, and nowhere else', async (t) => {
  t.timeout(120_000)
  const root = await temporaryFolder(t)
  for (const name of ['.oxlintrc.json', '.oxlint', 'package.json', 'tsconfig.json'])
    await cp(join(repository, name), join(root, name), { recursive: true })
  await symlink(join(repository, 'node_modules'), join(root, 'node_modules'), 'junction')
  for (const { file, code } of [...PRESENT, ...PLANTED]) {
    await mkdir(dirname(join(root, file)), { recursive: true })
    await writeFile(join(root, file), code)
  }
  const oxlint = join(repository, 'node_modules/oxlint/bin/oxlint')
  const folders = ['runtime', 'components', 'actors', 'adversaries', 'cli', 'test', 'bench', 'examples', 'index.ts']
  const ended = await runNode([oxlint, '--type-aware', '--format', 'json', ...folders], { cwd: root, deadlineMs: 100_000 })
  t.is(ended.status, 1, said(ended))
  const { diagnostics } = JSON.parse(ended.stdout) as { readonly diagnostics: readonly Diagnostic[] }
  const fired = new Map<string, Set<string>>()
  for (const { filename, code } of diagnostics) {
    const rules = fired.get(filename) ?? new Set()
    fired.set(filename, rules.add(code))
  }
  for (const { file, rules } of PLANTED) t.deepEqual([...(fired.get(file) ?? [])].toSorted(), [...rules], file)
  for (const { file } of PRESENT) t.false(fired.has(file), `${file} is right`)
})
