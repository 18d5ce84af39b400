/** The machines of VNodes, in a worker that stops before a step for as long as a file exists: a consumer that does not consume. */
import { existsSync } from 'node:fs'
import { startMachines as startReal } from '../../components/vnode-machine.js'
import type { Machine, Machines } from '../../runtime/compute/machine.js'

const LOOK_MS = 50
const nothing = new Int32Array(new SharedArrayBuffer(4))

export async function startMachines(): Promise<Machines> {
  const real = await startReal()
  return {
    computeClass: real.computeClass,
    memory: () => real.memory(),
    benchmark: () => real.benchmark(),
    load: async (definition, blob) => held(await real.load(definition, blob)),
  }
}

function held(machine: Machine): Machine {
  return {
    apply: (input) => {
      while (existsSync(process.env.SWARMGRAD_BENCH_HOLD!)) Atomics.wait(nothing, 0, 0, LOOK_MS)
      return machine.apply(input)
    },
    snapshot: () => machine.snapshot(),
    dispose: () => machine.dispose(),
  }
}
