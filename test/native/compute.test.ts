import test from 'ava'
import { computePool } from '../../runtime/compute/thread-compute.js'
import { computeSuite } from '../conformance/compute.js'
import { onNative, poolOf } from './native.js'

const threads = computePool({ machines: new URL('./integer-machines.js', import.meta.url), spares: 1 })
test.after.always(() => threads.close())
const [onTensorFlow, onWasm] = [poolOf('native'), poolOf('wasm')]
let made = 0
for (const check of computeSuite({ hasThreads: true, make: () => ({ compute: threads.compute(`case-${++made}`) }) })) {
  onNative(`workers with TensorFlow: ${check.title}`, async (t) => {
    await t.notThrowsAsync(check.run())
  })
}

onNative('the compute class names the backend, the version of TensorFlow and the processor; the benchmark a speed', async (t) => {
  const [native, wasm] = await Promise.all([onTensorFlow.compute('n').start(), onWasm.compute('w').start()])
  t.regex(native.computeClass, /^4\.22\.0 \| native \| tensorflow 2\.18\.\d+, .+ [0-9a-f]{8} \| [0-9a-f]{16}$/)
  t.regex(wasm.computeClass, /^4\.22\.0 \| wasm \| simd \| [0-9a-f]{16}$/)
  t.true(native.gflops > 0)
  t.log(`native ${native.gflops.toFixed(0)}, wasm ${wasm.gflops.toFixed(0)} GFLOP/s`)
})
