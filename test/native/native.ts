/** What the tests on TensorFlow share. Where it is not installed they are skipped, and say so. */
import test from 'ava'
import { machineModule, type BackendName } from '../../components/backends.js'
import { findInstalled } from '../../components/native/installed.js'
import { encodeFrame } from '../../runtime/frame.js'
import { computePool } from '../../runtime/compute/thread-compute.js'
import type { ComputePool } from '../../runtime/compute/compute.js'
import type { MachineInput } from '../../runtime/compute/machine.js'

let missing: string | undefined
try {
  findInstalled('cpu')
} catch (error) {
  missing = (error as Error).message
}

/** Declares a test that needs TensorFlow; one after the other. */
export const onNative: typeof test.serial = missing === undefined ? test.serial : (test.serial.skip as unknown as typeof test.serial)
if (missing !== undefined) test(`skipped: ${missing}`, (t) => t.pass())

/** Workers of a backend, ended after the tests. */
export function poolOf(backend: BackendName): ComputePool {
  const pool = computePool({ machines: machineModule(backend), spares: 0 })
  test.after.always(() => pool.close())
  return pool
}

/** A step as a compute takes it. */
export function request({ step, evaluation, inputs }: MachineInput) {
  const header = { ...inputs[0].header, vnode: 'v1' }
  return { step, evaluation, inputs: inputs.map((frame) => encodeFrame(frame)), header }
}
