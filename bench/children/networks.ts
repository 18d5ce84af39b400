/** The networks and data of the benchmarks. */
import { block, categorical, dense, flatten, fromArrays, network, relu } from '../../index.js'
import { RandomStream } from '../../runtime/random.js'

export const BATCH = 128

/** Random samples: speed does not depend on what they say. float32 [samples × size], ten classes. */
export function noise(samples: number, size: number) {
  const random = new RandomStream(1, 'noise')
  const inputs = Float32Array.from({ length: samples * size }, () => random.uniform())
  const labels = Int32Array.from({ length: samples }, () => random.below(10))
  const test = { inputs: inputs.slice(0, BATCH * size), labels: labels.slice(0, BATCH) }
  return fromArrays({ inputs, labels, input: [size], target: categorical(10), test, id: 'noise' })
}

/** 784-3×1024-10: three VNodes with a head each. */
export const wide = network({ input: [784], target: categorical(10) }, [
  flatten(),
  ...Array.from({ length: 3 }, () => block(dense(1024), relu())),
])

/** Four VNodes of equal cost. */
export const equal = network(
  { input: [1024], target: categorical(10) },
  Array.from({ length: 4 }, () => block(dense(1024), relu())),
)
