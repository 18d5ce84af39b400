/** `relay`: backpropagation by messages, the twin of `backprop` in as many VNodes as the network has. */
import { z } from 'zod'
import type { BuiltIn, Call, RuleSpec } from '../define.js'
import { checkOptions } from '../options.js'
import { predSpec } from './pred.js'

const schema = z.strictObject({
  /** Batches under way at a time. With 1 every batch goes to the end and back before the next one begins. */
  window: z.int().min(1).max(1_024).default(1),
})
type RelayOptions = z.infer<typeof schema>

/** The loss of `pred` at the output alone; derivatives go back from VNode to VNode. With a window of 1 exactly what `backprop` learns, but for a `clipNorm` of the optimizer, which is of a VNode's gradients here. */
export const relaySpec: BuiltIn<RuleSpec<RelayOptions>> = {
  ...predSpec,
  name: 'relay',
  positional: 'window',
  options: (raw) => checkOptions("rule 'relay'", schema, raw),
  feedback: ({ window }) => ({ of: 'gradients', window }),
}

/** Not local: for comparison, and for VNodes that have no loss of their own. @throws `graph.unknown` */
export function relay(options: z.input<typeof schema> = {}): Call<'rule'> {
  return { kind: 'rule', name: 'relay', options: relaySpec.options!(options) }
}
