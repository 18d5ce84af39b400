/** Reports that no honest host sends. */
import test from 'ava'
import { areRootsOf, isOddClaim, isOddCommit, isOddCut, isOddEvaluation, isOddFailure } from '../../actors/run/odd-reports.js'
import { type NetworkDefinition, SOURCE } from '../../components/definition.js'
import { Timetable } from '../../runtime/timetable.js'

/** Two epochs of five steps, each with three evaluation batches behind it: steps are at 1 to 5 and 9 to 13. */
const timetable = new Timetable({ epochs: 2, stepsPerEpoch: 5, evaluationBatches: 3, finalBatches: 3 })
const network = {
  vnodes: [
    { id: 'a', inputs: [SOURCE], feedback: { from: ['b'], to: [] } },
    { id: 'b', inputs: ['a', SOURCE], feedback: { from: [], to: ['a'] } },
    { id: 'c', inputs: [SOURCE] },
  ],
} as unknown as NetworkDefinition
const roots = { output: '', inputs: { [SOURCE]: '' } }
const reach = { network, timetable, manifest: { position: 3 }, maxAhead: 6 }

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
  const commit = { vnode: 'c', step: 4, position: 4, computeClass: 'this' }
  t.false(isOddCommit(commit, reach, { computeClass: 'this', isReviewed: false }))
  t.false(isOddCommit(commit, reach, { computeClass: undefined, isReviewed: false }))
  t.true(isOddCommit(commit, reach, { computeClass: 'that', isReviewed: false }))
  t.true(isOddCommit(commit, reach, { computeClass: 'this', isReviewed: true }))
  t.false(isOddCommit({ ...commit, roots }, reach, { computeClass: 'this', isReviewed: true }))
})

test('roots are of all that a VNode reads and gives, and of nothing else: what has more in it could be compared with nobody', (t) => {
  const whole = {
    a: { output: '', inputs: { [SOURCE]: '' }, feedback: { b: '' } },
    b: { output: '', inputs: { [SOURCE]: '', a: '' }, given: '', due: '' },
    c: roots,
    [SOURCE]: { output: '', inputs: {} },
  }
  for (const [id, own] of Object.entries(whole)) {
    for (const name of [id, `${id}~1`]) {
      t.true(areRootsOf(network, name, own), name)
      t.false(areRootsOf(network, name, { ...own, inputs: { ...own.inputs, junk: '' } }))
      t.false(areRootsOf(network, name, { ...own, feedback: { junk: '' } }))
      t.false(areRootsOf(network, name, { ...own, given: 'given' in own ? undefined : '' }))
      t.false(areRootsOf(network, name, { ...own, due: 'due' in own ? undefined : '' }))
    }
    if (id !== SOURCE) t.false(areRootsOf(network, id, { ...own, inputs: {} }))
  }
  t.false(areRootsOf(network, 'a', { ...whole.a, feedback: undefined }))
  const commit = { vnode: 'c', step: 4, position: 4, computeClass: 'this', roots: { ...roots, feedback: { junk: '' } } }
  t.true(isOddCommit(commit, reach, { computeClass: 'this', isReviewed: true }))
  t.true(isOddClaim({ ...commit, term: 1, generation: 1, hash: '' }, reach))
  t.true(isOddEvaluation({ ...commit, step: 5, position: 8 }, reach, { isReviewed: true }))
})

test('an evaluation is behind the last step of an epoch', (t) => {
  t.deepEqual(
    [4, 5, 6, 10, 15].map((step) => isOddEvaluation({ vnode: 'c', step }, reach, { isReviewed: false })),
    [true, false, true, false, true],
  )
  t.true(isOddEvaluation({ vnode: 'c', step: 5 }, reach, { isReviewed: true }), 'nobody can compare it')
  t.false(isOddEvaluation({ vnode: 'c', step: 5, position: 8, roots }, reach, { isReviewed: true }))
  t.true(isOddEvaluation({ vnode: 'c', step: 5, position: 7, roots }, reach, { isReviewed: true }), 'it is not over')
  t.true(isOddEvaluation({ vnode: 'c', step: 10, position: 16, roots }, reach, { isReviewed: true }), 'too far ahead')
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
