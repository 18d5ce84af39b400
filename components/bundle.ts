/**
 * Users' modules as single files: bundled where they were written, named by the SHA-256 of their bytes, loaded in workers
 * and on hosts that have neither the source nor its packages. The one file that imports esbuild.
 */
import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { SourceMap } from 'node:module'
import { tmpdir } from 'node:os'
import { basename, dirname, isAbsolute, join, relative, resolve } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import type { BuildFailure, BuildOptions, Plugin } from 'esbuild'
import { isSwarmError, SwarmError } from '../runtime/errors.js'
import { specOf } from './define.js'
import type { Located } from './define.js'
import { NAMESPACE_KEY, provideNamespace } from './package-namespace.js'

/** A user's module with all that it imports, as one ESM file. */
export interface Bundle {
  /** Hex, of `code`: the bundle's name. */
  readonly sha256: string
  readonly code: Uint8Array
}

type Exports = { readonly [name: string]: unknown }

/** What `import.meta.url` is in a bundle: a URL that relative URLs can be made from, and no path of any machine. */
const BUNDLE_URL = 'file:///swarmgrad/bundle.mjs'
/** CommonJS packages ask for Node's own modules by `require`, which ESM does not have. */
const BANNER = `import { createRequire as __createRequire } from 'node:module'; const require = __createRequire('${BUNDLE_URL}');`

/**
 * Bundles a module (TypeScript or JavaScript) with its relative imports and npm packages. The bytes depend on the sources
 * alone: not on the machine, the folder, or where swarmgrad is installed.
 * @param moduleUrl file URL, as a definition's `module`
 * @throws `definition.invalid` with file:line:column
 */
export async function bundleModule(moduleUrl: string): Promise<Bundle> {
  if (!moduleUrl.startsWith('file:')) {
    throw new SwarmError('definition.invalid', { what: 'module of a definition', expected: 'a file URL', got: moduleUrl })
  }
  const { code } = await build(fileURLToPath(moduleUrl), {
    define: {
      'import.meta.url': JSON.stringify(BUNDLE_URL),
      'import.meta.filename': JSON.stringify(fileURLToPathPosix(BUNDLE_URL)),
      'import.meta.dirname': '"/swarmgrad"',
    },
    plugins: [await packagePlugin()],
  })
  const bytes = Buffer.from(code)
  return { sha256: createHash('sha256').update(bytes).digest('hex'), code: bytes }
}

/** Bundles several modules; by their URLs. @throws as `bundleModule` */
export async function bundleModules(moduleUrls: readonly string[]): Promise<{ readonly [moduleUrl: string]: Bundle }> {
  return Object.fromEntries(await Promise.all(moduleUrls.map(async (url) => [url, await bundleModule(url)] as const)))
}

/** Bundles that this thread has loaded: a module is never unloaded, so that each is imported once. */
const loaded = new Map<string, Promise<Exports>>()

/**
 * Loads a bundle in this thread, once; its `swarmgrad` is the running package.
 * @throws `store.damaged` if the bytes do not have the hash; `store.not-found`; `definition.threw`, `definition.invalid`
 */
export async function loadBundle(path: string, sha256: string): Promise<Exports> {
  const before = loaded.get(sha256)
  if (before) return before
  const loading = loadVerified(path, sha256)
  loaded.set(sha256, loading)
  loading.catch(() => loaded.delete(sha256))
  return loading
}

async function loadVerified(path: string, sha256: string): Promise<Exports> {
  const code = await readFile(path).catch((error: unknown) => {
    throw new SwarmError('store.not-found', { what: 'no such bundle', where: path, cause: error })
  })
  const got = createHash('sha256').update(code).digest('hex')
  if (got !== sha256) throw new SwarmError('store.damaged', { what: 'damaged bundle', where: path, expected: sha256, got })
  return importCode(code, `bundle ${sha256.slice(0, 12)}`)
}

