/** Reports that no honest host sends. */
import test from 'ava'
import { isOddCommit, isOddCut, isOddEvaluation, isOddFailure } from '../../actors/run/odd-reports.js'
import { Timetable } from '../../runtime/timetable.js'

/** Two epochs of five steps, each with three evaluation batches behind it: steps are at 1 to 5 and 9 to 13. */
const timetable = new Timetable({ epochs: 2, stepsPerEpoch: 5, evaluationBatches: 3, finalBatches: 3 })
const reach = { timetable, manifest: { position: 3 }, maxAhead: 6 }

test('a cut is behind a step of the timetable, at its place, no further ahead than the source runs', (t) => {
  t.false(isOddCut({ step: 4, position: 4 }, reach))
  t.false(isOddCut({ step: 6, position: 9 }, reach))
  t.true(isOddCut({ step: 6, position: 6 }, reach))
  t.true(isOddCut({ step: 7, position: 10 }, reach), 'too far ahead')
  t.false(isOddCut({ step: 7, position: 10 }, { ...reach, maxAhead: Infinity }))
  t.true(isOddCut({ step: 11, position: timetable.positionOf(11) }, { ...reach, maxAhead: Infinity }), 'there is no such step')
  t.true(isOddCut({ step: 0, position: 0 }, reach))
})

test('a state of another compute class, or that cannot be compared though it has to be, is odd', (t) => {
  const commit = { step: 4, position: 4, computeClass: 'this' }
  t.false(isOddCommit(commit, reach, { computeClass: 'this', isReviewed: false }))
  t.false(isOddCommit(commit, reach, { computeClass: undefined, isReviewed: false }))
  t.true(isOddCommit(commit, reach, { computeClass: 'that', isReviewed: false }))
  t.true(isOddCommit(commit, reach, { computeClass: 'this', isReviewed: true }))
  t.false(isOddCommit({ ...commit, roots: { output: '', inputs: {} } }, reach, { computeClass: 'this', isReviewed: true }))
})

test('an evaluation is behind the last step of an epoch', (t) => {
  t.deepEqual(
    [4, 5, 6, 10, 15].map((step) => isOddEvaluation({ step }, reach, { isReviewed: false })),
    [true, false, true, false, true],
  )
  const roots = { output: '', inputs: {} }
  t.true(isOddEvaluation({ step: 5 }, reach, { isReviewed: true }), 'nobody can compare it')
  t.false(isOddEvaluation({ step: 5, position: 8, roots }, reach, { isReviewed: true }))
  t.true(isOddEvaluation({ step: 5, position: 7, roots }, reach, { isReviewed: true }), 'it is not over')
  t.true(isOddEvaluation({ step: 10, position: 16, roots }, reach, { isReviewed: true }), 'too far ahead')
})

test('a failure is at an entry of the timetable, behind the newest checkpoint and where somebody can be', (t) => {
  const at = (position: number, more: object = {}) => ({ entry: { ...timetable.at(position), ...more } })
  t.false(isOddFailure({}, reach))
  t.false(isOddFailure(at(4), reach))
  t.false(isOddFailure(at(7), reach), 'an evaluation')
  t.true(isOddFailure(at(3), reach), 'that is done')
  t.true(isOddFailure(at(10), reach), 'too far ahead')
  t.true(isOddFailure(at(4, { step: 5 }), reach))
  t.true(isOddFailure(at(7, { evaluation: 0 }), reach))
  t.true(isOddFailure(at(4, { position: 1e9 }), { ...reach, maxAhead: Infinity }))
})
