/** What every implementation of the compute seam must do (runtime/compute/compute.ts). */
import assert from 'node:assert/strict'
import { crc32 } from 'node:zlib'
import type { Compute, ComputeLoss } from '../../runtime/compute/compute.js'
import { decodeFrame } from '../../runtime/frame.js'
import type { ConformanceCase } from './case.js'
import {
  assertRetryable,
  evaluationStep,
  hex,
  inputFrame,
  nextLoss,
  oracle,
  outcome,
  outcomes,
  outputOf,
  refused,
  resolved,
  trainingStep,
} from './compute-fixtures.js'
import { type Body, REFINEMENT_AND_FEEDBACK } from './compute-refinement-feedback.js'
import type { IntegerDefinition } from './integer-machines.js'
import { within } from './within.js'

/** How the suite gets what it tests. */
export interface ComputeFactory {
  /** A new compute over the module at `machines`, not started. The suite closes it; `close` frees what is around it. */
  make(machines: URL): { readonly compute: Compute; close?(): Promise<void> }
  /** Whether a machine that never ends, or that ends its thread, can be survived. Without it those cases are not in the suite. */
  readonly hasThreads: boolean
  /** A case that takes longer has failed. Default 30 s: starting a worker on an overloaded machine takes seconds. */
  readonly limitMs?: number
}

const MACHINES = new URL('./integer-machines.js', import.meta.url)
const DEFAULT_LIMIT_MS = 30_000
const HANG_DEADLINE_MS = 150 // only a step that never ends is given it, so a slow machine cannot make the case fail
const PLAIN: IntegerDefinition = { seed: 7 }

/** The cases of the compute seam; node:assert only. */
export function computeSuite(factory: ComputeFactory): ConformanceCase[] {
  const { hasThreads, limitMs = DEFAULT_LIMIT_MS } = factory
  const bodies = { ...STEPS, ...REFINEMENT_AND_FEEDBACK, ...REFUSALS, ...OWNERSHIP, ...LOSSES, ...(hasThreads ? THREAD_LOSSES : {}) }
  return Object.entries(bodies).map(([title, body]) => ({
    title,
    async run() {
      const subject = factory.make(MACHINES)
      try {
        await within(limitMs, title, body(subject.compute))
      } finally {
        await subject.compute.close()
        await subject.close?.()
      }
    },
  }))
}

