/** The cases of the compute suite for what is not in every step: updates behind it, and what goes against the graph. */
import assert from 'node:assert/strict'
import type { Compute } from '../../runtime/compute/compute.js'
import { decodeFeedback } from '../../runtime/frame.js'
import { oracle, outcome, outputOf, hex, refinement, refused, resolved, stepWithFeedback, trainingStep } from './compute-fixtures.js'
import type { IntegerDefinition } from './integer-machines.js'

const PLAIN: IntegerDefinition = { seed: 7 }

/** One promise of a compute. */
export type Body = (compute: Compute) => Promise<void>

export const REFINEMENT_AND_FEEDBACK: Record<string, Body> = {
  async 'updates after a step are executed in the order made, behind the step and before what follows, each once'(compute) {
    const reference = await oracle(PLAIN)
    await compute.load('a', PLAIN, undefined)
    const pending = [1, 2].map((step) => {
      const applied = outcome(compute.apply('a', trainingStep(step)))
      const updates = [0, 1, 2].map((update) => outcome(compute.refine('a', refinement(step, update))))
      return { applied, updates, snapshot: outcome(compute.snapshot('a')) }
    })
    for (const [i, { applied, updates, snapshot }] of pending.entries()) {
      const step = i + 1
      assert.equal(outputOf(await resolved(applied, `step ${step}`)), reference.apply(trainingStep(step)), `output of step ${step}`)
      for (const [update, refined] of updates.entries()) {
        assert.ok((await resolved(refined, `update ${update} after step ${step}`)).busyMs >= 0)
        reference.refine(step, update)
      }
      assert.equal(hex(await resolved(snapshot, `snapshot ${step}`)), reference.snapshot(), `state after step ${step}`)
    }
  },

  async 'feedback goes in before the inputs, and out in a frame of its own, of the step that the machine names'(compute) {
    const reference = await oracle(PLAIN)
    await compute.load('a', PLAIN, undefined)
    for (const [step, given] of [
      [1, [7, -2]],
      [2, []],
      [3, [2 ** 31 - 1]],
    ] as const) {
      const request = stepWithFeedback(step, given)
      const result = await compute.apply('a', request)
      assert.equal(outputOf(result), reference.apply(request), `output of step ${step}`)
      assert.ok(result.feedback, `no feedback of step ${step}`)
      const { header, tensors } = decodeFeedback(result.feedback)
      assert.deepEqual(header, { ...request.feedbackHeader, step: given.length > 0 ? step - 1 : step }, `header of step ${step}`)
      assert.deepEqual(Object.keys(tensors), given.length > 0 ? ['state'] : [], `tensors of step ${step}`)
    }
    assert.equal(hex(await compute.snapshot('a')), reference.snapshot(), 'the state')
    assert.equal((await compute.apply('a', trainingStep(4))).feedback, undefined, 'feedback that nobody asked for')
  },

  async 'updates of a machine that is not loaded are refused by code'(compute) {
    await refused(outcome(compute.refine('nobody', refinement(1, 0))), 'compute.not-loaded', 'refine')
  },
}
