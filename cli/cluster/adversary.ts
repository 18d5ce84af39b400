/** A host that lies on purpose: whoever starts one has to say so twice, since nothing else on the machine looks different. */
import type { Adversary } from '../../adversaries/adversaries.js'
import { suggest } from '../../components/suggest.js'
import { SwarmError } from '../../runtime/errors.js'
import type { Settings } from '../flags.js'

/** `1`: this machine may run hosts that lie. */
export const ALLOW_VARIABLE = 'SWARMGRAD_ALLOW_ADVERSARIES'

/** The one of this name; undefined: none is asked for. Nothing of them is loaded before. @throws `usage`: not allowed here, or there is none */
export async function adversaryOf(
  { adversary: name }: Pick<Settings, 'adversary'>,
  environment: { readonly [variable: string]: string | undefined },
): Promise<Adversary | undefined> {
  if (name === undefined) return undefined
  if (environment[ALLOW_VARIABLE] !== '1') {
    const what = `--adversary ${name}: a host that lies, for tests of a cluster of your own`
    const fix = `Set ${ALLOW_VARIABLE}=1 if that is what you want, and leave --adversary out if not`
    throw new SwarmError('usage', { what, expected: `${ALLOW_VARIABLE}=1`, got: environment[ALLOW_VARIABLE] ?? 'nothing', fix })
  }
  const { ADVERSARIES } = await import('../../adversaries/adversaries.js')
  const names = Object.keys(ADVERSARIES)
  if (!names.includes(name))
    throw new SwarmError('usage', { what: '--adversary', expected: names.join(' or '), got: `'${name}'`, fix: suggest(name, names) })
  return ADVERSARIES[name as keyof typeof ADVERSARIES]
}