const STEPS: Record<string, Body> = {
  async 'start tells the compute class and a speed'(compute) {
    for (const { computeClass, gflops, largestAllocationBytes } of [await compute.start(), await compute.start()]) {
      assert.deepEqual([computeClass, largestAllocationBytes], ['integer|1', undefined])
      assert.ok(gflops > 0, `gflops: expected more than 0, got ${gflops}`)
    }
  },

  async 'memory is measured where that is asked for, within the limit'(compute) {
    const { largestAllocationBytes: found = 0 } = await compute.start(undefined, { allocationBytes: 1e6 })
    assert.ok(found > 0 && found <= 1e6, `1 to 1,000,000 bytes: got ${found}`)
  },

  async 'requests made without waiting are executed in the order made, each once'(compute) {
    const reference = await oracle(PLAIN)
    const loaded = outcome(compute.load('a', PLAIN, undefined))
    const steps = [1, 2, 3, 4, 5, 6, 7, 8].map((step) => outcome(compute.apply('a', trainingStep(step))))
    const snapshot = outcome(compute.snapshot('a'))
    await resolved(loaded, 'load')
    for (const [i, pending] of steps.entries()) {
      assert.equal(outputOf(await resolved(pending, `step ${i + 1}`)), reference.apply(trainingStep(i + 1)), `output of step ${i + 1}`)
    }
    assert.equal(hex(await resolved(snapshot, 'snapshot')), reference.snapshot(), 'state after step 8')
  },

  async 'a snapshot sees the state exactly between its neighbours'(compute) {
    const reference = await oracle(PLAIN)
    await compute.load('a', PLAIN, undefined)
    const snapshots = [outcome(compute.snapshot('a'))]
    const steps = [1, 2, 3].map((step) => {
      const applied = outcome(compute.apply('a', trainingStep(step)))
      snapshots.push(outcome(compute.snapshot('a')))
      return applied
    })
    for (const [i, pending] of snapshots.entries()) {
      if (i > 0) reference.apply(trainingStep(i))
      assert.equal(hex(await resolved(pending, `snapshot ${i}`)), reference.snapshot(), `state after step ${i}`)
    }
    await Promise.all(steps)
  },

  async 'machines in one compute do not disturb each other'(compute) {
    const definitions = [PLAIN, { seed: 8, size: 5 }, PLAIN]
    await Promise.all(definitions.map((definition, i) => compute.load(`m${i}`, definition, undefined)))
    await Promise.all([1, 2, 3].flatMap((step) => definitions.map((_, i) => outcome(compute.apply(`m${i}`, trainingStep(step))))))
    for (const [i, definition] of definitions.entries()) {
      const reference = await oracle(definition)
      for (const step of [1, 2, 3]) reference.apply(trainingStep(step))
      assert.equal(hex(await compute.snapshot(`m${i}`)), reference.snapshot(), `state of machine ${i}`)
    }
  },

  async 'an output frame carries its own header and the labels and batch of the first input'(compute) {
    await compute.load('a', PLAIN, undefined)
    const inputs = [inputFrame(3, { vnode: 'left' }), inputFrame(3, { vnode: 'right-hand' })]
    const request = trainingStep(3, inputs)
    const result = await compute.apply('a', request)
    const { frame, metrics } = result
    assert.ok(result.busyMs >= 0)
    const decoded = decodeFrame(frame)
    const first = decodeFrame(inputs[0])
    assert.deepEqual(decoded.header, request.header)
    assert.equal(hex(decoded.labels.bytes), hex(first.labels.bytes), 'labels')
    assert.equal(decoded.batch, first.batch)
    assert.deepEqual(decoded.output.shape, [4, 1])
    assert.equal(outputOf(result), (await oracle(PLAIN)).apply(request))
    assert.equal(metrics.samples, 4)
  },

  async 'a machine loaded from a blob continues as the one that was snapshotted'(compute) {
    await compute.load('a', PLAIN, undefined)
    for (const step of [1, 2, 3]) await compute.apply('a', trainingStep(step))
    const blob = await compute.snapshot('a')
    await compute.load('b', PLAIN, blob)
    assert.ok(blob.byteLength > 0, 'a blob stays the caller’s')
    assert.equal(hex(await compute.snapshot('b')), hex(blob), 'state as loaded')
    for (const step of [4, 5]) {
      const [a, b] = await Promise.all([compute.apply('a', trainingStep(step)), compute.apply('b', trainingStep(step))])
      assert.equal(hex(b.frame), hex(a.frame), `frame of step ${step}`)
    }
    assert.equal(hex(await compute.snapshot('b')), hex(await compute.snapshot('a')), 'state after step 5')
  },

  async 'an evaluation leaves the state unchanged'(compute) {
    const reference = await oracle(PLAIN)
    await compute.load('a', PLAIN, undefined)
    await compute.apply('a', trainingStep(1))
    reference.apply(trainingStep(1))
    const before = hex(await compute.snapshot('a'))
    for (const evaluation of [1, 2]) {
      const applied = await compute.apply('a', evaluationStep(1, evaluation))
      assert.equal(outputOf(applied), reference.apply(evaluationStep(1, evaluation)), `output of evaluation ${evaluation}`)
    }
    assert.equal(hex(await compute.snapshot('a')), before, 'state after two evaluations')
  },
}

