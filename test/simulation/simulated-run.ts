/** A run for the simulator, drawn from a seed: its network, data and timetable; and what it gives undisturbed, computed without any of the actors. */
import type { Dataset, Split } from '../../components/datasets/dataset.js'
import { fromArrays } from '../../components/datasets/arrays.js'
import { batch, batchIndices, epochOrder } from '../../components/datasets/index.js'
import { shards } from '../../components/datasets/shards.js'
import { convergenceOf } from '../../components/convergence.js'
import { DEFINITION_VERSION, SOURCE, type VNodeDefinition } from '../../components/definition.js'
import { RUN_DEFINITION_VERSION, type RunDefinition, evaluationSplit } from '../../actors/run/run-definition.js'
import { type RunSettings, RUN_SETTINGS_VERSION } from '../../actors/run/run-settings.js'
import { RandomStream } from '../../runtime/random.js'
import { hashRun, hashState } from '../../runtime/state.js'
import { MARK } from '../../runtime/frame.js'
import { type Entry, isTraining } from '../../runtime/step-log.js'
import { Timetable } from '../../runtime/timetable.js'
import { updatesAfter } from '../../components/refinement.js'
import { advance, decides, firstNumbers, hashOf, metricsOf, type Numbers, refine, stateOf, VALUE } from './simulated-numbers.js'

export interface SimulatedRun {
  readonly id: string
  readonly definition: RunDefinition
  readonly settings: RunSettings
  readonly dataset: Dataset
  readonly timetable: Timetable
  /** A step that fails wherever it is tried, if there is one. */
  readonly poison?: { readonly vnode: string; readonly position: number }
}

/** Whether a step of a VNode fails, wherever it is tried. */
export function isPoison(run: SimulatedRun | undefined, vnode: string, position: number): boolean {
  return run?.poison?.vnode === vnode && run.poison.position === position
}

/** How large a run is to be. */
export interface RunSize {
  readonly vnodes: number
  readonly steps: number
  readonly window?: number
  readonly everySteps?: number
  readonly isPoisoned?: boolean
  readonly isRefined?: boolean
  /** VNodes give feedback to others that are before them. */
  readonly hasFeedback?: boolean
  /** VNodes may decide that they have stalled. */
  readonly isWatched?: boolean
  /** The first and the last VNode are to be on one host. */
  readonly isGrouped?: boolean
  /** Standbys of each VNode. */
  readonly replicas?: number
  /** Share of the segments that somebody else applies as well. */
  readonly audits?: number
  /** PNodes that apply each VNode's log, of which all have to agree. */
  readonly redundancy?: number
  /** Followers are on PNodes that are trusted. */
  readonly areFollowersTrusted?: boolean
}

const TARGET = { kind: 'categorical', classes: 2 } as const

