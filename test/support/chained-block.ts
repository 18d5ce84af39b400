/** Layers that keep, as their own state, a hash chain over everything that their VNode consumed in training. */
import { createHash, randomUUID } from 'node:crypto'
import { existsSync, readFileSync, renameSync, rmSync } from 'node:fs'
import { defineBlock, tf } from 'swarmgrad'

const module = import.meta.url

/** Eight int32: the SHA-256 over the chain so far, the step, and the bytes of each input in order. */
function next(chain: tf.Tensor, step: number, inputs: readonly tf.Tensor[]): tf.Tensor {
  const hash = createHash('sha256').update(Int32Array.from(chain.dataSync())).update(Int32Array.of(step))
  for (const input of inputs) hash.update(Float32Array.from(input.dataSync()))
  const digest = hash.digest()
  return tf.tensor1d(
    Array.from({ length: 8 }, (_, i) => digest.readInt32LE(4 * i)),
    'int32',
  )
}

/** The identity. */
export const chained = defineBlock({
  module,
  name: 'chained',
  shape: (input) => [...input],
  state: () => ({ chain: tf.zeros([8], 'int32') }),
  forward(_parameters, x, { training, step, state }) {
    if (training) state.chain = next(state.chain, step, [x])
    return x.clone()
  },
})

/** The sum of its inputs. */
export const chainedSum = defineBlock({
  module,
  name: 'chained-sum',
  arity: 'many',
  shape: (input) => [...input],
  state: () => ({ chain: tf.zeros([8], 'int32') }),
  forward(_parameters, _x, { training, step, state }, _options, xs) {
    if (training) state.chain = next(state.chain, step, xs)
    return tf.addN([...xs])
  },
})

/** The identity, but at step `at`: there it throws, computes for ever, ends its worker, or gives what is not a number. */
export const failing = defineBlock<{ at: number; how: 'throws' | 'hangs' | 'exits' | 'diverges' }>({
  module,
  name: 'failing',
  shape: (input) => [...input],
  forward(_parameters, x, { training, step }, { at, how }) {
    if (training && step === at) {
      if (how === 'throws') throw new Error('on purpose')
      if (how === 'exits') process.exit(7)
      if (how === 'diverges') return tf.mul(x, Number.NaN)
      for (;;);
    }
    return x.clone()
  },
})

/** The identity, but at these steps: there it throws, in training or in the evaluation batch after a step, while `file` is there. */
export const failingWhile = defineBlock<{ at: readonly number[]; evaluation?: boolean; file: string }>({
  module,
  name: 'failing-while',
  shape: (input) => [...input],
  state: () => ({ chain: tf.zeros([8], 'int32') }),
  forward(_parameters, x, { training, step, state }, { at, evaluation = false, file }) {
    if (training !== evaluation && at.includes(step) && existsSync(file)) throw new Error('on purpose')
    if (training) state.chain = next(state.chain, step, [x])
    return x.clone()
  },
})

/** The identity, but at these steps: there it throws when it is trained a second time, in the refinement after the step, while `file` is there. */
export const failingAgain = defineBlock<{ at: readonly number[]; file: string }>({
  module,
  name: 'failing-again',
  shape: (input) => [...input],
  state: () => ({ step: tf.zeros([], 'int32') }),
  forward(_parameters, x, { training, step, state }, { at, file }) {
    if (training && state.step.dataSync()[0] === step && at.includes(step) && existsSync(file)) throw new Error('on purpose')
    if (training) state.step = tf.scalar(step, 'int32')
    return x.clone()
  },
})

const nobodyWakes = new Int32Array(new SharedArrayBuffer(4))

/** The identity, after a rest of `ms` in each training step: how fast a run is, whatever the machine. */
export const paced = defineBlock<{ ms: number }>({
  module,
  name: 'paced',
  shape: (input) => [...input],
  forward(_parameters, x, { training }, { ms }) {
    if (training && ms > 0) Atomics.wait(nobodyWakes, 0, 0, ms)
    return x.clone()
  },
})

/** The identity. But who finds the file `stone` in a training step, and is the first to take it away, stands still for as many ms as it says: `Infinity` for ever. */
export const stumbling = defineBlock<{ stone: string }>({
  module,
  name: 'stumbling',
  shape: (input) => [...input],
  forward(_parameters, x, { training }, { stone }) {
    if (training && existsSync(stone)) stumble(stone)
    return x.clone()
  },
})

function stumble(stone: string): void {
  const own = `${stone}-${randomUUID()}`
  try {
    renameSync(stone, own)
  } catch {
    return // somebody else was the first
  }
  const ms = Number(readFileSync(own, 'utf8'))
  rmSync(own)
  if (ms === Infinity) for (;;);
  Atomics.wait(nobodyWakes, 0, 0, ms)
}
