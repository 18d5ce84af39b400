/**
 * The machines of the compute suite: integer arithmetic only, so that every implementation gives the same bits, and a
 * definition that can misbehave at a chosen step. The state depends on every input of every step and on their order.
 */
import type { Machine, MachineInput, MachineOutput, Machines } from '../../runtime/compute/machine.js'
import { decodeState, encodeState } from '../../runtime/state.js'

export interface IntegerDefinition {
  readonly seed: number
  /** Elements of the state. Default 8. */
  readonly size?: number
  /** Training step at which `apply` throws something that is not a SwarmError. */
  readonly throwAt?: number
  /** Training step that never ends. */
  readonly hangAt?: number
  /** Training step that calls `process.exit`. */
  readonly exitAt?: number
  /** Training step whose loss is NaN. */
  readonly divergeAt?: number
  /** `dispose` forgets its tensors. */
  readonly leaks?: boolean
  /** Each training step first waits until this shared number has reached it: `Atomics.notify` after raising it. */
  readonly gate?: Int32Array<SharedArrayBuffer>
}

const DEFAULT_SIZE = 8
const PRIME = 0x01000193 // FNV-1a's, 32 bits
const BYTES_PER_ELEMENT = 4

/** Integer machines with a tensor count of their own. */
export async function startMachines(): Promise<Machines> {
  const alive = { tensors: 0, bytes: 0 }
  return {
    computeClass: 'integer|1',
    async load(definition, blob) {
      const machine = integerMachine(checkDefinition(definition), blob, alive)
      // A load takes a while: what was asked after it has to wait for it.
      await new Promise((resolve) => {
        setImmediate(resolve)
      })
      return machine
    },
    memory: () => ({ ...alive }),
    benchmark: () => ({ gflops: 1 }),
  }
}

function integerMachine(definition: IntegerDefinition, blob: Uint8Array | undefined, alive: { tensors: number; bytes: number }): Machine {
  const state = blob ? restore(blob) : initialState(definition)
  const bytes = (state.length + 1) * BYTES_PER_ELEMENT
  alive.tensors += 1
  alive.bytes += bytes
  return {
    apply(input) {
      if (input.evaluation === 0) misbehave(definition, input.step)
      const next = input.evaluation === 0 ? state : state.slice()
      return step(next, input, input.evaluation === 0 && input.step === definition.divergeAt)
    },
    refine(number, update) {
      for (let i = 0; i < state.length; i++) state[i] = Math.imul(state[i] ^ (number * 1_031 + update + i), PRIME)
    },
    snapshot: () => encodeState([{ name: 'state', dtype: 'int32', shape: [state.length], values: state }]),
    dispose() {
      if (definition.leaks) return
      alive.tensors -= 1
      alive.bytes -= bytes
    },
  }
}

/** Folds every element of every input and of the labels into the state; the output is one number per row. */
function step(state: Int32Array, { inputs, feedback = [], step: number }: MachineInput, isDiverged: boolean): MachineOutput {
  const rows = inputs[0].output.shape[0] ?? 1
  const output = new Int32Array(rows)
  let at = number % state.length
  const fold = (bytes: Uint8Array, perRow: number): void => {
    integers(bytes).forEach((value, i) => {
      at = (at + 1) % state.length
      state[at] = Math.imul(state[at] ^ value ^ number, PRIME) ^ (state[(at + 3) % state.length] >>> 5)
      output[Math.floor(i / perRow)] ^= state[at]
    })
  }
  for (const { tensors } of feedback) for (const tensor of Object.values(tensors)) fold(tensor.bytes, 1)
  output.fill(0)
  for (const { output: tensor, labels } of inputs) {
    fold(tensor.bytes, Math.max(1, tensor.bytes.byteLength / BYTES_PER_ELEMENT / rows))
    fold(labels.bytes, Math.max(1, labels.bytes.byteLength / BYTES_PER_ELEMENT / rows))
  }
  return {
    output: { dtype: 'int32', shape: [rows, 1], bytes: new Uint8Array(output.buffer) },
    ...(feedback.length > 0 && { feedback: { step: number - 1, tensors: { state: word(state[0]) } } }),
    metrics: { loss: isDiverged ? Number.NaN : (state[0] >>> 8) / 1024, samples: rows },
  }
}

const word = (value: number) => ({ dtype: 'int32', shape: [1], bytes: new Uint8Array(Int32Array.of(value).buffer) }) as const

function misbehave({ throwAt, hangAt, exitAt, gate }: IntegerDefinition, step: number): void {
  if (step === throwAt) throw new TypeError('a mistake of the layer,\n  told on two lines')
  if (step === exitAt) process.exit(3)
  if (step === hangAt) for (;;);
  if (gate) for (let open = Atomics.load(gate, 0); open < step; open = Atomics.load(gate, 0)) Atomics.wait(gate, 0, open)
}

function checkDefinition(definition: unknown): IntegerDefinition {
  if (typeof (definition as IntegerDefinition | undefined)?.seed === 'number') return definition as IntegerDefinition
  throw new TypeError('an integer machine needs a seed')
}

function initialState({ seed, size = DEFAULT_SIZE }: IntegerDefinition): Int32Array {
  return Int32Array.from({ length: size }, (_, i) => Math.imul(seed + i + 1, PRIME) ^ (seed << 7))
}

function restore(blob: Uint8Array): Int32Array {
  const [{ values }] = decodeState(blob)
  return values instanceof Int32Array ? values : Int32Array.from(values)
}

/** The payload as little-endian integers: floats by their bits. */
function integers(bytes: Uint8Array): Int32Array {
  const copy = new Uint8Array(bytes)
  return new Int32Array(copy.buffer, 0, copy.byteLength >> 2)
}
