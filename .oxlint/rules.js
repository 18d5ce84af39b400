/**
 * The two rules of this repository that oxlint does not have: which folder may import what, and no powers.
 * test/project/lint.test.ts shows that each one fires.
 */
import { dirname, posix, relative, resolve, sep } from 'node:path'

const ROOT = dirname(import.meta.dirname)

/** What each folder may import, besides itself. Imports run one way: cli, examples, test, bench → adversaries → actors → components → runtime. */
const MAY_IMPORT = {
  runtime: [],
  components: ['runtime'],
  actors: ['runtime', 'components'],
  // Who lies is no part of the library: the command line loads it where somebody asks for it.
  adversaries: ['runtime', 'components', 'actors'],
  cli: ['runtime', 'components', 'actors', 'adversaries', 'index.ts', 'package.json'],
  'index.ts': ['runtime', 'components', 'actors'],
  // Shipped as `swarmgrad/testing`: it must stand without the rest of the tests.
  'test/conformance': ['runtime'],
  test: ['runtime', 'components', 'actors', 'adversaries', 'cli', 'examples', 'bench', 'index.ts', 'package.json', 'test/conformance'],
  bench: ['runtime', 'components', 'actors', 'index.ts', 'package.json', 'test/support', 'test/simulation'],
  // Examples are what users write: they import the package by its name.
  examples: [],
}

/**
 * Who may import a package that does I/O or could be exchanged: one file each, so that its quirks are known in one place.
 * Types may be imported anywhere: nothing of them is left at run time.
 */
const ONLY = {
  '@dapr/dapr': ['runtime/actor-system/dapr-sidecar.ts'],
  '@nats-io/jwt': ['runtime/tensor-bus/nats-authority.ts'],
  '@nats-io/transport-node': ['runtime/tensor-bus/nats-connection.ts', 'runtime/tensor-bus/nats-transport.ts'],
  express: ['runtime/http-server.ts'],
  minio: ['runtime/object-store/s3-client.ts'],
  '@tensorflow/tfjs-backend-wasm': ['components/tf.ts'],
  '@tensorflow/tfjs-core': ['components/tf.ts'],
  chalk: ['cli/output.ts'],
  'cli-table3': ['cli/view/table.ts'],
  commander: ['cli/program.ts'],
  'csv-parse': ['components/datasets/csv.ts'],
  // Where data sets, settings and programs are kept: three folders of the same user.
  'env-paths': ['components/datasets/published.ts', 'cli/settings.ts', 'runtime/services/find.ts'],
  esbuild: ['components/bundle.ts'],
  'log-update': ['cli/view/bar.ts', 'cli/view/live.ts'],
  msgpackr: ['runtime/frame.ts'],
  // Networks, and settings, which are told from flags: two documents with nothing in common.
  yaml: ['components/yaml.ts', 'cli/settings.ts'],
}

/** Rule 'imports' looks at these; tests and benchmarks may compare with whatever they like. */
const SHIPPED = new Set(['runtime', 'components', 'actors', 'adversaries', 'cli', 'index.ts', 'test/conformance'])

/** Path from the repository's root, with slashes. */
const pathOf = (file) => relative(ROOT, file).split(sep).join('/')

/** The entry of MAY_IMPORT that a path belongs to: the longest that fits. */
function folderOf(path) {
  return Object.keys(MAY_IMPORT)
    .filter((folder) => path === folder || path.startsWith(`${folder}/`))
    .sort((a, b) => b.length - a.length)[0]
}

function packageOf(specifier) {
  return specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/')
}

const imports = {
  create(context) {
    const file = pathOf(resolve(context.filename))
    const folder = folderOf(file)
    if (folder === undefined) return {}

    const checkRelative = (node, specifier) => {
      const target = posix.join(posix.dirname(file), specifier).replace(/\.js$/, '.ts')
      const isOwn = folder !== 'index.ts' && target.startsWith(`${folder}/`)
      const allowed = MAY_IMPORT[folder].some((other) => target === other || target.startsWith(`${other}/`))
      if (!isOwn && !allowed) context.report({ node, message: `${folder} must not import ${target}: imports run one way (DESIGN.md §4).` })
    }
    const checkPackage = (node, specifier) => {
      if (packageOf(specifier) === 'swarmgrad' && SHIPPED.has(folder)) {
        context.report({ node, message: `${folder} must not import its own package: name the file.` })
      }
      const only = ONLY[packageOf(specifier)]
      if (only === undefined || !SHIPPED.has(folder)) return
      if (!only.includes(file)) context.report({ node, message: `${packageOf(specifier)} is imported by ${only.join(' and ')} alone.` })
    }
    const check = (node, source, isType) => {
      const specifier = source?.value
      if (typeof specifier !== 'string') return
      if (specifier.startsWith('.')) checkRelative(node, specifier)
      else if (!isType) checkPackage(node, specifier)
    }
    return {
      ImportDeclaration: (node) => check(node, node.source, node.importKind === 'type'),
      ExportAllDeclaration: (node) => check(node, node.source, node.exportKind === 'type'),
      ExportNamedDeclaration: (node) => check(node, node.source, node.exportKind === 'type'),
      ImportExpression: (node) => check(node, node.source, false),
    }
  },
}

/** 2 to the power of a written integer is exact everywhere; nothing else is (PROTOCOL.md rule 19). */
const isExact = (left, right) => left.type === 'Literal' && left.value === 2 && right.type === 'Literal' && Number.isInteger(right.value)

const powers = {
  create(context) {
    const report = (node) =>
      context.report({ node, message: '** gives different bits on different versions of Node (PROTOCOL.md rule 19): multiply.' })
    return {
      BinaryExpression(node) {
        if (node.operator === '**' && !isExact(node.left, node.right)) report(node)
      },
      AssignmentExpression(node) {
        if (node.operator === '**=') report(node)
      },
    }
  },
}

export default { meta: { name: 'swarmgrad' }, rules: { imports, powers } }