const REFUSALS: Record<string, Body> = {
  async 'a damaged blob is refused by code, and one of another version too'(compute) {
    await compute.load('a', PLAIN, undefined)
    const blob = await compute.snapshot('a')
    await refused(outcome(compute.load('b', PLAIN, blob.slice(0, blob.byteLength - 4))), 'checkpoint.damaged', 'a blob cut short')
    const newer = blob.slice()
    newer[4] += 1
    // The preamble has a checksum of its own: it is another version, not a damage.
    new DataView(newer.buffer).setUint32(60, crc32(newer.subarray(0, 60)), true)
    await refused(outcome(compute.load('b', PLAIN, newer)), 'checkpoint.version', 'a blob of the next major version')
    await refused(outcome(compute.snapshot('b')), 'compute.not-loaded', 'the machine that was not loaded')
    assert.equal(hex(await compute.snapshot('a')), hex(blob), 'state of the other machine')
  },

  async 'a bad definition is a terminal error that names the machine'(compute) {
    const error = await refused(outcome(compute.load('odd', { size: 3 }, undefined)), 'compute.failed', 'a definition without a seed')
    assert.match(error.message, /odd.*needs a seed/)
    assert.equal(error.retryable, false)
    await refused(outcome(compute.load('odd', { seed: () => 1 }, undefined)), 'compute.failed', 'a definition that cannot be cloned')
    assert.equal((await compute.memory()).tensors, 0)
  },

  async 'a machine that throws is named with its step and is not touched again until loaded anew'(compute) {
    const losses: ComputeLoss[] = []
    compute.onLoss((loss) => losses.push(loss))
    await compute.load('a', { ...PLAIN, throwAt: 2 }, undefined)
    await compute.load('b', PLAIN, undefined)
    const steps = [1, 2, 3].map((step) => outcome(compute.apply('a', trainingStep(step))))
    const snapshot = outcome(compute.snapshot('a'))
    await resolved(steps[0], 'step 1')
    const error = await refused(steps[1], 'compute.failed', 'step 2')
    assert.match(error.message, /'v'.*step 2.*a mistake of the layer, told on two lines/)
    assert.equal(error.retryable, false)
    await refused(steps[2], 'compute.not-loaded', 'step 3')
    await refused(snapshot, 'compute.not-loaded', 'snapshot after the error')
    await resolved(outcome(compute.apply('b', trainingStep(1))), 'the other machine')
    await resolved(outcome(compute.load('a', PLAIN, undefined)), 'loading it anew')
    await resolved(outcome(compute.apply('a', trainingStep(1))), 'step 1 of the machine loaded anew')
    assert.equal((await compute.memory()).tensors, 2, 'tensors of two machines')
    assert.deepEqual(losses, [])
  },

  async 'a non-finite loss is refused by code with the VNode and the step'(compute) {
    await compute.load('a', { ...PLAIN, divergeAt: 2 }, undefined)
    await compute.apply('a', trainingStep(1))
    const error = await refused(outcome(compute.apply('a', trainingStep(2))), 'run.diverged', 'step 2')
    assert.match(error.message, /'v'.*step 2.*NaN/)
    assert.equal(error.retryable, false)
    await refused(outcome(compute.snapshot('a')), 'compute.not-loaded', 'a state that holds NaN')
  },

  async 'inputs of different batches are refused and the state stays as it was'(compute) {
    await compute.load('a', PLAIN, undefined)
    const before = hex(await compute.snapshot('a'))
    const unequal = [inputFrame(1, { vnode: 'left' }), inputFrame(1, { vnode: 'right', batch: 'another' })]
    const error = await refused(outcome(compute.apply('a', trainingStep(1, unequal))), 'compute.failed', 'a join of unequal batches')
    assert.match(error.message, /left.*right.*batch-1-0.*another/)
    assert.equal(hex(await compute.snapshot('a')), before, 'state after the refusal')
  },

  async 'a damaged input frame is refused by code and the state stays as it was'(compute) {
    await compute.load('a', PLAIN, undefined)
    const before = hex(await compute.snapshot('a'))
    const damaged = new Uint8Array(inputFrame(1))
    damaged[damaged.byteLength - 1] ^= 1
    await refused(outcome(compute.apply('a', trainingStep(1, [damaged]))), 'frame.damaged', 'a frame with a flipped bit')
    assert.equal(hex(await compute.snapshot('a')), before, 'state after the refusal')
    await resolved(outcome(compute.apply('a', trainingStep(1))), 'the same step with a whole frame')
  },

  async 'a machine that is not loaded is refused by code'(compute) {
    await refused(outcome(compute.apply('nobody', trainingStep(1))), 'compute.not-loaded', 'apply')
    await refused(outcome(compute.snapshot('nobody')), 'compute.not-loaded', 'snapshot')
    await resolved(outcome(compute.unload('nobody')), 'unload')
  },
}