/** The definition of a kind and name among the exports of a module. @throws `definition.invalid` */
export function definitionIn(exports: Exports, kind: 'block' | 'rule' | 'dataset', name: string): Located {
  const found = Object.values(exports).map((value) => specOf(value, kind))
  const spec = found.find((candidate) => candidate?.name === name)
  if (spec) return spec
  const names = found.flatMap((candidate) => candidate?.name ?? []).join(', ')
  const fix = 'Export what defineBlock, defineRule or defineDataset returned'
  throw new SwarmError('definition.invalid', { what: `the module exports no ${kind} '${name}'`, got: names || `no ${kind}`, fix })
}

/**
 * Bundles and loads a module in this thread, where it was written: `import.meta.url` in each file is that file's own.
 * @throws `definition.invalid` (no such file; syntax, with file:line:column), `definition.threw`
 */
export async function importModule(file: string): Promise<Exports> {
  const built = await build(resolve(file), {
    define: {
      'import.meta.url': '__importMetaUrl',
      'import.meta.filename': '__importMetaFilename',
      'import.meta.dirname': '__importMetaDirname',
    },
    sourcemap: 'external',
    plugins: [await packagePlugin(), ownUrlPlugin],
  })
  return importCode(built.code, showPath(resolve(file)), { map: built.map, folder: dirname(resolve(file)) })
}

/** A path as people read it: relative to the working directory if it is below. */
export function showPath(path: string): string {
  const shown = relative(process.cwd(), path)
  return shown === '' || shown.startsWith('..') || isAbsolute(shown) ? path : shown
}

async function build(entry: string, options: BuildOptions): Promise<{ readonly code: string; readonly map: string }> {
  if (!existsSync(entry)) throw new SwarmError('definition.invalid', { what: 'no such file', where: showPath(entry) })
  const esbuild = await import('esbuild')
  const folder = dirname(entry)
  try {
    const { outputFiles, metafile } = await esbuild.build({
      entryPoints: [`./${basename(entry)}`],
      absWorkingDir: folder,
      outfile: 'bundle.mjs',
      banner: { js: BANNER },
      bundle: true,
      write: false,
      metafile: true,
      format: 'esm',
      platform: 'node',
      target: 'node20',
      charset: 'utf8',
      legalComments: 'none',
      logLevel: 'silent',
      // Neither the environment nor a tsconfig.json nearby may change the bytes.
      tsconfigRaw: {},
      nodePaths: [],
      ...options,
    })
    const text = (extension: string) => outputFiles!.find(({ path }) => path.endsWith(extension))?.text ?? ''
    return { code: withoutPaths(text('.mjs'), Object.keys(metafile!.inputs)), map: text('.map') }
  } catch (error) {
    throw syntaxError(error, folder, entry)
  }
}

/** esbuild names files relative to the entry's folder; packages are to be named alike wherever they are installed. */
function withoutPaths(code: string, files: readonly string[]): string {
  for (const file of files) {
    const packages = file.lastIndexOf('node_modules/')
    const stable = packages >= 0 ? file.slice(packages) : file.replace(/^(\.\.\/)+/, '')
    if (stable !== file) code = code.replaceAll(`// ${file}\n`, `// ${stable}\n`).replaceAll(`"${file}"(`, `"${stable}"(`)
  }
  return code
}

function syntaxError(error: unknown, folder: string, entry: string): unknown {
  const [first] = (error as Partial<BuildFailure>).errors ?? []
  if (!first) return error
  const { location, text } = first
  const where = location ? `${showPath(resolve(folder, location.file))}:${location.line}:${location.column + 1}` : showPath(entry)
  return new SwarmError('definition.invalid', { what: text, where, cause: error })
}

/** `swarmgrad` and tfjs are the running package's. As ESM with every name, so that a name that does not exist has its line. */
async function packagePlugin(): Promise<Plugin> {
  const namespace = await provideNamespace()
  const whole = `globalThis[Symbol.for('${NAMESPACE_KEY}')]`
  const contents: { readonly [path: string]: string } = {
    swarmgrad: namesOf(namespace, whole),
    tfjs: namesOf(namespace.tf as object, `${whole}.tf`),
    backend: '',
  }
  return {
    name: 'package',
    setup(build) {
      const virtual = (path: string) => ({ path, namespace: 'running', sideEffects: false })
      build.onResolve({ filter: /^swarmgrad$/ }, () => virtual('swarmgrad'))
      build.onResolve({ filter: /^swarmgrad\// }, ({ path }) => ({
        errors: [{ text: `Definitions import 'swarmgrad' only, not '${path}'` }],
      }))
      build.onResolve({ filter: /^@tensorflow\/tfjs(-core|-node|-node-gpu)?$/ }, () => virtual('tfjs'))
      build.onResolve({ filter: /^@tensorflow\/tfjs(-core\/dist\/.*|-backend-.*)$/ }, () => virtual('backend'))
      build.onLoad({ filter: /.*/, namespace: 'running' }, ({ path }) => ({ contents: contents[path], loader: 'js' }))
    },
  }
}