export function drawRun(random: RandomStream, size: RunSize, seed: number): SimulatedRun {
  const batchSize = 1 + random.below(3)
  const epochs = size.steps > 3 ? 1 + random.below(3) : 1
  const stepsPerEpoch = Math.max(1, Math.ceil(size.steps / epochs))
  const evaluationBatches = random.below(3)
  const isEvaluated = evaluationBatches > 0
  const inputs = Array.from({ length: stepsPerEpoch * batchSize }, () => [random.below(1_000)])
  const test = Array.from({ length: evaluationBatches * batchSize }, () => [random.below(1_000)])
  const dataset = fromArrays({
    inputs,
    labels: inputs.map(([x]) => x % 2),
    target: TARGET,
    ...(isEvaluated && { test: { inputs: test, labels: test.map(([x]) => x % 2) } }),
  })
  const { drains, epochDrains, vnodes: drawn } = withFeedback(drawVNodes(random, size.vnodes), new RandomStream(seed, 'feedback'), size)
  const refinement = size.isRefined && { passes: 1 + random.below(2), inputs: 1 + random.below(4) }
  const definition = definitionOf({
    dataset,
    vnodes: drawn,
    batchSize,
    seed,
    ...(refinement && { refinement }),
    ...(size.isWatched && { convergence: convergenceOf('alert') }),
    timetable: {
      epochs,
      stepsPerEpoch,
      evaluationBatches,
      finalBatches: evaluationBatches,
      ...(epochDrains > 0 && { drains, epochDrains }),
    },
  })
  const window = size.window ?? [1, 1, 2, 2, 4, 8, 16][random.below(7)]
  const least = evaluationBatches + epochDrains + 2 * window + 2
  const settings: RunSettings = {
    v: RUN_SETTINGS_VERSION,
    window,
    cuts: {
      everySteps: size.everySteps ?? 1 + random.below(12),
      everyMs: [200, 2_000, 30_000][random.below(3)],
      // Every fourth has no room for more than it cannot do without.
      maxAhead: Math.max(least + random.below(30) * Math.min(1, seed % 4), size.everySteps ?? 0),
    },
    ...(size.replicas && { replicas: size.replicas }),
    ...(size.audits && { audits: size.audits }),
    ...(size.redundancy && { redundancy: size.redundancy }),
    ...(size.isGrouped && drawn.length > 1 && { constraints: { together: [[drawn[0].id, drawn.at(-1)!.id]] } }),
    ...(size.areFollowersTrusted && { constraints: { areFollowersTrusted: true } }),
  }
  const timetable = new Timetable(definition.timetable)
  const { vnodes } = definition.network
  const poison = size.isPoisoned && { vnode: vnodes[random.below(vnodes.length)].id, position: 1 + random.below(timetable.totalPositions) }
  return { id: 'run', definition, settings, dataset, timetable, ...(poison && { poison }) }
}

/** What a definition is made of. */
interface RunParts {
  readonly refinement?: RunDefinition['training']['refinement']
  readonly convergence?: RunDefinition['training']['convergence']
  readonly dataset: Dataset
  readonly vnodes: readonly VNodeDefinition[]
  readonly batchSize: number
  readonly seed: number
  readonly timetable: RunDefinition['timetable']
}

function definitionOf({ dataset, vnodes, batchSize, seed, timetable, refinement, convergence }: RunParts): RunDefinition {
  const training = {
    rule: { name: 'pred', options: {} },
    optimizer: { name: 'sgd', options: {} },
    batchSize,
    epochs: timetable.epochs,
    seed,
    totalSteps: timetable.epochs * timetable.stepsPerEpoch,
    learningRate: 1,
    decay: 1,
    milestones: [],
    ...(refinement && { refinement }),
    ...(convergence && { convergence }),
  }
  return {
    v: RUN_DEFINITION_VERSION,
    network: { v: DEFINITION_VERSION, input: dataset.input, target: TARGET, vnodes, output: vnodes.at(-1)!.id },
    training,
    data: shards(dataset).manifest,
    timetable,
    validation: 0,
    bundles: [],
  }
}

/** A chain of equal VNodes with a head each, one sample to a batch, no evaluations: for figures. @param size `cost`: multiply-adds of a step. Default 1 */
export function chainRun(
  count: number,
  { epochs, stepsPerEpoch, cost = 1 }: { readonly epochs: number; readonly stepsPerEpoch: number; readonly cost?: number },
  settings: (definition: RunDefinition) => RunSettings,
): SimulatedRun {
  const samples = Array.from({ length: stepsPerEpoch }, (_, i) => i)
  const dataset = fromArrays({ inputs: samples.map((i) => [i]), labels: samples.map((i) => i % 2), target: TARGET })
  const ids = Array.from({ length: count }, (_, i) => `v${String(i + 1).padStart(3, '0')}`)
  const vnodes = ids.map((id, i) => ({
    id,
    inputs: [ids[i - 1] ?? SOURCE],
    inputShapes: [[1]],
    outputShape: [1],
    layers: [],
    hasHead: true,
    parameters: 1,
    cost,
  }))
  const timetable = { epochs, stepsPerEpoch, evaluationBatches: 0, finalBatches: 0 }
  const definition = definitionOf({ dataset, vnodes, batchSize: 1, seed: 1, timetable })
  return { id: 'run', definition, settings: settings(definition), dataset, timetable: new Timetable(timetable) }
}