const OWNERSHIP: Record<string, Body> = {
  async 'input frames stay readable and unchanged, in shared memory or not'(compute) {
    await compute.load('a', PLAIN, undefined)
    await compute.load('b', PLAIN, undefined)
    const shared = inputFrame(1)
    const plain = inputFrame(1, { isShared: false })
    const view = new Uint8Array(plain.byteLength + 192).subarray(64, 64 + plain.byteLength)
    view.set(plain)
    const before = hex(shared)
    const frames: string[] = []
    for (const [i, input] of [shared, plain, view].entries()) {
      await compute.load('a', PLAIN, undefined)
      frames.push(hex((await compute.apply('a', trainingStep(1, [input]))).frame))
      assert.equal(hex(input), before, `input ${i} after the step`)
      assert.equal(frames[i], frames[0], `frame for input ${i}`)
    }
  },

  async 'a result is not written again by later steps'(compute) {
    await compute.load('a', PLAIN, undefined)
    const { frame } = await compute.apply('a', trainingStep(1))
    const blob = await compute.snapshot('a')
    const before = [hex(frame), hex(blob)]
    for (const step of [2, 3]) await compute.apply('a', trainingStep(step))
    assert.deepEqual([hex(frame), hex(blob)], before)
  },

  async 'after unload the tensor count is what it was before load'(compute) {
    const before = await compute.memory()
    await compute.load('a', PLAIN, undefined)
    await compute.load('b', PLAIN, undefined)
    await compute.load('b', PLAIN, undefined)
    await compute.apply('a', trainingStep(1))
    assert.equal((await compute.memory()).tensors, before.tensors + 2, 'tensors of two machines, one of them loaded twice')
    await compute.unload('a')
    await compute.unload('a')
    await compute.unload('b')
    assert.deepEqual(await compute.memory(), before)
    await refused(outcome(compute.apply('a', trainingStep(2))), 'compute.not-loaded', 'a step after unload')
  },

  async 'a machine that leaks is seen in the tensor count'(compute) {
    const before = await compute.memory()
    await compute.load('a', { ...PLAIN, leaks: true }, undefined)
    await compute.unload('a')
    assert.equal((await compute.memory()).tensors, before.tensors + 1)
  },

  async 'an aborted request is told so, changes nothing if it was not sent, and leaves no machine behind'(compute) {
    await compute.load('a', PLAIN, undefined)
    const state = hex(await compute.snapshot('a'))
    const signal = AbortSignal.abort()
    await refused(outcome(compute.apply('a', trainingStep(1), { signal })), 'aborted', 'a step aborted before it was sent')
    assert.equal(hex(await compute.snapshot('a')), state, 'state after the aborted step')
    const controller = new AbortController()
    const load = outcome(compute.load('b', PLAIN, undefined, { signal: controller.signal }))
    controller.abort()
    await refused(load, 'aborted', 'a load aborted after it was sent')
    assert.equal((await compute.memory()).tensors, 1)
  },

  async 'after close everything is refused by code, also what was under way'(compute) {
    await compute.load('a', PLAIN, undefined)
    const underWay = [outcome(compute.apply('a', trainingStep(1))), outcome(compute.snapshot('a'))]
    await compute.close()
    for (const pending of underWay) await refused(pending, 'compute.closed', 'a request under way')
    const later = outcomes(
      compute.start(),
      compute.load('a', PLAIN, undefined),
      compute.apply('a', trainingStep(1)),
      compute.snapshot('a'),
      compute.unload('a'),
      compute.memory(),
    )
    for (const pending of later) await refused(pending, 'compute.closed', 'a later request')
    await compute.close()
  },
}

