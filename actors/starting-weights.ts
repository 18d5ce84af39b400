/** The first weights of a run that does not begin from its seed: those of another run, or of a file; kept in the store by their hashes. */
import { readFile } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { describe } from '../components/define.js'
import type { DefinitionRef, FeedbackDefinition } from '../components/definition.js'
import { fillWeights } from '../components/interchange/fill-weights.js'
import { readLayersModel } from '../components/interchange/read-layers-model.js'
import { decodeSafetensors } from '../components/interchange/safetensors.js'
import { damaged, type Weights } from '../components/interchange/weights.js'
import { weightTensors } from '../components/vnode-state.js'
import { canonicalJson } from '../runtime/canonical-json.js'
import { SwarmError, toSwarmError } from '../runtime/errors.js'
import type { ObjectStore } from '../runtime/object-store/object-store.js'
import { putOnce } from '../runtime/object-store/put-once.js'
import { encodeState, hashState, type StateTensor } from '../runtime/state.js'
import { newestState } from './run/newest-state.js'
import { bundleFolder, machineDefinition, type RunDefinition, weightsKey } from './run/run-definition.js'

export interface StartingWeights {
  /** By VNode: what the definition of the run names. */
  readonly initial: { readonly [vnode: string]: string }
  /** What begins from the seed all the same, in sentences for people. */
  readonly notes: readonly string[]
}

/** True for a file of weights, false for a run: a run's id has neither a point nor a slash. @throws `usage` for what can be neither */
export function isWeightsFile(from: unknown): from is string {
  if (typeof from === 'string' && /\.(safetensors|json)$/i.test(from)) return true
  if (typeof from === 'string' && /^[A-Za-z0-9_-]+$/.test(from)) return false
  const expected = 'a run, a .safetensors file or the model.json of a LayersModel'
  throw new SwarmError('usage', { what: 'what to start from', expected, got: describe(from) })
}

/**
 * Takes the weights of a run or of a file, and puts them into the store.
 * @param from a run's id, or the path of a file
 * @param definition of the run that is to start; users' modules are in the store already
 * @throws `usage`, `run.not-found`, `run.changed`, `checkpoint.damaged`, `weights.missing`, `weights.damaged`, `weights.version`, `weights.mismatch`
 */
export async function startingWeights(store: ObjectStore, from: string, definition: RunDefinition): Promise<StartingWeights> {
  if (!isWeightsFile(from)) return { initial: await keep(store, weightsOfRun(store, from, definition)), notes: [] }
  const { network, training } = definition
  const tensors = await freshWeights(store, definition)
  const filled = fillWeights({ network, rule: training.rule, tensors }, await readWeights(from, definition), from)
  const blobs = network.vnodes.map(({ id, feedback }) => {
    const own = filled.tensors.get(id)!
    return [id, encodeState(withLent(feedback, own, feedback && filled.tensors.get(feedback.from[0])))] as const
  })
  return { initial: await keep(store, blobs), notes: filled.notes }
}

/** A VNode's weights, with what another one lends it as it is there: its own is some steps old. */
function withLent(
  feedback: FeedbackDefinition | undefined,
  own: readonly StateTensor[],
  lender: readonly StateTensor[] = [],
): readonly StateTensor[] {
  const name = feedback?.of === 'head' ? `head/${feedback.parameter}` : undefined
  const lent = name === undefined ? undefined : lender.find((tensor) => tensor.name === name)
  return lent ? own.map((tensor) => (tensor.name === name ? lent : tensor)) : own
}

type Blobs = Iterable<readonly [vnode: string, blob: Uint8Array]>

async function keep(
  store: ObjectStore,
  blobs: Blobs | AsyncIterable<readonly [vnode: string, blob: Uint8Array]>,
): Promise<StartingWeights['initial']> {
  const initial: { [vnode: string]: string } = {}
  for await (const [vnode, blob] of blobs) {
    initial[vnode] = hashState(blob)
    await putOnce(store, weightsKey(initial[vnode]), blob)
  }
  return initial
}

/** The newest weights of another run, which must have the same VNodes: they are taken as they are. */
async function* weightsOfRun(store: ObjectStore, from: string, { network, training }: RunDefinition): AsyncGenerator<[string, Uint8Array]> {
  const other = await newestState(store, from, 'Wait for its first checkpoint, or start without --from')
  // The rule's head is part of the weights.
  const shape = (own: RunDefinition['network'], { name, options }: DefinitionRef) => canonicalJson([own.vnodes, own.target, name, options])
  if (shape(other.definition.network, other.definition.training.rule) !== shape(network, training.rule)) {
    throw new SwarmError('run.changed', {
      what: `run ${from} has another network, target or rule`,
      fix: `Start from a run of the same network and rule; or from a file of its layers' weights: swarmgrad export ${from}`,
    })
  }
  const weightsIn = async (vnode: string) => weightTensors(await other.state(vnode))
  for (const vnode of other.vnodes) {
    const { feedback } = network.vnodes.find(({ id }) => id === vnode)!
    const lender = feedback?.of === 'head' && feedback.from.length > 0 ? await weightsIn(feedback.from[0]) : undefined
    yield [vnode, encodeState(withLent(feedback, await weightsIn(vnode), lender))]
  }
}

/** What each VNode would begin with: it says which tensors there are, and what becomes of those that a file lacks. */
async function freshWeights(store: ObjectStore, definition: RunDefinition): Promise<Map<string, StateTensor[]>> {
  const { VNodeMachine } = await import('../components/vnode-machine.js')
  const fresh = new Map<string, StateTensor[]>()
  for (const { id } of definition.network.vnodes) {
    const machine = await VNodeMachine.load(await machineDefinition({ store, cacheFolder: bundleFolder() }, definition, id))
    try {
      fresh.set(id, weightTensors(machine.snapshot()))
    } finally {
      machine.dispose()
    }
  }
  return fresh
}

async function readWeights(path: string, { network, training }: RunDefinition): Promise<Weights> {
  const bytes = await read(path, 'Give the path of a .safetensors file, or of the model.json of a LayersModel')
  if (!/\.json$/i.test(path)) return decodeSafetensors(bytes, path)
  const beside = (file: string): Promise<Uint8Array> => {
    if (basename(file) !== file) throw damaged(path, `it names '${file}', which is not beside it`)
    return read(join(dirname(path), file), `Copy it beside ${path}, which names it`)
  }
  return readLayersModel(new TextDecoder().decode(bytes), { where: path, read: beside, network, rule: training.rule })
}

async function read(path: string, fix: string): Promise<Uint8Array> {
  try {
    return await readFile(path)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT') throw new SwarmError('weights.missing', { what: 'no such file of weights', where: path, fix, cause: error })
    throw toSwarmError(error, 'weights.missing', `cannot read ${path}`)
  }
}
