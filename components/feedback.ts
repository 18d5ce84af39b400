/** What goes against the graph, for rules that ask for it: who gives it to whom, and how many entries of the log a step takes. */
import type { Tensor } from '@tensorflow/tfjs-core'
import { SwarmError } from '../runtime/errors.js'
import type { TimetableOptions } from '../runtime/timetable.js'
import { describe } from './define.js'
import type { Options, RuleFeedback, RuleSpec, Shape } from './define.js'
import { type NetworkDefinition, SOURCE, type VNodeDefinition } from './definition.js'
import { isShape } from './network.js'
import { sameShape, showShape } from './shapes.js'

const MOST = { window: 1_024, everySteps: 10_000 } as const
/** What a rule may ask for, in words. */
const FEEDBACK_FORM = `{ of: 'gradients', window: 1 to ${MOST.window} }, or { of: 'head', parameter: a name, everySteps: 1 to ${MOST.everySteps} }`

/** What a rule asks for, checked. @throws `definition.invalid` */
export function feedbackOf(rule: Pick<RuleSpec<Options>, 'name' | 'feedback' | 'step'>, options: Options): RuleFeedback | undefined {
  if (!rule.feedback) return undefined
  const what = `feedback of rule '${rule.name}'`
  let asked: RuleFeedback
  try {
    asked = rule.feedback(options)
  } catch (cause) {
    throw new SwarmError('definition.threw', { what: `${what} threw: ${cause instanceof Error ? cause.message : String(cause)}`, cause })
  }
  const isCount = (value: unknown, most: number) => Number.isSafeInteger(value) && (value as number) >= 1 && (value as number) <= most
  const isValid =
    typeof asked === 'object' &&
    asked !== null &&
    (asked.of === 'gradients'
      ? isCount(asked.window, MOST.window)
      : asked.of === 'head' && typeof asked.parameter === 'string' && isCount(asked.everySteps, MOST.everySteps))
  if (!isValid) throw new SwarmError('definition.invalid', { what, expected: FEEDBACK_FORM, got: JSON.stringify(asked) ?? describe(asked) })
  if (asked.of === 'gradients' && rule.step) {
    const fix = 'Leave out its step: the tape finds what goes back'
    throw new SwarmError('definition.invalid', { what: `rule '${rule.name}' has a step of its own and sends gradients back`, fix })
  }
  return asked
}

/**
 * The VNodes of a network under a rule that asks for feedback.
 * @param vnodes in graph order
 * @param output the VNode that answers
 * @throws `definition.invalid` if a head cannot be shared
 */
export function withFeedback(vnodes: readonly VNodeDefinition[], output: string, feedback: RuleFeedback): VNodeDefinition[] {
  return feedback.of === 'gradients' ? withGradients(vnodes, output, feedback.window) : withSharedHead(vnodes, output, feedback)
}

/** The network, with the shape of the head that is shared, if there is one: so that frames can be checked. An `init` that computes with what it draws does not say. */
export function withSharedShape(
  network: NetworkDefinition,
  { init }: Pick<RuleSpec<Options>, 'init'>,
  options: Options,
): NetworkDefinition {
  const output = network.vnodes.find(({ id }) => id === network.output)!
  const { of, parameter } = output.feedback ?? {}
  if (of !== 'head') return network
  const drawn = (shape: Shape) => ({ shape }) as unknown as Tensor
  let shape: Shape | undefined
  try {
    const random = { glorot: drawn, he: drawn, normal: drawn, uniform: drawn, zeros: drawn, ones: drawn }
    shape = init(output.outputShape, network.target as Parameters<typeof init>[1], random, options)[parameter!]?.shape
  } catch {
    return network
  }
  if (!isShape(shape)) return network
  const vnodes = network.vnodes.map((vnode) =>
    vnode.feedback?.of === 'head' ? { ...vnode, feedback: { ...vnode.feedback, shape } } : vnode,
  )
  return { ...network, vnodes }
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

/**
 * Entries without a batch: behind each batch so many that no more batches are under way than the rule allows, from the first VNode to the last and back;
 * behind the last batch of an epoch so many that none is.
 */
export function drainsOf({
  vnodes,
  output,
}: Pick<NetworkDefinition, 'vnodes' | 'output'>): Pick<TimetableOptions, 'drains' | 'epochDrains'> {
  const { of, window = 1 } = vnodes.find(({ id }) => id === output)?.feedback ?? {}
  const longest = longestWay(vnodes)
  return of === 'gradients' && longest > 1 ? { drains: Math.ceil(longest / window) - 1, epochDrains: longest - 1 } : {}
}

/** VNodes on the longest way from the source. */
export function longestWay(vnodes: readonly Pick<VNodeDefinition, 'id' | 'inputs'>[]): number {
  const depths = new Map<string, number>()
  for (const { id, inputs } of vnodes) depths.set(id, 1 + Math.max(0, ...inputs.map((input) => depths.get(input) ?? 0)))
  return Math.max(0, ...depths.values())
}