const LOSSES: Record<string, Body> = {
  async 'kill rejects what is under way, then reports the loss once, and the compute goes on without its machines'(compute) {
    const order: string[] = []
    const losses: ComputeLoss[] = []
    compute.onLoss((loss) => {
      order.push('loss')
      losses.push(loss)
    })
    compute.onLoss(() => order.push('unsubscribed'))()
    await compute.load('a', PLAIN, undefined)
    await compute.load('b', PLAIN, undefined)
    await compute.load('gone', PLAIN, undefined)
    await compute.unload('gone')
    const requests = [compute.apply('a', trainingStep(1)), compute.apply('b', trainingStep(1)), compute.snapshot('a')]
    for (const request of requests) request.catch(() => order.push('rejected'))
    const underWay = outcomes(...requests)
    const lost = nextLoss(compute)
    compute.kill('chaos said so')
    for (const pending of underWay) assertRetryable(await refused(pending, 'compute.lost', 'a request under way'))
    await lost
    assert.deepEqual(order, ['rejected', 'rejected', 'rejected', 'loss'])
    assert.match(losses[0].reason, /chaos said so/)
    assert.ok(losses[0].worker.length > 0, 'the worker has a name')
    assert.equal(losses[0].culprit, undefined, 'a worker that was killed has no culprit')
    assert.deepEqual([...losses[0].machines].sort(), ['a', 'b'])
    await assertFresh(compute, losses[0].worker)
    assert.equal(losses.length, 2, 'losses after two kills')
  },

  async 'a restored machine has the same bits as one that was never lost'(compute) {
    const reference = await oracle(PLAIN)
    await compute.load('a', PLAIN, undefined)
    for (const step of [1, 2]) await compute.apply('a', trainingStep(step))
    const blob = await compute.snapshot('a')
    await compute.apply('a', trainingStep(3))
    compute.kill('in the middle of a run')
    await compute.load('a', PLAIN, blob)
    for (const step of [3, 4]) await compute.apply('a', trainingStep(step))
    for (const step of [1, 2, 3, 4]) reference.apply(trainingStep(step))
    assert.equal(hex(await compute.snapshot('a')), reference.snapshot(), 'state after step 4')
  },
}

const THREAD_LOSSES: Record<string, Body> = {
  async 'a worker that hangs is named with machine and step, ended and replaced'(compute) {
    await compute.load('a', { ...PLAIN, hangAt: 2 }, undefined)
    await compute.load('b', PLAIN, undefined)
    const lost = nextLoss(compute)
    const first = outcome(compute.apply('a', trainingStep(1)))
    const hung = outcome(compute.apply('a', trainingStep(2), { deadlineMs: HANG_DEADLINE_MS }))
    const behind = outcome(compute.apply('b', trainingStep(1)))
    await resolved(first, 'the step before')
    const error = await refused(hung, 'compute.hung', 'the step that never ends')
    assertRetryable(error)
    assertRetryable(await refused(behind, 'compute.lost', 'the request behind it'))
    const { worker, machines, culprit } = await lost
    assert.deepEqual(culprit, { machine: 'a', error })
    for (const part of [`'${worker}'`, `'a'`, 'step 2']) assert.ok(error.message.includes(part), `${part} in: ${error.message}`)
    assert.deepEqual([...machines].sort(), ['a', 'b'])
    await assertFresh(compute, worker)
  },

  async 'a worker that ends itself is lost and replaced, and what it answered before counts'(compute) {
    await compute.load('a', { ...PLAIN, exitAt: 2 }, undefined)
    const lost = nextLoss(compute)
    const steps = [1, 2, 3].map((step) => outcome(compute.apply('a', trainingStep(step))))
    await resolved(steps[0], 'the step before')
    const errors = await Promise.all(steps.slice(1).map((pending) => refused(pending, 'compute.lost', 'a step from the exit on')))
    for (const error of errors) assertRetryable(error)
    const { worker, machines, reason, culprit } = await lost
    assert.deepEqual(culprit, { machine: 'a', error: errors[0] })
    assert.match(reason, /3/, 'the exit code is told')
    assert.deepEqual(machines, ['a'])
    await assertFresh(compute, worker)
  },
}

/** The compute has another worker, without machines, which works and can be lost as well. */
async function assertFresh(compute: Compute, lostWorker: string): Promise<void> {
  await refused(outcome(compute.apply('a', trainingStep(1))), 'compute.not-loaded', 'a machine of the lost worker')
  assert.equal((await compute.memory()).tensors, 0, 'tensors of the new worker')
  await compute.load('a', PLAIN, undefined)
  assert.equal(outputOf(await compute.apply('a', trainingStep(1))), (await oracle(PLAIN)).apply(trainingStep(1)))
  const lost = nextLoss(compute)
  compute.kill('once more')
  const second = await lost
  assert.notEqual(second.worker, lostWorker)
  assert.deepEqual(second.machines, ['a'])
}
