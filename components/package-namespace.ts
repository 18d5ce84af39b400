/**
 * What `import … from 'swarmgrad'` means inside a bundle: the definitions of the running package, found in the thread's
 * global object, so that the bytes of a bundle depend neither on the machine nor on where the package is installed.
 */
import { SwarmError } from '../runtime/errors.js'
import { defineBlock, defineDataset, defineRule } from './define.js'
import { block, categorical, continuous, head, network, networkOf, tokens, vnode } from './network.js'

/** Under which the namespace stands in `globalThis`. Bundles contain the name: never change it. */
export const NAMESPACE_KEY = 'swarmgrad'

/** Exports of the package that do something rather than define something: not for modules that are being loaded. */
const RUNNERS = [
  'train',
  'resume',
  'local',
  'cluster',
  'openRun',
  'openModel',
  'listRuns',
  'deleteRun',
  'loadDefinition',
  'openDataset',
] as const

let made: Promise<{ readonly [name: string]: unknown }> | undefined

/** The namespace of this thread, made on first use (it loads tfjs) and put into `globalThis`. */
export async function provideNamespace(): Promise<{ readonly [name: string]: unknown }> {
  made ??= makeNamespace()
  const namespace = await made
  ;(globalThis as { [key: symbol]: unknown })[Symbol.for(NAMESPACE_KEY)] = namespace
  return namespace
}

async function makeNamespace(): Promise<{ readonly [name: string]: unknown }> {
  const [{ tf }, layers, rules, optimizers, { datasets }] = await Promise.all([
    import('./tf.js'),
    import('./layers/index.js'),
    import('./rules/index.js'),
    import('./optimizers/index.js'),
    import('./datasets/index.js'),
  ])
  const { builtInLayers: _layers, ...layerMakers } = layers
  const { builtInRules: _rules, ...ruleMakers } = rules
  const { builtInOptimizers: _optimizers, ...optimizerMakers } = optimizers
  return {
    ...Object.fromEntries(RUNNERS.map((name) => [name, () => refuse(name)])),
    ...layerMakers,
    ...ruleMakers,
    ...optimizerMakers,
    tf,
    datasets,
    SwarmError,
    defineBlock,
    defineDataset,
    defineRule,
    block,
    categorical,
    continuous,
    tokens,
    head,
    network,
    networkOf,
    vnode,
  }
}

function refuse(name: string): never {
  const fix = 'Export the definition, and call it from another file'
  throw new SwarmError('definition.invalid', { what: `${name}() was called while a definition was being loaded`, fix })
}
