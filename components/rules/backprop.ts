/** `backprop`: the twin of a local rule, end to end in one VNode. */
import { z } from 'zod'
import type { BuiltIn, Call, RuleSpec } from '../define.js'
import { checkOptions } from '../options.js'
import { predSpec } from './pred.js'

/** The loss of `pred` on one head behind the whole network, whose layers are one VNode. */
export const backpropSpec: BuiltIn<RuleSpec<{}>> = {
  ...predSpec,
  name: 'backprop',
  options: (raw) => checkOptions("rule 'backprop'", z.strictObject({}), raw),
  endToEnd: true,
}

/** Ordinary training, for comparison: nothing is local, the whole network learns from one loss. */
export function backprop(): Call<'rule'> {
  return { kind: 'rule', name: 'backprop', options: {} }
}
