/** What goes against the graph, for rules that ask for it: who gives it to whom, and how many entries of the log a step takes. */
import { SwarmError } from '../runtime/errors.js'
import type { RuleFeedback } from './define.js'
import { type NetworkDefinition, SOURCE, type VNodeDefinition } from './definition.js'
import { sameShape, showShape } from './shapes.js'

/**
 * The VNodes of a network under a rule that asks for feedback.
 * @param vnodes in graph order
 * @param output the VNode that answers
 * @throws `definition.invalid` if a head cannot be shared
 */
export function withFeedback(vnodes: readonly VNodeDefinition[], output: string, feedback: RuleFeedback): VNodeDefinition[] {
  return feedback.of === 'gradients' ? withGradients(vnodes, output, feedback.window) : withSharedHead(vnodes, output, feedback)
}

/** Gradients go from each VNode to those it reads, as far as the output depends on it. Only the output has a loss. */
function withGradients(vnodes: readonly VNodeDefinition[], output: string, window: number): VNodeDefinition[] {
  const used = new Set([output])
  for (const { id, inputs } of vnodes.toReversed()) if (used.has(id)) for (const input of inputs) used.add(input)
  return vnodes.map((vnode) => {
    const isUsed = used.has(vnode.id)
    const from = vnodes.filter(({ id, inputs }) => used.has(id) && inputs.includes(vnode.id)).map(({ id }) => id)
    const to = isUsed ? vnode.inputs.filter((input) => input !== SOURCE) : []
    return { ...vnode, hasHead: vnode.id === output, feedback: { of: 'gradients', from: isUsed ? from : [], to, lag: 1, window } }
  })
}

/** One parameter of the output's head goes to all others that have a head. */
function withSharedHead(
  vnodes: readonly VNodeDefinition[],
  output: string,
  { parameter, everySteps }: RuleFeedback & { readonly of: 'head' },
): VNodeDefinition[] {
  const last = vnodes.find(({ id }) => id === output)!
  const others = vnodes.filter(({ id, hasHead }) => hasHead && id !== output)
  const stranger = others.find(({ outputShape }) => !sameShape(outputShape, last.outputShape))
  if (stranger) {
    throw new SwarmError('definition.invalid', {
      what: `blocks that share the head of '${output}'`,
      expected: `outputs ${showShape(last.outputShape)} of all`,
      got: `${showShape(stranger.outputShape)} of '${stranger.id}'`,
      fix: 'Use pred(), which gives each block a head of its own, or blocks of equal shape',
    })
  }
  const ids = others.map(({ id }) => id)
  const shared = { of: 'head', lag: everySteps, parameter, everySteps } as const
  return vnodes.map((vnode) => {
    if (vnode.id === output) return { ...vnode, feedback: { ...shared, from: [], to: ids } }
    return ids.includes(vnode.id) ? { ...vnode, feedback: { ...shared, from: [output], to: [] } } : vnode
  })
}

/** Entries without a batch that follow each batch: so many that no more batches are under way than the rule allows, from the first VNode to the last and back. */
export function drainsOf({ vnodes, output }: Pick<NetworkDefinition, 'vnodes' | 'output'>): number {
  const { of, window = 1 } = vnodes.find(({ id }) => id === output)?.feedback ?? {}
  return of === 'gradients' ? Math.ceil(longestWay(vnodes) / window) - 1 : 0
}

/** VNodes on the longest way from the source. */
export function longestWay(vnodes: readonly Pick<VNodeDefinition, 'id' | 'inputs'>[]): number {
  const depths = new Map<string, number>()
  for (const { id, inputs } of vnodes) depths.set(id, 1 + Math.max(0, ...inputs.map((input) => depths.get(input) ?? 0)))
  return Math.max(0, ...depths.values())
}
