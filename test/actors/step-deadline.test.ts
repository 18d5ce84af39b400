import test from 'ava'
import { StepDeadline } from '../../actors/pnode/step-deadline.js'

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
