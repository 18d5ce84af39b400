import test from 'ava'
import * as fc from 'fast-check'
import { MARK } from '../../runtime/frame.js'
import { Timetable, type TimetableOptions } from '../../runtime/timetable.js'

const options: fc.Arbitrary<TimetableOptions> = fc.record({
  epochs: fc.integer({ min: 1, max: 6 }),
  stepsPerEpoch: fc.integer({ min: 1, max: 9 }),
  drains: fc.nat(3),
  epochDrains: fc.integer({ min: 3, max: 5 }),
  evaluationBatches: fc.nat(4),
  finalBatches: fc.nat(4),
})
const holds = (check: (timetable: Timetable, counts: TimetableOptions) => void) =>
  fc.assert(
    fc.property(options, (counts) => check(new Timetable(counts), counts)),
    { seed: 5, numRuns: 300 },
  )

test('a small run, entry by entry', (t) => {
  const timetable = new Timetable({ epochs: 2, stepsPerEpoch: 2, evaluationBatches: 1, finalBatches: 2 })
  const rows = Array.from({ length: timetable.totalPositions }, (_, i) => timetable.at(i + 1))
  t.deepEqual(
    rows.map(({ position, step, evaluation, marks }) => [position, step, evaluation, marks]),
    [
      [1, 1, 0, 0],
      [2, 2, 0, MARK.evaluate],
      [3, 2, 1, MARK.evaluate],
      [4, 3, 0, 0],
      [5, 4, 0, MARK.end | MARK.cut | MARK.evaluate],
      [6, 4, 1, 0],
      [7, 4, 2, MARK.evaluate],
    ],
  )
})

test('a small run with drains: what is asked for after a step stands on its last entry', (t) => {
  const timetable = new Timetable({ epochs: 1, stepsPerEpoch: 2, drains: 1, evaluationBatches: 0, finalBatches: 1 })
  const rows = Array.from({ length: timetable.totalPositions }, (_, i) => timetable.at(i + 1))
  t.deepEqual(
    rows.map(({ step, evaluation, marks }) => [step, evaluation, marks]),
    [
      [1, 0, 0],
      [1, 0, MARK.drain],
      [2, 0, 0],
      [2, 0, MARK.drain | MARK.end | MARK.cut | MARK.evaluate],
      [2, 1, MARK.evaluate],
    ],
  )
})

test('positionOf and at are inverse on training steps', (t) => {
  holds((timetable) => {
    for (let step = 1; step <= timetable.totalSteps; step++) {
      const entry = timetable.at(timetable.positionOf(step))
      t.deepEqual([entry.step, entry.evaluation, entry.position], [step, 0, timetable.positionOf(step)])
    }
    t.is(timetable.positionOf(0), 0)
  })
})

test('every position is a training step once, a drain behind it, or an evaluation batch after its step once, in order', (t) => {
  holds((timetable, { drains = 0, epochDrains = drains, stepsPerEpoch }) => {
    const after = (done: number) => (done > 0 && done % stepsPerEpoch === 0 ? epochDrains : drains)
    let [step, evaluation, drained] = [0, 0, drains]
    for (let position = 1; position <= timetable.totalPositions; position++) {
      const entry = timetable.at(position)
      const isTraining = drained === after(step) && evaluation === timetable.evaluationsAfter(step)
      if (drained < after(step)) drained++
      else [step, evaluation, drained] = isTraining ? [step + 1, 0, 0] : [step, evaluation + 1, drained]
      t.deepEqual([entry.position, entry.step, entry.evaluation], [position, step, evaluation])
      t.is((entry.marks & MARK.drain) !== 0, evaluation === 0 && drained > 0)
      t.is(timetable.endsStep(entry), evaluation === 0 && drained === after(step))
    }
    t.deepEqual([step, evaluation], [timetable.totalSteps, timetable.evaluationsAfter(timetable.totalSteps)])
  })
})

test('the last step alone ends the run and is a checkpoint', (t) => {
  holds((timetable, { finalBatches, evaluationBatches }) => {
    for (let position = 1; position <= timetable.totalPositions; position++) {
      const entry = timetable.at(position)
      const { step, evaluation, marks } = entry
      const isStepsEnd = timetable.endsStep(entry)
      const isLast = step === timetable.totalSteps && isStepsEnd
      t.is((marks & (MARK.end | MARK.cut)) !== 0, isLast)
      const batches = step === timetable.totalSteps ? finalBatches : evaluationBatches
      const isFollowed = timetable.evaluationsAfter(step) > 0 && (isStepsEnd || (evaluation > 0 && evaluation === batches))
      t.is((marks & MARK.evaluate) !== 0, isFollowed)
    }
  })
})

test('steps belong to epochs of equal length', (t) => {
  holds((timetable, { stepsPerEpoch, epochs }) => {
    for (let step = 1; step <= timetable.totalSteps; step++) t.is(timetable.epochOf(step), Math.floor((step - 1) / stepsPerEpoch) + 1)
    t.is(timetable.epochOf(timetable.totalSteps), epochs)
    t.is(timetable.epochOf(0), 1)
  })
})

test('there is nothing outside of the run', (t) => {
  holds((timetable) => {
    for (const position of [-1, 0, timetable.totalPositions + 1, Infinity]) t.throws(() => timetable.at(position), { code: 'internal' })
  })
})

test('a position that is no whole number is refused', (t) => {
  const timetable = new Timetable({ epochs: 1, stepsPerEpoch: 3, evaluationBatches: 0, finalBatches: 0 })
  for (const position of [1.5, Number.NaN]) t.throws(() => timetable.at(position), { code: 'internal' })
})