/** A chain, a branch and join, or any directed acyclic graph; each VNode reads the source or those before it. */
function drawVNodes(random: RandomStream, count: number): VNodeDefinition[] {
  const ids = Array.from({ length: count }, (_, i) => `v${String(i + 1).padStart(2, '0')}`)
  const kind = random.below(3)
  return ids.map((id, i) => {
    const choose = (): readonly string[] => {
      if (i === 0) return [SOURCE]
      if (kind === 0) return [ids[i - 1]]
      if (kind === 1 && count <= 8) return i < count - 1 || i === 1 ? [ids[0]] : ids.slice(1, i)
      const near = [SOURCE, ...ids.slice(0, i)].slice(-6).filter(() => random.below(3) === 0)
      return near.length > 0 ? near : [ids[i - 1 - random.below(Math.min(i, 6))]]
    }
    const inputs = choose()
    const parameters = 1 + random.below(1_000)
    const shape = [1 + random.below(16)]
    return {
      id,
      inputs,
      inputShapes: inputs.map(() => shape),
      outputShape: shape,
      layers: [],
      hasHead: i === count - 1 || random.below(2) === 0,
      parameters,
      cost: 1 + random.below(20),
    }
  })
}

/** Something from each VNode to those that it reads, as gradients go, sometimes with drains; or what the last one says to all others. */
function withFeedback(vnodes: readonly VNodeDefinition[], random: RandomStream, { hasFeedback = false }: RunSize) {
  if (!hasFeedback || vnodes.length < 2) return { vnodes: [...vnodes], drains: 0, epochDrains: 0 }
  const last = vnodes.at(-1)!.id
  const others = vnodes.slice(0, -1).map(({ id }) => id)
  if (random.below(2) === 0) {
    const lag = [1, 3, 10][random.below(3)]
    const feedbackOf = (id: string) => ({
      of: 'head' as const,
      parameter: VALUE,
      shape: [1],
      from: id === last ? [] : [last],
      to: id === last ? others : [],
      lag,
    })
    return { vnodes: vnodes.map((vnode) => ({ ...vnode, feedback: feedbackOf(vnode.id) })), drains: 0, epochDrains: 0 }
  }
  const feedbackOf = ({ id, inputs }: VNodeDefinition) => ({
    of: 'head' as const,
    parameter: VALUE,
    shape: [1],
    from: vnodes.filter((reader) => reader.inputs.includes(id)).map((reader) => reader.id),
    to: inputs.filter((input) => input !== SOURCE),
    lag: 1,
  })
  const drains = random.below(4)
  return { vnodes: vnodes.map((vnode) => ({ ...vnode, feedback: feedbackOf(vnode) })), drains, epochDrains: drains + random.below(3) }
}

/** What an undisturbed run gives. */
export interface Reference {
  readonly hash: string
  readonly metrics: { readonly [name: string]: number }
  /** SHA-256 of a VNode's state after a step. */
  stateHash(vnode: string, step: number): string
  /** Whether a VNode passes a tombstone on at a position, and applies nothing. */
  isTombstone(vnode: string, position: number): boolean
  /** `<vnode>@<step>` of every decision. */
  readonly decisions: ReadonlySet<string>
  /** What a VNode has consumed after a step, as a rolling hash. */
  numbers(vnode: string, step: number): Numbers
}

