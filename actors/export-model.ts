/** A trained network in files that other programs read: weights as safetensors, or the network as a LayersModel of TensorFlow.js. */
import { mkdir } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import type { Json } from '../runtime/actor-system/actor-system.js'
import { layersModelOf } from '../components/interchange/layers-model.js'
import { encodeSafetensors, metadataOf } from '../components/interchange/safetensors.js'
import type { WeightsOrigin } from '../components/interchange/weights.js'
import { definitionHash } from '../components/resolve.js'
import { weightTensors } from '../components/vnode-state.js'
import { SwarmError, toSwarmError } from '../runtime/errors.js'
import type { ObjectStore } from '../runtime/object-store/object-store.js'
import type { StateTensor } from '../runtime/state.js'
import { VERSION } from '../runtime/version.js'
import { writeWhole } from '../runtime/whole-file.js'
import { newestState } from './run/newest-state.js'
import type { RunDefinition } from './run/run-definition.js'

/** What other programs read: all weights of a run, or its answer as a network that TensorFlow.js loads. */
export type ExportFormat = 'safetensors' | 'tfjs'

export interface ExportOptions {
  /** Default `safetensors`: a file whose name ends so. `tfjs`: a folder for `model.json` and `weights.bin`. */
  readonly format?: ExportFormat
}

/** What is written of a run. */
export interface Exportable {
  readonly definition: RunDefinition
  readonly run: string
  readonly step: number
  /** Under the names that files have them by: `<vnode>/…`. */
  readonly tensors: ReadonlyMap<string, StateTensor>
}

/** Writes the newest weights of a run; of a user's modules nothing is run. @throws `run.not-found`, `run.changed` (no checkpoint yet), what `writeExport` throws */
export async function exportRun(
  store: ObjectStore,
  run: string,
  path: string,
  options: ExportOptions = {},
): Promise<{ readonly step: number; readonly files: readonly string[] }> {
  const { definition, step, vnodes, state } = await newestState(store, run)
  const tensors = new Map<string, StateTensor>()
  for (const vnode of vnodes) for (const [name, tensor] of stateTensors(vnode, await state(vnode))) tensors.set(name, tensor)
  return { step, files: await writeExport({ definition, run, step, tensors }, path, options) }
}

/** The weights and running statistics in a state, by the names that files have them by. */
export function stateTensors(vnode: string, state: Uint8Array): [name: string, tensor: StateTensor][] {
  return weightTensors(state).map((tensor) => [`${vnode}/${tensor.name}`, { ...tensor, name: `${vnode}/${tensor.name}` }])
}

/** Writes the files and returns their names. @throws `usage`, `export.unsupported`, `store.unavailable` */
export async function writeExport(
  { definition, run, step, tensors }: Exportable,
  path: string,
  { format = 'safetensors' }: ExportOptions = {},
): Promise<readonly string[]> {
  const { network, training, data } = definition
  const origin: WeightsOrigin = { version: VERSION, run, step, network: definitionHash(network), rule: training.rule.name }
  if (format === 'safetensors') {
    if (!path.endsWith('.safetensors')) throw refuse(format, 'a file whose name ends in .safetensors', path)
    await write(path, encodeSafetensors(tensors.values(), metadataOf(origin)))
    return [path]
  }
  if (format !== 'tfjs')
    throw new SwarmError('usage', { what: 'format of an export', expected: 'safetensors or tfjs', got: String(format) })
  const isJson = basename(path) === 'model.json'
  if (!isJson && /\.(safetensors|json|bin)$/i.test(path)) throw refuse(format, 'a folder, or the path of a model.json', path)
  const folder = isJson ? dirname(path) : path
  const { normalisation, features, classNames } = data
  const about = { ...(normalisation && { normalisation }), ...(features && { features }), ...(classNames && { classNames }) }
  const model = layersModelOf({
    network,
    rule: training.rule,
    tensors,
    origin,
    about: about as unknown as { readonly [name: string]: Json },
  })
  const files = [join(folder, 'weights.bin'), join(folder, 'model.json')]
  await write(files[0], model.weights)
  await write(files[1], [model.json])
  return files.toReversed()
}

function refuse(format: ExportFormat, expected: string, got: string): SwarmError {
  return new SwarmError('usage', { what: `where an export as ${format} goes`, expected, got: `'${got}'` })
}

async function write(path: string, parts: readonly (string | Uint8Array)[]): Promise<void> {
  try {
    await mkdir(dirname(path), { recursive: true })
  } catch (error) {
    throw toSwarmError(error, 'store.unavailable', `cannot write ${path}`)
  }
  await writeWhole(path, async (append) => {
    for (const part of parts) await append(part)
  })
}
