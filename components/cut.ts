/**
 * Where a network is cut into VNodes. Each `block(…)` and `vnode(…)` is one; so is a loose layer with parameters. A loose
 * one without joins its only reader, and is a VNode of its own if it has several or none.
 */
import { SwarmError } from '../runtime/errors.js'
import { SOURCE } from './definition.js'
import type { BlockSpec, BuiltIn, Shape } from './define.js'
import type { DefinitionRef } from './definition.js'
import type { LayerNode } from './network.js'

/** A layer with all that is known about it. */
export interface ResolvedLayer {
  readonly node: LayerNode
  readonly spec: BuiltIn<BlockSpec<any>>
  readonly ref: DefinitionRef
  readonly inputShapes: readonly Shape[]
  readonly outputShape: Shape
  readonly parameters: number
  readonly cost: number
}

/** The layers of one VNode in graph order; the last gives its output. */
export interface Group {
  readonly id: string
  readonly members: readonly ResolvedLayer[]
}

/**
 * Cuts sorted layers into VNodes, in graph order. Ids come from the layers' names alone.
 * @throws `definition.invalid` if layers marked as one VNode have two outputs
 */
export function cut(layers: readonly ResolvedLayer[]): Group[] {
  const readers = new Map<string, Set<string>>()
  for (const { node } of layers) {
    for (const name of node.from) readers.set(name, (readers.get(name) ?? new Set()).add(node.name))
  }
  const members = new Map<string, ResolvedLayer[]>()
  const keys = new Map<string, string>()
  for (const layer of layers.toReversed()) {
    const { name, vnode } = layer.node
    const [reader, ...others] = readers.get(name) ?? []
    const joins = !needsVNode(layer) && reader !== undefined && others.length === 0
    const key = vnode ? `vnode ${vnode.key}` : joins ? keys.get(reader)! : `layer ${name}`
    keys.set(name, key)
    members.set(key, [layer, ...(members.get(key) ?? [])])
  }
  const groups = [...members.values()].map((group) => ({ id: idOf(group), members: group }))
  for (const group of groups) checkOutput(group, readers)
  return order(groups)
}

function needsVNode({ spec }: ResolvedLayer): boolean {
  return !(spec.parameterless ?? spec.init === undefined)
}

/** The user's name; else that of the first layer with parameters; else that of the last layer, which the others joined. */
function idOf(members: readonly ResolvedLayer[]): string {
  const named = members.find(({ node }) => node.vnode?.name !== undefined)?.node.vnode?.name
  return named ?? (members.find(({ parameters }) => parameters > 0) ?? members[members.length - 1]).node.name
}

function checkOutput({ id, members }: Group, readers: ReadonlyMap<string, ReadonlySet<string>>): void {
  const own = new Set(members.map(({ node }) => node.name))
  const leaves = members.slice(0, -1).find(({ node }) => [...(readers.get(node.name) ?? [])].some((reader) => !own.has(reader)))
  if (!leaves) return
  const { name, place } = leaves.node
  const last = members[members.length - 1].node.name
  const fix = 'A block has one output: cut it there'
  throw new SwarmError('definition.invalid', { what: `block '${id}' has two outputs, '${name}' and '${last}'`, where: place, fix })
}

/** VNodes after those that they read. Every member leads to its VNode's only output, so the last members are in graph order already. */
function order(groups: readonly Group[]): Group[] {
  const at = new Map<string, Group>()
  for (const group of groups) for (const { node } of group.members) at.set(node.name, group)
  const sorted = new Set<Group>()
  const open = groups.toReversed()
  while (open.length > 0) {
    const group = open[open.length - 1]
    const before = group.members
      .flatMap(({ node }) => node.from)
      .filter((name) => name !== SOURCE)
      .map((name) => at.get(name)!)
      .filter((other) => other !== group && !sorted.has(other))
    if (before.length === 0 || sorted.has(group)) {
      sorted.add(group)
      open.pop()
    } else open.push(...before)
  }
  return [...sorted]
}
