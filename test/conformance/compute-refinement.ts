/** The cases of the compute suite for updates behind a step. */
import assert from 'node:assert/strict'
import type { Compute } from '../../runtime/compute/compute.js'
import { oracle, outcome, outputOf, hex, refinement, refused, resolved, trainingStep } from './compute-fixtures.js'
import type { IntegerDefinition } from './integer-machines.js'

const PLAIN: IntegerDefinition = { seed: 7 }

/** One promise of a compute. */
export type Body = (compute: Compute) => Promise<void>

export const REFINEMENT: Record<string, Body> = {
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

  async 'updates of a machine that is not loaded are refused by code'(compute) {
    await refused(outcome(compute.refine('nobody', refinement(1, 0))), 'compute.not-loaded', 'refine')
  },
}
