/** What TensorFlow holds: nothing more from step to step, nothing when the machines are gone. */
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { asMemoryError, tellingOfMemory } from '../../components/native/memory-error.js'
import { startMachinesOn, VNodeMachine } from '../../components/vnode-machine.js'
import { tf } from '../../components/tf.js'
import { isSwarmError } from '../../runtime/errors.js'
import { decodeState, encodeState, hashState } from '../../runtime/state.js'
import { sketch, stepInput } from '../components/numeric.js'
import { onNative } from './native.js'

const STEPS = 300
const BATCH = 64
const [INPUT, UNITS] = [256, 512]
const MEGABYTE = 1e6

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void
const handles = (): number => (tf.backend() as unknown as { binding: { getNumOfTensors(): number } }).binding.getNumOfTensors()

const wide = (optimizer: { name: string; options?: {} }) =>
  sketch({
    input: [INPUT],
    layers: [
      { name: 'dense', options: { units: UNITS, bias: true }, out: [UNITS] },
      { name: 'batchNorm', options: { momentum: 0.1, epsilon: 1e-5 }, out: [UNITS] },
      { name: 'relu', out: [UNITS] },
    ],
    optimizer,
  })

for (const [what, optimizer] of Object.entries({
  'Adam as an operation': { name: 'adam' },
  'Adam with weight decay, in JavaScript': { name: 'adam', options: { weightDecay: 0.01 } },
  'momentum as an operation': { name: 'sgd', options: { momentum: 0.9 } },
})) {
  onNative(`tensors, handles and the memory of the process stay as they are over ${STEPS} steps: ${what}`, async (t) => {
    const machines = await startMachinesOn('native')
    const tensorsBefore = machines.memory().tensors
    const machine = await VNodeMachine.load(wide(optimizer))
    const apply = (step: number) => machine.apply(stepInput(step, [INPUT], { batch: BATCH }))
    for (let step = 1; step <= 50; step++) apply(step)
    collect()
    const [tensors, held, bytes] = [machines.memory().tensors, handles(), process.memoryUsage.rss()]
    for (let step = 51; step <= 50 + STEPS; step++) {
      apply(step)
      if (step % 100 === 0) machine.snapshot()
    }
    collect()
    const grown = process.memoryUsage.rss() - bytes
    t.is(machines.memory().tensors, tensors)
    // Numbers of operations are kept until there are 64 of them; slots have a handle from their first snapshot to the next step.
    t.true(Math.abs(handles() - held) <= 64, `${held} handles, then ${handles()}`)
    // A leak of the gradients alone would be 160 MB.
    t.true(grown < 40 * MEGABYTE, `${(grown / MEGABYTE).toFixed(1)} MB more`)
    machine.dispose()
    t.is(machines.memory().tensors, tensorsBefore)
  })
}

onNative('the parameters of many machines are gone with them', async (t) => {
  await startMachinesOn('native')
  const definition = wide({ name: 'adam' })
  const once = async () => {
    const machine = await VNodeMachine.load(definition)
    for (let step = 1; step <= 2; step++) machine.apply(stepInput(step, [INPUT], { batch: BATCH }))
    machine.dispose()
  }
  for (let i = 0; i < 20; i++) await once()
  collect()
  const bytes = process.memoryUsage.rss()
  for (let i = 0; i < 150; i++) await once()
  collect()
  // 1.6 MB each: 240 MB if they stayed.
  const grown = process.memoryUsage.rss() - bytes
  t.true(grown < 60 * MEGABYTE, `${(grown / MEGABYTE).toFixed(1)} MB more`)
  t.true(handles() <= 128, `${handles()} handles`)
})

onNative('a state goes on from its blob as if nothing had been, and the blob stays as it is', async (t) => {
  await startMachinesOn('native')
  const definition = wide({ name: 'adam' })
  const input = (step: number) => stepInput(step, [INPUT], { batch: BATCH })
  const whole = await VNodeMachine.load(definition)
  for (let step = 1; step <= 5; step++) whole.apply(input(step))
  const blob = whole.snapshot()
  const hash = hashState(blob)
  for (let step = 6; step <= 10; step++) whole.apply(input(step))
  const restored = await VNodeMachine.load(definition, blob)
  for (let step = 6; step <= 10; step++) restored.apply(input(step))
  t.is(hashState(restored.snapshot()), hashState(whole.snapshot()))
  t.is(hashState(blob), hash)
  whole.dispose()
  restored.dispose()
})

onNative('a parameter that is not finite is found at the step that makes it', async (t) => {
  await startMachinesOn('native')
  const definition = wide({ name: 'sgd' })
  const machine = await VNodeMachine.load(definition)
  const broken = decodeState(machine.snapshot()).map((tensor) =>
    tensor.name === 'layers/dense-1/b' ? { ...tensor, values: tensor.values.map(() => 3e38) } : tensor,
  )
  machine.dispose()
  const loaded = await VNodeMachine.load(definition, encodeState(broken))
  const error = t.throws(() => loaded.apply(stepInput(1, [INPUT], { batch: BATCH })))
  t.true(isSwarmError(error, 'run.diverged'), error.message)
  loaded.dispose()
})

onNative('large parameters are no error', async (t) => {
  await startMachinesOn('native')
  const definition = wide({ name: 'sgd' })
  const machine = await VNodeMachine.load(definition)
  // Their squares are too large for float32; batch norm takes out what all samples have in common.
  const large = decodeState(machine.snapshot()).map((tensor) =>
    tensor.name === 'head/bias' ? { ...tensor, values: tensor.values.map(() => 1e25) } : tensor,
  )
  machine.dispose()
  const loaded = await VNodeMachine.load(definition, encodeState(large))
  t.notThrows(() => loaded.apply(stepInput(1, [INPUT], { batch: BATCH })))
  loaded.dispose()
})

onNative('a tensor that there is no memory for is named as such', async (t) => {
  await startMachinesOn('native')
  const tooLarge = (): tf.Tensor => tf.tile(tf.ones([1, 1]), [2 ** 22, 2 ** 22])
  const other = new Error('Invalid TF_Status: 3')
  t.is(asMemoryError(other), other)
  const machine = { apply: () => tf.tidy(tooLarge) as never, snapshot: () => new Uint8Array(0), dispose() {} }
  const machines = { computeClass: '', memory: () => ({ tensors: 0, bytes: 0 }), benchmark: () => ({ gflops: 1 }) }
  const loaded = await tellingOfMemory({ ...machines, load: async () => machine }).load({}, undefined)
  // TensorFlow waits for ten seconds for memory to be freed.
  const error = t.throws(() => loaded.apply(stepInput(1, [INPUT])))
  t.true(isSwarmError(error, 'backend.memory'), error.message)
  t.regex(error.message, /smaller batches/)
})
