/** What the command line trains: a network and what else decides the hash, from a file of TypeScript, JavaScript or YAML. */
import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { dirname, extname, resolve } from 'node:path'
import { SwarmError } from '../runtime/errors.js'
import { importModule, showPath } from './bundle.js'
import { describe } from './define.js'
import { isNetwork } from './network.js'
import { suggest } from './suggest.js'
import { checkFields, DEFINITION_FIELDS } from './training-fields.js'
import type { LoadedDefinition } from './training-fields.js'

export type { LoadedDefinition } from './training-fields.js'

const MODULES = ['.ts', '.mts', '.js', '.mjs']
const DOCUMENTS = ['.yaml', '.yml']

/**
 * Loads a definition: the default export (a network, or an object with `network` and training options), or exports of these
 * names, or a YAML file.
 * @throws `definition.invalid` with file and, where it is known, line; `definition.threw`; `graph.unknown`
 */
export async function loadDefinition(file: string): Promise<LoadedDefinition> {
  const path = resolve(file)
  const extension = extname(path).toLowerCase()
  if (![...MODULES, ...DOCUMENTS].includes(extension)) {
    const expected = 'a .ts, .js, .mjs or .yaml file'
    throw new SwarmError('definition.invalid', { what: 'not a definition', expected, got: showPath(path) })
  }
  if (!existsSync(path)) throw new SwarmError('definition.invalid', { what: 'no such file', where: showPath(path) })
  return MODULES.includes(extension) ? fromExports(await importModule(path), showPath(path)) : fromDocument(path)
}

async function fromDocument(path: string): Promise<LoadedDefinition> {
  const [text, { readYaml }, { builtInLayers }, { builtInRules }, { builtInOptimizers }, { DATASET_NAMES }] = await Promise.all([
    readFile(path, 'utf8'),
    import('./yaml.js'),
    import('./layers/index.js'),
    import('./rules/index.js'),
    import('./optimizers/index.js'),
    import('./datasets/index.js'),
  ])
  return readYaml(text, {
    file: showPath(path),
    layers: builtInLayers,
    rules: builtInRules,
    optimizers: builtInOptimizers,
    datasets: Object.fromEntries(DATASET_NAMES.map((name) => [name, { name }])),
    load: (module) => importModule(resolve(dirname(path), module)),
  })
}

/** @param where the file, for errors */
export function fromExports(exports: { readonly [name: string]: unknown }, where: string): LoadedDefinition {
  const { default: main, ...named } = exports
  if (isNetwork(main)) return checkFields({ ...pick(named), network: main }, where)
  if (typeof main === 'object' && main !== null) {
    const unknown = Object.keys(main).find((key) => !DEFINITION_FIELDS.includes(key))
    if (unknown !== undefined) {
      const fix = suggest(unknown, DEFINITION_FIELDS)
      throw new SwarmError('graph.unknown', { what: `unknown option '${unknown}' of the default export`, where, fix })
    }
    return checkFields({ ...pick(named), ...main }, where)
  }
  if (main === undefined && isNetwork(named.network)) return checkFields(pick(named), where)
  const expected = 'a network, or an object with one, as the default export'
  const got =
    main !== undefined ? describe(main) : Object.keys(named).length > 0 ? `exports ${Object.keys(named).join(', ')}` : 'no exports'
  throw new SwarmError('definition.invalid', { what: 'the file defines no network', where, expected, got })
}

function pick(named: { readonly [name: string]: unknown }): { [name: string]: unknown } {
  return Object.fromEntries(Object.entries(named).filter(([name]) => DEFINITION_FIELDS.includes(name)))
}