/** Every name by itself: what a bundle does not use leaves no trace in it, so that new names leave its bytes as they are. */
function namesOf(namespace: object, expression: string): string {
  const names = Object.keys(namespace).filter((name) => /^[A-Za-z_$][\w$]*$/.test(name) && name !== 'default')
  const lines = names.sort().map((name) => `const $${name} = /* @__PURE__ */ pick('${name}'); export { $${name} as ${name} }`)
  return [`const pick = (name) => ${expression}[name]`, ...lines].join('\n')
}

/** Gives each file its own `import.meta.url`: an import, which is hoisted, at the file's end, so that no line moves. */
const ownUrlPlugin: Plugin = {
  name: 'own-url',
  setup(build) {
    const importLine = `\nimport { __importMetaUrl, __importMetaFilename, __importMetaDirname } from 'swarmgrad-own-url:'\n`
    build.onResolve({ filter: /^swarmgrad-own-url:$/ }, ({ importer }) => ({ path: importer, namespace: 'own-url' }))
    build.onLoad({ filter: /.*/, namespace: 'own-url' }, ({ path }) => ({
      contents: [
        `export const __importMetaUrl = ${JSON.stringify(pathToFileURL(path).href)}`,
        `export const __importMetaFilename = ${JSON.stringify(path)}`,
        `export const __importMetaDirname = ${JSON.stringify(dirname(path))}`,
      ].join('\n'),
    }))
    build.onLoad({ filter: /\.(m?[jt]s|[jt]sx)$/, namespace: 'file' }, async ({ path }) => {
      const text = await readFile(path, 'utf8')
      const extension = path.slice(path.lastIndexOf('.') + 1)
      const isModule = text.includes('import.meta.') && /^\s*(import|export)\b/m.test(text)
      if (!isModule) return undefined
      return { contents: text + importLine, loader: extension.replace(/^m/, '') as 'js' | 'ts' | 'jsx' | 'tsx' }
    })
  },
}

/** Imports code from a file of its own, which is gone when it is loaded. */
async function importCode(code: Uint8Array | string, name: string, source?: { map: string; folder: string }): Promise<Exports> {
  await provideNamespace()
  const folder = await mkdtemp(join(tmpdir(), 'swarmgrad-'))
  const file = join(folder, 'bundle.mjs')
  try {
    await writeFile(file, code)
    return (await import(pathToFileURL(file).href)) as Exports
  } catch (error) {
    const where = (source && placeOf(error, source)) ?? name
    if (isSwarmError(error)) throw new SwarmError(error.code, { what: error.message, where, cause: error })
    const message = error instanceof Error ? error.message : String(error)
    throw new SwarmError('definition.threw', { what: `the definition threw: ${message}`, where, cause: error })
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

/** The line of the source in which an error arose, by the first frame of its stack that is in the bundle. */
function placeOf(error: unknown, { map, folder }: { map: string; folder: string }): string | undefined {
  const stack = error instanceof Error ? (error.stack ?? '') : ''
  for (const [, line, column] of stack.matchAll(/bundle\.mjs:(\d+):(\d+)/g)) {
    const entry = new SourceMap(JSON.parse(map)).findEntry(Number(line) - 1, Number(column) - 1)
    if (!('originalSource' in entry) || entry.originalSource.includes('running:')) continue
    return `${showPath(resolve(folder, entry.originalSource))}:${entry.originalLine + 1}:${entry.originalColumn + 1}`
  }
  return undefined
}

const fileURLToPathPosix = (url: string): string => new URL(url).pathname
