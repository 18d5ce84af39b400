/** Graphs of VNodes for simulations, drawn from a seed, and what an undisturbed run of them gives, computed without any step log. */
import { RandomStream } from '../../runtime/random.js'
import type { Entry } from '../../runtime/step-log.js'
import { Timetable } from '../../runtime/timetable.js'

export const SOURCE = 'source'

export interface Graph {
  readonly seed: number
  /** In topological order, without the source. */
  readonly vnodes: readonly string[]
  readonly inputs: ReadonlyMap<string, readonly string[]>
  readonly outputs: ReadonlyMap<string, readonly string[]>
  readonly timetable: Timetable
  /** Positions that VNodes skip. */
  readonly skips: ReadonlyMap<string, readonly number[]>
  readonly window: number
  readonly maxIssued: number
  /** How far the source may be ahead of the manifest, in positions. */
  readonly maxAhead: number
  readonly everySteps: number
}

/** What a VNode is after a number of entries: two numbers that depend on every input of every entry. */
export interface Machine {
  position: number
  state: number
  /** Rolling hash over everything consumed, evaluations too. */
  chain: number
}

/** The output of an entry that is skipped. */
export const TOMBSTONE = -1

export const newMachine = (): Machine => ({ position: 0, state: 1, chain: 1 })

/** The step function of every VNode; evaluation entries leave the state as it is. Returns the output. */
export function advance(machine: Machine, { position, step, evaluation }: Entry, inputs: readonly number[]): number {
  let sum = machine.state
  inputs.forEach((input, i) => {
    sum = mix(sum ^ mix(input + i))
    machine.chain = mix(machine.chain ^ mix(input + position))
  })
  if (evaluation === 0) machine.state = mix(sum + step)
  machine.position = position
  return mix(sum ^ 0x5bd1e995)
}

/** What the source emits at a position. */
export const batchAt = ({ seed }: Graph, position: number): number => mix(mix(seed + 17) ^ position)

/** Every state and output of the undisturbed run, by VNode and position; index 0 is the beginning. */
export function reference(graph: Graph): Map<string, { readonly machines: readonly Machine[]; readonly outputs: readonly number[] }> {
  const { timetable, vnodes, inputs, skips } = graph
  const positions = Array.from({ length: timetable.totalPositions + 1 }, (_, i) => i)
  const all = new Map([[SOURCE, { machines: [] as Machine[], outputs: positions.map((p) => batchAt(graph, p)) }]])
  for (const vnode of vnodes) {
    const machine = newMachine()
    const machines = [{ ...machine }]
    const outputs = [0]
    for (const position of positions.slice(1)) {
      const frames = inputs.get(vnode)!.map((producer) => all.get(producer)!.outputs[position])
      if (skips.get(vnode)?.includes(position) || frames.includes(TOMBSTONE)) {
        machine.position = position
        outputs.push(TOMBSTONE)
      } else outputs.push(advance(machine, timetable.at(position), frames))
      machines.push({ ...machine })
    }
    all.set(vnode, { machines, outputs })
  }
  return all
}

/** A chain, a branch and join, or any directed acyclic graph of 2 to 8 VNodes, with a window, a timetable and a rhythm of cuts. */
export function drawGraph(seed: number): Graph {
  const random = new RandomStream(seed, 'graph')
  const inputs = drawInputs(random)
  const vnodes = [...inputs.keys()]
  const outputs = new Map([SOURCE, ...vnodes].map((id) => [id, vnodes.filter((vnode) => inputs.get(vnode)!.includes(id))]))
  const evaluationBatches = random.below(4)
  const finalBatches = random.below(4)
  const counts = { epochs: 1 + random.below(3), stepsPerEpoch: 3 + random.below(10), evaluationBatches, finalBatches }
  const window = [1, 1, 2, 2, 3, 4, 8, 64][random.below(8)]
  // The least that a run allows itself, or more.
  const maxAhead = Math.max(evaluationBatches, finalBatches) + 2 + (random.below(2) ? random.below(4) : 2 * window + random.below(20))
  const everySteps = 1 + random.below(8)
  const timetable = new Timetable(counts)
  const skips = drawSkips(seed, vnodes, timetable.totalPositions)
  return { seed, vnodes, inputs, outputs, timetable, skips, window, maxIssued: 1 + random.below(3), maxAhead, everySteps }
}

/** In every other graph up to four entries, each at one VNode. */
function drawSkips(seed: number, vnodes: readonly string[], totalPositions: number): Map<string, readonly number[]> {
  const random = new RandomStream(seed, 'skips')
  const skips = new Map<string, readonly number[]>()
  for (let i = random.below(2) * random.below(5); i > 0; i--) {
    const vnode = vnodes[random.below(vnodes.length)]
    skips.set(vnode, [...(skips.get(vnode) ?? []), 1 + random.below(totalPositions)])
  }
  return skips
}

function drawInputs(random: RandomStream): Map<string, readonly string[]> {
  const count = 2 + random.below(7)
  const ids = Array.from({ length: count }, (_, i) => `v${i + 1}`)
  const kind = random.below(3)
  return new Map(
    ids.map((id, i) => {
      if (i === 0) return [id, [SOURCE]]
      if (kind === 0) return [id, [ids[i - 1]]]
      // A branch and join: everything between the first and the last VNode is parallel.
      if (kind === 1) return [id, i < count - 1 || i === 1 ? [ids[0]] : ids.slice(1, i)]
      const chosen = [SOURCE, ...ids.slice(0, i)].filter(() => random.below(3) === 0)
      return [id, chosen.length > 0 ? chosen : [ids[random.below(i)]]]
    }),
  )
}

function mix(x: number): number {
  x = Math.imul(x ^ (x >>> 16), 0x7feb352d)
  x = Math.imul(x ^ (x >>> 15), 0x846ca68b)
  return (x ^ (x >>> 16)) >>> 0
}
