/** What makes a list of layers a graph that can run: names, edges, no cycles, nothing loose. */
import { SwarmError } from '../runtime/errors.js'
import { SOURCE } from './definition.js'
import type { LayerNode, Network } from './network.js'
import { suggest } from './suggest.js'

const NAME = /^[A-Za-z0-9_-]{1,64}$/

/**
 * The layers, every one after those that it reads; otherwise in the order in which they were written.
 * @throws `definition.invalid` (names), `graph.dangling`, `graph.cycle`, with the layer's name
 */
export function sortGraph({ layers, output }: Network): LayerNode[] {
  const byName = checkNames(layers)
  checkEdges(layers, byName)
  const sorted = sort(layers, byName)
  const read = new Set(layers.flatMap(({ from }) => from))
  const loose = sorted.find(({ name }) => name !== output && !read.has(name))
  if (loose) {
    const fix = `Use it, or leave the layer out; the network's output is '${output}'`
    throw new SwarmError('graph.dangling', { what: `nothing reads the output of layer '${loose.name}'`, where: loose.place, fix })
  }
  if (read.has(output)) {
    const reader = layers.find(({ from }) => from.includes(output))!
    const what = `the network's output '${output}' is read by layer '${reader.name}', whose own output nothing uses`
    throw new SwarmError('graph.dangling', { what, where: reader.place })
  }
  return sorted
}

function checkNames(layers: readonly LayerNode[]): Map<string, LayerNode> {
  const byName = new Map<string, LayerNode>()
  const vnodes = new Map<string, number>()
  for (const node of layers) {
    const { name, place, vnode } = node
    for (const wanted of vnode?.name === undefined ? [name] : [name, vnode.name]) {
      if (wanted === SOURCE || !NAME.test(wanted)) {
        const expected = `1 to 64 letters, digits, - or _, not '${SOURCE}'`
        throw new SwarmError('definition.invalid', { what: 'name of a layer', where: place, expected, got: `'${wanted}'` })
      }
    }
    if (byName.has(name)) throw new SwarmError('definition.invalid', { what: `two layers are named '${name}'`, where: place })
    byName.set(name, node)
    if (vnode?.name !== undefined) {
      const key = vnodes.get(vnode.name)
      if (key !== undefined && key !== vnode.key) {
        throw new SwarmError('definition.invalid', { what: `two blocks are named '${vnode.name}'`, where: place })
      }
      vnodes.set(vnode.name, vnode.key)
    }
  }
  for (const [name, key] of vnodes) {
    const other = byName.get(name)
    if (other && other.vnode?.key !== key) {
      throw new SwarmError('definition.invalid', { what: `a block and a layer are named '${name}'`, where: other.place })
    }
  }
  return byName
}

function checkEdges(layers: readonly LayerNode[], byName: ReadonlyMap<string, LayerNode>): void {
  for (const { name, from, place } of layers) {
    if (from.length === 0) throw new SwarmError('graph.dangling', { what: `layer '${name}' reads nothing`, where: place })
    const missing = from.find((producer) => producer !== SOURCE && !byName.has(producer))
    if (missing === undefined) continue
    const fix = suggest(missing, [...byName.keys()])
    throw new SwarmError('graph.dangling', { what: `layer '${name}' reads '${missing}', which is not in the network`, where: place, fix })
  }
}

/** Kahn's algorithm; of the layers that are ready, the one that was written first. */
function sort(layers: readonly LayerNode[], byName: ReadonlyMap<string, LayerNode>): LayerNode[] {
  const waiting = new Map(layers.map(({ name, from }) => [name, from.filter((producer) => producer !== SOURCE).length]))
  const readers = new Map<string, string[]>()
  for (const { name, from } of layers) {
    for (const producer of from) {
      const list = readers.get(producer)
      if (list) list.push(name)
      else readers.set(producer, [name])
    }
  }
  const order = new Map(layers.map(({ name }, i) => [name, i]))
  const ready = layers.filter(({ name }) => waiting.get(name) === 0).map(({ name }) => name)
  const sorted: LayerNode[] = []
  while (ready.length > 0) {
    const name = ready.reduce((first, other) => (order.get(other)! < order.get(first)! ? other : first))
    ready.splice(ready.indexOf(name), 1)
    sorted.push(byName.get(name)!)
    for (const reader of readers.get(name) ?? []) {
      const left = waiting.get(reader)! - 1
      waiting.set(reader, left)
      if (left === 0) ready.push(reader)
    }
  }
  if (sorted.length < layers.length) throw cycleError(layers.filter(({ name }) => waiting.get(name)! > 0))
  return sorted
}

/** @param stuck the layers that never became ready: each reads at least one other of them */
function cycleError(stuck: readonly LayerNode[]): SwarmError {
  const byName = new Map(stuck.map((node) => [node.name, node]))
  const path = [stuck[0].name]
  for (;;) {
    const next = byName.get(path[path.length - 1])!.from.find((name) => byName.has(name))!
    const seen = path.indexOf(next)
    path.push(next)
    if (seen < 0) continue
    const cycle = path.slice(seen).toReversed()
    const where = byName.get(cycle[0])!.place
    return new SwarmError('graph.cycle', { what: `layers feed each other in a circle: ${cycle.join(' → ')}`, where })
  }
}
