/** Options of what swarmgrad brings along: checked and completed the same way in a factory, in YAML and in a worker. */
import type { ZodType } from 'zod'
import { SwarmError } from '../runtime/errors.js'
import { builtInLayer } from './define.js'
import type { BlockSpec, BuiltIn, Layer, Options } from './define.js'
import { suggest } from './suggest.js'

/** What was given: an option that is `undefined` is one that is left out. */
export function withoutUndefined<T extends object>(options: T): Partial<T> {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as Partial<T>
}

/**
 * Options as `schema` (a strict object) completes them.
 * @param what of what they are the options, as in `layer 'dense'`
 * @throws `graph.unknown` naming the option, what was expected and what was given
 */
export function checkOptions<O extends Options>(what: string, schema: ZodType<O>, raw: Options): O {
  const given = withoutUndefined(raw)
  const checked = schema.safeParse(given)
  if (checked.success) return checked.data
  const [issue] = checked.error.issues
  if (issue.code === 'unrecognized_keys') {
    const known = Object.keys((schema as unknown as { shape?: object }).shape ?? {})
    const fix = known.length > 0 ? suggest(issue.keys[0], known) : 'It takes no options'
    throw new SwarmError('graph.unknown', { what: `unknown option '${issue.keys[0]}' of ${what}`, fix })
  }
  const name = String(issue.path[0])
  const got = name in given ? JSON.stringify(given[name]) : 'nothing'
  throw new SwarmError('graph.unknown', { what: `wrong option '${name}' of ${what} (${issue.message})`, got })
}

/** A call of a layer that swarmgrad brings along, its options checked now rather than when the network is compiled. */
export function callOf<O extends Options>(spec: BuiltIn<BlockSpec<O>>, raw: Options = {}): Layer {
  return builtInLayer(spec.name, spec.options!(raw))
}
