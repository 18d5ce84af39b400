/** Graphs of VNodes for simulations, drawn from a seed, and what an undisturbed run of them gives, computed without any step log. */
import { RandomStream } from '../../runtime/random.js'
import { type Entry, isTraining } from '../../runtime/step-log.js'
import { Timetable } from '../../runtime/timetable.js'

export const SOURCE = 'source'

export interface Graph {
  readonly seed: number
  /** In topological order, without the source. */
  readonly vnodes: readonly string[]
  readonly inputs: ReadonlyMap<string, readonly string[]>
  readonly outputs: ReadonlyMap<string, readonly string[]>
  /** What goes against the graph: whom VNodes get it from, and whom they give it to. */
  readonly feedback: { readonly from: Edges; readonly to: Edges; readonly lag: number }
  readonly timetable: Timetable
  /** Positions that VNodes skip. */
  readonly skips: ReadonlyMap<string, readonly number[]>
  readonly window: number
  readonly maxIssued: number
  /** How far the source may be ahead of the manifest, in positions. */
  readonly maxAhead: number
  readonly everySteps: number
}

type Edges = ReadonlyMap<string, readonly string[]>

/** What a VNode is after a number of entries: two numbers that depend on every input of every entry. */
export interface Machine {
  position: number
  state: number
  /** Rolling hash over everything consumed, evaluations too. */
  chain: number
  /** Feedback that it has given for positions after this one. */
  given: readonly (readonly [position: number, value: number])[]
}

/** The output of an entry that is skipped. */
export const TOMBSTONE = -1

/** The feedback where there is none. */
export const NOTHING = 0

export const newMachine = (): Machine => ({ position: 0, state: 1, chain: 1, given: [] })

/** The step function of every VNode; only batches and feedback change the state. Returns the output. @param lag of what it gives; 0: it gives nothing */
export function advance(machine: Machine, entry: Entry, inputs: readonly number[], feedback: readonly number[] = [], lag = 0): number {
  const { position, step } = entry
  for (const value of feedback) if (value !== NOTHING) machine.state = mix(machine.state ^ mix(value + position))
  let sum = machine.state
  inputs.forEach((input, i) => {
    sum = mix(sum ^ mix(input + i))
    machine.chain = mix(machine.chain ^ mix(input + position))
  })
  if (isTraining(entry)) machine.state = mix(sum + step)
  if (lag > 0) machine.given = [...stillGiven(machine, position), [position + lag, 1 + (mix(machine.state ^ position) >>> 1)]]
  machine.position = position
  return mix(sum ^ 0x5bd1e995)
}

/** Of what a machine has given: what is for positions after this one. */
export const stillGiven = ({ given }: Machine, position: number): Machine['given'] => given.filter(([at]) => at > position)

/** What the source emits at a position. */
export const batchAt = ({ seed }: Graph, position: number): number => mix(mix(seed + 17) ^ position)

/** Every state and output of the undisturbed run, by VNode and position; index 0 is the beginning. */
export function reference(graph: Graph): Map<string, { readonly machines: readonly Machine[]; readonly outputs: readonly number[] }> {
  const { timetable, vnodes, inputs, skips, feedback } = graph
  const positions = Array.from({ length: timetable.totalPositions + 1 }, (_, i) => i)
  const all = new Map(vnodes.map((id) => [id, { machines: [newMachine()], outputs: [0] }]))
  const outputOf = (id: string, position: number) => (id === SOURCE ? batchAt(graph, position) : all.get(id)!.outputs[position])
  for (const position of positions.slice(1)) {
    // What is given at a position is for a later one.
    const before = new Map(vnodes.map((id) => [id, all.get(id)!.machines[position - 1]]))
    for (const vnode of vnodes) {
      const machine = { ...before.get(vnode)! }
      const frames = inputs.get(vnode)!.map((producer) => outputOf(producer, position))
      const given = (feedback.from.get(vnode) ?? []).map((id) => givenFor(before.get(id)!, position))
      const { machines, outputs } = all.get(vnode)!
      if (skips.get(vnode)?.includes(position) || frames.includes(TOMBSTONE)) {
        machine.position = position
        outputs.push(TOMBSTONE)
      } else outputs.push(advance(machine, timetable.at(position), frames, given, lagOf(graph, vnode)))
      machines.push(machine)
    }
  }
  const batches = { machines: [], outputs: positions.map((p) => batchAt(graph, p)) }
  return new Map<string, { machines: Machine[]; outputs: number[] }>([[SOURCE, batches], ...all])
}

