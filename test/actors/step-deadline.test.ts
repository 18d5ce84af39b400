import test from 'ava'
import { StepDeadline } from '../../actors/pnode/step-deadline.js'
import { MARK } from '../../runtime/frame.js'

test('the first step has the time of any; after it thirty times the longest, and never less than ten seconds', (t) => {
  const deadline = new StepDeadline()
  t.is(deadline.ms, undefined)
  deadline.took(4)
  t.is(deadline.ms, 10_000)
  deadline.took(2_000)
  t.is(deadline.ms, 60_000)
  deadline.took(1)
  t.is(deadline.ms, 60_000)
  // Heavy work has more than the compute's own deadline.
  deadline.took(90_000)
  t.is(deadline.ms, 2_700_000)
})

test('what is learnt in drains counts with the next batch, what is evaluated by itself', (t) => {
  const times = new StepDeadline()
  const entry = (evaluation: number, marks = 0) => ({ position: 1, step: 1, evaluation, marks })
  const [batch, drain, evaluation] = [entry(0), entry(0, MARK.drain), entry(1)]
  t.deepEqual(
    [batch, drain, drain, evaluation, batch, batch].map((each) => times.ofStep(each, 2)),
    [2, 2, 4, 2, 6, 2],
  )
})
