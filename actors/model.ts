/** A trained network, ready to answer: the VNodes of one checkpoint, one after another, in this thread. */
import { describe, normalise } from '../components/datasets/index.js'
import type { DatasetDescription } from '../components/datasets/index.js'
import type { NetworkDefinition } from '../components/definition.js'
import type { VNodeMachine } from '../components/vnode-machine.js'
import { answersOf, isOfClasses, labelForm, labelSizeOf, widthOf } from '../components/targets.js'
import { SwarmError } from '../runtime/errors.js'
import type { Frame, TensorBytes } from '../runtime/frame.js'
import type { ObjectStore } from '../runtime/object-store/object-store.js'
import type { ExportOptions } from './export-model.js'
import { generate, type GenerateOptions } from './generate.js'
import { newestState, type NewestState } from './run/newest-state.js'
import { bundleFolder, machineDefinition } from './run/run-definition.js'

/** Answers to a batch of samples. */
export interface Prediction {
  /** For categorical targets the most probable class of each sample, for tokens of each position; for continuous ones empty. */
  readonly labels: Int32Array
  /** For categorical targets [samples × classes], for tokens [samples × tokens × classes], rows sum to 1; for continuous ones the values, [samples × size]. */
  readonly probabilities: Float32Array
}

export interface Model {
  /** Id of the run, and the step of the checkpoint. */
  readonly run: string
  readonly step: number
  /** What a sample is, and what the classes are called. */
  readonly description: DatasetDescription
  /** Elements of one sample. */
  readonly sampleSize: number
  /** Values in an answer: classes, or the size of a continuous target. */
  readonly outputs: number
  /** Answers to a sample: 1, for tokens one at each position. */
  readonly answers: number
  /**
   * Answers in order.
   * @param inputs raw samples as in the data set's files, row-major, [n × prod(input)]: bytes for images, columns of a table; normalised here
   * @throws `dataset.invalid` if the length is not a multiple of the sample's
   */
  predict(inputs: ArrayLike<number>): Promise<Prediction>
  /**
   * How a language model would go on after `prompt`, character by character. Only for runs that learn from a text.
   * @throws `usage`; `dataset.invalid` a character that it does not know; `aborted`
   */
  generate(prompt: string, options?: GenerateOptions): AsyncGenerator<string, void>
  /**
   * Writes the weights into a `.safetensors` file, or the network and its weights into a folder that TensorFlow.js loads; the names of the files.
   * @throws `usage`, `export.unsupported` (a layer that TensorFlow.js does not have), `store.unavailable`
   */
  export(path: string, options?: ExportOptions): Promise<readonly string[]>
  close(): Promise<void>
}

/** Samples that are computed at once. */
const BATCH = 256

/** Loads the newest checkpoint of a run. @throws `run.not-found`, `run.changed` (no checkpoint yet), `checkpoint.damaged`, `store.damaged` */
export async function openModel(store: ObjectStore, run: string): Promise<Model> {
  return openState(store, run, await newestState(store, run))
}

/** Loads these states of a run. */
export async function openState(store: ObjectStore, run: string, { definition, step, vnodes, state }: NewestState): Promise<Model> {
  // tfjs is loaded only now: looking at a run needs none.
  const { VNodeMachine: machines } = await import('../components/vnode-machine.js')
  const loaded = new Map<string, VNodeMachine>()
  for (const vnode of vnodes) {
    const machine = await machineDefinition({ store, cacheFolder: bundleFolder() }, definition, vnode)
    loaded.set(vnode, await machines.load(machine, await state(vnode)))
  }
  const { network, data } = definition
  const sampleSize = network.input.reduce((a, b) => a * b, 1)
  const { target } = network
  const outputs = widthOf(target)
  const answers = answersOf(network)
  const model: Model = {
    run,
    step,
    description: describe(data),
    sampleSize,
    outputs,
    answers,
    async predict(inputs) {
      if (inputs.length % sampleSize !== 0) {
        throw new SwarmError('dataset.invalid', {
          what: 'inputs of the wrong length',
          expected: `a multiple of ${sampleSize}`,
          got: inputs.length,
        })
      }
      const samples = inputs.length / sampleSize
      const values = normalise(data, inputs)
      const probabilities = new Float32Array(samples * answers * outputs)
      for (let first = 0; first < samples; first += BATCH) {
        const size = Math.min(BATCH, samples - first)
        const rows = forward(network, loaded, values.subarray(first * sampleSize, (first + size) * sampleSize), size)
        probabilities.set(rows, first * answers * outputs)
      }
      return { labels: isOfClasses(target) ? largest(probabilities, outputs) : new Int32Array(0), probabilities }
    },
    generate: (prompt, options) => generate(model, prompt, options),
    async export(path, options) {
      const { writeExport, stateTensors } = await import('./export-model.js')
      const tensors = new Map([...loaded].flatMap(([vnode, machine]) => stateTensors(vnode, machine.snapshot())))
      return writeExport({ definition, run, step, tensors }, path, options)
    },
    async close() {
      for (const machine of loaded.values()) machine.dispose()
      loaded.clear()
    },
  }
  return model
}

/** One batch hop by hop in graph order, as it would travel. */
function forward(network: NetworkDefinition, machines: ReadonlyMap<string, VNodeMachine>, x: Float32Array, size: number): Float32Array {
  const labels: TensorBytes = { ...labelForm(network, size), bytes: new Uint8Array(size * labelSizeOf(network) * 4) }
  const header = { kind: 'output', marks: 0, generation: 0, term: 0, step: 0, position: 0, evaluation: 1, run: '', vnode: '' } as const
  const frame = (output: TensorBytes): Frame => ({ header, output, labels, batch: '' })
  const outputs = new Map([
    ['source', frame({ dtype: 'float32', shape: [size, ...network.input], bytes: new Uint8Array(x.slice().buffer) })],
  ])
  for (const { id, inputs } of network.vnodes) {
    const input = { step: 0, evaluation: 1, inputs: inputs.map((producer) => outputs.get(producer)!) }
    const machine = machines.get(id)!
    if (id === network.output) return machine.answer(input).values
    const { output } = machine.apply(input)
    // The machine's buffer is overwritten by its next call.
    outputs.set(id, frame({ ...output, bytes: output.bytes.slice() }))
  }
  throw new SwarmError('internal', `no VNode '${network.output}' among ${network.vnodes.length}`)
}

function largest(rows: Float32Array, width: number): Int32Array {
  return Int32Array.from({ length: rows.length / width }, (_, row) => {
    let best = 0
    for (let k = 1; k < width; k++) if (rows[row * width + k] > rows[row * width + best]) best = k
    return best
  })
}