/** Whom a VNode hears and whom it speaks to, feedback last. */
export function edgesOf({ inputs, outputs, feedback }: Graph, vnode: string) {
  return {
    inputs: [...(inputs.get(vnode) ?? []), ...(feedback.from.get(vnode) ?? [])],
    outputs: [...outputs.get(vnode)!, ...(feedback.to.get(vnode) ?? [])],
  }
}

/** What a machine has given for a position. */
export const givenFor = ({ given }: Machine, position: number): number => given.find(([at]) => at === position)?.[1] ?? NOTHING

/** Of what a VNode gives; 0: it gives nothing. */
export const lagOf = ({ feedback }: Graph, vnode: string): number => ((feedback.to.get(vnode)?.length ?? 0) > 0 ? feedback.lag : 0)

/** A chain, a branch and join, or any directed acyclic graph of 2 to 8 VNodes, with a window, a timetable and a rhythm of cuts. */
export function drawGraph(seed: number): Graph {
  const random = new RandomStream(seed, 'graph')
  const inputs = drawInputs(random)
  const vnodes = [...inputs.keys()]
  const outputs = new Map([SOURCE, ...vnodes].map((id) => [id, vnodes.filter((vnode) => inputs.get(vnode)!.includes(id))]))
  const evaluationBatches = random.below(4)
  const finalBatches = random.below(4)
  const { drains, epochDrains, ...feedback } = drawFeedback(seed, vnodes, inputs)
  const counts = { epochs: 1 + random.below(3), stepsPerEpoch: 3 + random.below(10), drains, epochDrains, evaluationBatches, finalBatches }
  const window = [1, 1, 2, 2, 3, 4, 8, 64][random.below(8)]
  // The least that a run allows itself, or more.
  const maxAhead =
    Math.max(evaluationBatches, finalBatches) + 2 + epochDrains + (random.below(2) ? random.below(4) : 2 * window + random.below(20))
  const everySteps = 1 + random.below(8)
  const timetable = new Timetable(counts)
  const skips = drawSkips(seed, vnodes, timetable.totalPositions)
  return { seed, vnodes, inputs, outputs, feedback, timetable, skips, window, maxIssued: 1 + random.below(3), maxAhead, everySteps }
}

/** In some graphs gradients, from each VNode to those it reads; in some what the last one says to all others; in most nothing. */
function drawFeedback(
  seed: number,
  vnodes: readonly string[],
  inputs: Edges,
): Graph['feedback'] & { readonly drains: number; readonly epochDrains: number } {
  const random = new RandomStream(seed, 'feedback')
  const kind = random.below(4)
  const edges = (choose: (vnode: string) => readonly string[]): Edges => new Map(vnodes.map((id) => [id, choose(id)]))
  const last = vnodes[vnodes.length - 1]
  const others = vnodes.slice(0, -1)
  if (kind === 0) {
    const to = edges((id) => inputs.get(id)!.filter((producer) => producer !== SOURCE))
    const from = edges((id) => vnodes.filter((reader) => to.get(reader)!.includes(id)))
    const drains = random.below(3)
    return { from, to, lag: 1, drains, epochDrains: drains + random.below(3) }
  }
  if (kind === 1) {
    return {
      from: edges((id) => (id === last ? [] : [last])),
      to: edges((id) => (id === last ? others : [])),
      lag: 1 + random.below(6),
      drains: 0,
      epochDrains: 0,
    }
  }
  return { from: new Map(), to: new Map(), lag: 1, drains: 0, epochDrains: 0 }
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
