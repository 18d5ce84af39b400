/** The same step in a bare loop: the machines called one after another, no runtime, no frames to encode. */
import { compileNetwork, prepare } from '../../actors/prepare.js'
import { DEFINITION_VERSION } from '../../components/definition.js'
import { startMachinesOn, VNodeMachine } from '../../components/vnode-machine.js'
import { pred } from '../../index.js'
import type { Frame } from '../../runtime/frame.js'
import { memoryStore } from '../../runtime/object-store/memory-store.js'
import { BATCH, noise, wide } from './networks.js'

const backend = process.argv[2] === 'native' ? 'native' : 'wasm'
const STEPS = backend === 'native' ? 400 : 140
const WARM_UP = 20
await startMachinesOn(backend)
await compileNetwork(wide, pred())
const { definition } = await prepare(wide, { data: noise(BATCH * 140, 784), rule: pred(), epochs: 1, batchSize: BATCH }, memoryStore())
const { network, training } = definition
const machines = await Promise.all(
  network.vnodes.map((vnode) => VNodeMachine.load({ v: DEFINITION_VERSION, vnode, target: network.target, training, bundles: {} })),
)
const header = { kind: 'output', marks: 0, generation: 1, term: 1, step: 0, position: 0, evaluation: 0, run: '', vnode: '' } as const
const labels = { dtype: 'int32', shape: [BATCH], bytes: new Uint8Array(BATCH * 4) } as const
const x: Frame = {
  header,
  output: { dtype: 'float32', shape: [BATCH, 784], bytes: new Uint8Array(BATCH * 784 * 4).fill(60) },
  labels,
  batch: '',
}
let started = 0
let before = process.cpuUsage()
for (let step = 1; step <= STEPS; step++) {
  if (step === WARM_UP + 1) [started, before] = [performance.now(), process.cpuUsage()]
  let input = x
  for (const machine of machines)
    input = { header, labels, batch: '', output: machine.apply({ step, evaluation: 0, inputs: [input] }).output }
}
const samplesPerSecond = ((STEPS - WARM_UP) * BATCH * 1000) / (performance.now() - started)
const { user, system } = process.cpuUsage(before)
const cpuMsPerStep = (user + system) / 1000 / (STEPS - WARM_UP)
process.stdout.write(`${JSON.stringify({ samplesPerSecond, cpuMsPerStep })}\n`)
