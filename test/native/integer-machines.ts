/** The machines of the compute suite, in a worker that has TensorFlow loaded and has computed with it: how such a worker ends is no other. */
import type { Machines } from '../../runtime/compute/machine.js'
import { startBackend, tf, viewOf } from '../../components/tf.js'
import { startMachines as startIntegers } from '../conformance/integer-machines.js'

export async function startMachines(): Promise<Machines> {
  await startBackend('native')
  tf.tidy(() => viewOf(tf.matMul(tf.ones([64, 64]), tf.ones([64, 64]))))
  return startIntegers()
}
