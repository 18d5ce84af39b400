/** The learning rules that swarmgrad brings along. */
import type { BuiltIn, RuleSpec } from '../define.js'
import { backpropSpec } from './backprop.js'
import { predSpec } from './pred.js'
import { predsimSpec } from './predsim.js'
import { relaySpec } from './relay.js'
import { soloSpec } from './solo.js'

export { backprop } from './backprop.js'
export { pred } from './pred.js'
export { predsim } from './predsim.js'
export { relay } from './relay.js'
export { solo } from './solo.js'

/** By the name in a definition. */
export const builtInRules: { readonly [name: string]: BuiltIn<RuleSpec<any>> } = {
  backprop: backpropSpec,
  pred: predSpec,
  predsim: predsimSpec,
  relay: relaySpec,
  solo: soloSpec,
}