export function referenceOf({ definition, dataset, timetable, poison }: SimulatedRun): Reference {
  const { network, training } = definition
  /** Of each VNode two numbers for each step, and those before the first. */
  const states = new Map(network.vnodes.map(({ id }) => [id, new Uint32Array(2 * (timetable.totalSteps + 1))]))
  /** What it keeps for its refinement, after each step. */
  const buffers = new Map(network.vnodes.map(({ id }): [string, Pick<Numbers, 'kept' | 'given'>[]] => [id, []]))
  /** What goes against the graph, by VNode and the position that it is for. */
  const goesBack = new Map<string, number | undefined>()
  const sums: { [name: string]: number } = {}
  /** Of the samples, by epoch. */
  const orders: Uint32Array[] = []
  const numbers = new Map(network.vnodes.map(({ id }) => [id, firstNumbers(id, training.seed)]))
  const keep = (id: string, step: number) => {
    const { state, chain, kept, given } = numbers.get(id)!
    states.get(id)!.set([state, chain], 2 * step)
    if (kept.length > 0 || given.length > 0) buffers.get(id)![step] = { kept: [...kept], given: [...given] }
  }
  for (const { id } of network.vnodes) keep(id, 0)
  const tombstones = new Set<string>()
  const decisions = new Set<string>()
  for (let position = 1; position <= timetable.totalPositions; position++) {
    const entry = timetable.at(position)
    const isFinal = entry.evaluation > 0 && entry.step === timetable.totalSteps
    const { value, labels, count } = sourceAt(definition, dataset, entry, timetable, orders)
    const outputs = new Map([[SOURCE, value]])
    for (const vnode of network.vnodes) {
      const { id, inputs } = vnode
      const own = numbers.get(id)!
      const fails = poison?.vnode === id && poison.position === position
      if (fails || inputs.some((input) => tombstones.has(`${input}/${position}`))) {
        tombstones.add(`${id}/${position}`)
        continue
      }
      const { from = [], lag = 0 } = vnode.feedback ?? {}
      const reads = {
        inputs: inputs.map((input) => outputs.get(input)!),
        labels,
        feedback: from.map((giver) => goesBack.get(`${giver}/${position}`)),
      }
      const { output, back } = advance(own, entry, reads, { vnode, training })
      goesBack.set(`${id}/${position + lag}`, back)
      if (isTraining(entry) && decides({ vnode, training }, own)) decisions.add(`${id}@${entry.step}`)
      const updates = !isTraining(entry) ? 0 : updatesAfter(entry.step, vnode, training.refinement)
      for (let update = 0; update < updates; update++) refine(own, entry.step, update, training.refinement)
      outputs.set(id, output)
      if (isFinal && id === network.output) {
        for (const [name, metric] of Object.entries(metricsOf(output, count)))
          sums[name] = (sums[name] ?? 0) + (name === 'loss' ? metric * count : metric)
      }
    }
    // A state after step s is the one at a cut there: before the evaluations that follow it.
    if (entry.evaluation === 0 && timetable.endsStep(entry)) for (const { id } of network.vnodes) keep(id, entry.step)
  }
  const numbersAt = (vnode: string, step: number): Numbers => {
    const [state, chain] = states.get(vnode)!.subarray(2 * step)
    return { state, chain, ...(buffers.get(vnode)![step] ?? { kept: [], given: [] }) }
  }
  const stateHash = (vnode: string, step: number) => hashState(stateOf(numbersAt(vnode, step)))
  return {
    hash: hashRun(network.vnodes.map(({ id }) => stateHash(id, timetable.totalSteps))),
    metrics: sums,
    stateHash,
    isTombstone: (vnode, position) => tombstones.has(`${vnode}/${position}`),
    decisions,
    numbers: numbersAt,
  }
}

/** What machines make of the source's frame at an entry. */
function sourceAt(
  { training, timetable: counts }: RunDefinition,
  dataset: Dataset,
  entry: Entry,
  timetable: Timetable,
  orders: Uint32Array[],
) {
  const take = (split: Split, indices: Uint32Array) => {
    const { inputs, labels } = batch(split, indices)
    const hashed = ({ buffer, byteOffset, byteLength }: ArrayBufferView) => hashOf(new Uint8Array(buffer, byteOffset, byteLength))
    return { value: hashed(inputs), labels: hashed(labels), count: indices.length }
  }
  const { batchSize, seed } = training
  if ((entry.marks & MARK.drain) !== 0) return take(dataset.splits.train, new Uint32Array(0))
  if (entry.evaluation > 0) {
    const split = evaluationSplit(dataset, entry.step === timetable.totalSteps)
    const first = (entry.evaluation - 1) * batchSize
    return take(
      split,
      Uint32Array.from({ length: Math.min(batchSize, split.size - first) }, (_, i) => first + i),
    )
  }
  const epoch = Math.floor((entry.step - 1) / counts.stepsPerEpoch)
  const order = (orders[epoch] ??= epochOrder(seed, epoch, dataset.splits.train.size))
  return take(dataset.splits.train, batchIndices(order, (entry.step - 1) % counts.stepsPerEpoch, batchSize))
}
