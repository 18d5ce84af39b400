/** From a call of a definition to its spec and its reference: names looked up, options checked. */
import { createHash } from 'node:crypto'
import type { Json } from '../runtime/actor-system/actor-system.js'
import { canonicalJson } from '../runtime/canonical-json.js'
import { isSwarmError, SwarmError } from '../runtime/errors.js'
import { describe, specOfCall } from './define.js'
import type { Call, Options } from './define.js'
import type { DefinitionRef } from './definition.js'
import { suggest } from './suggest.js'

/** What layers, rules, optimizers and data sets have in common. */
export interface Spec {
  readonly name: string
  readonly positional?: string
  options?(raw: Options): Options
}

/** Specs by name, as `builtInLayers`, `builtInRules` and `builtInOptimizers` are. */
export type Specs<S extends Spec> = { readonly [name: string]: S }

/** SHA-256 of the bundle of each user module, by the module's file URL (`bundleModules`). */
export type BundleHashes = { readonly [moduleUrl: string]: string }

/**
 * The spec and the reference of a call.
 * @param where whose call it is, for errors: `dense-2`, `rule`
 * @throws `graph.unknown` (name or option), `definition.invalid` (an option's value; a module that was not bundled)
 */
export function resolve<S extends Spec>(
  call: Call,
  specs: Specs<S>,
  bundles: BundleHashes = {},
  where?: string,
): { readonly spec: S; readonly ref: DefinitionRef } {
  const spec = specFor(call, specs, where)
  const options = completeOptions(call, spec, where)
  if (call.module === undefined) return { spec, ref: { name: call.name, options } }
  const bundle = bundles[call.module]
  if (bundle === undefined) {
    throw new SwarmError('definition.invalid', { what: `the module of '${call.name}' was not bundled: ${call.module}`, where })
  }
  return { spec, ref: { name: call.name, bundle, options } }
}

function specFor<S extends Spec>(call: Call, specs: Specs<S>, where?: string): S {
  const own = call.module === undefined ? undefined : (specOfCall(call) as unknown as S | undefined)
  const known = call.module === undefined && Object.hasOwn(specs, call.name) ? specs[call.name] : undefined
  const spec = own ?? known
  if (spec) return spec
  const what = `unknown ${call.kind === 'block' ? 'layer' : call.kind} '${call.name}'`
  const fix = call.module === undefined ? suggest(call.name, Object.keys(specs)) : `Export it from ${call.module}`
  throw new SwarmError('graph.unknown', { what, where, fix })
}

/** The options as the spec completes them, as plain JSON without what is undefined. */
function completeOptions(call: Call, spec: Spec, where?: string): Options {
  let completed: Options
  try {
    completed = spec.options ? spec.options(call.options) : call.options
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error)
    const code = isSwarmError(error) ? error.code : 'definition.invalid'
    throw new SwarmError(code, { what: `options of ${where ?? `'${call.name}'`}: ${message}`, cause: error })
  }
  const options: { [option: string]: Json } = {}
  for (const [option, value] of Object.entries(completed)) {
    if (value === undefined) continue
    if (!isJson(value)) {
      const expected = 'plain JSON with finite numbers'
      throw new SwarmError('definition.invalid', { what: `option '${option}' of '${call.name}'`, where, expected, got: describe(value) })
    }
    options[option] = value
  }
  return options
}

/** True for plain JSON: finite numbers, no functions, no instances of classes, no cycles deeper than 32. */
export function isJson(value: unknown, depth = 0): value is Json {
  if (value === null || typeof value === 'string' || typeof value === 'boolean') return true
  if (typeof value === 'number') return Number.isFinite(value)
  if (typeof value !== 'object' || depth > 32) return false
  if (Array.isArray(value)) return value.every((item) => isJson(item, depth + 1))
  const prototype: unknown = Object.getPrototypeOf(value)
  if (prototype !== null && Object.getPrototypeOf(prototype) !== null) return false
  return Object.values(value).every((item) => item === undefined || isJson(item, depth + 1))
}

/** SHA-256 in hex over the canonical JSON of a definition: the same network, the same hash. */
export function definitionHash(definition: object): string {
  return createHash('sha256').update(canonicalJson(definition)).digest('hex')
}
