/** Batches as the source sends them, and as whoever audits it makes them again. */
import test from 'ava'
import { Batches } from '../../actors/pnode/batches.js'
import type { RunDefinition } from '../../actors/run/run-definition.js'
import { fromArrays } from '../../components/datasets/index.js'
import { batchDigest } from '../../runtime/batch-digest.js'
import { decodeFrame, readFrame } from '../../runtime/frame.js'
import { batchEntryOf, receivedBatchEntryOf } from '../../runtime/edge-root.js'
import { isTraining } from '../../runtime/step-log.js'
import { Timetable } from '../../runtime/timetable.js'

const SAMPLES = 12
const TARGET = { kind: 'categorical', classes: 3 } as const
/** `small` are hashed together, `large` one by one. */
const SIDES = { small: 4, large: 16 } as const
const imagesOf = (count: number, side: number) => ({
  inputs: Uint8Array.from({ length: count * side * side }, (_, i) => (i * 37 + Math.floor(i / 256)) % 256),
  labels: Array.from({ length: count }, (_, i) => i % 3),
})
const datasetOf = (side: number) =>
  fromArrays({ ...imagesOf(SAMPLES, side), input: [side, side, 1], target: TARGET, test: imagesOf(5, side) })
const dataset = datasetOf(SIDES.small)
const TIMES = { epochs: 2, stepsPerEpoch: 4, evaluationBatches: 2, finalBatches: 2, drains: 2, epochDrains: 2 }
const GRANT = { run: 'r', generation: 1, term: 1 }

const definitionOf = (seed: number, augmentation?: object) =>
  ({
    network: { target: TARGET },
    training: { batchSize: 3, seed, augmentation },
    timetable: TIMES,
  }) as unknown as RunDefinition

const timetable = new Timetable(TIMES)
const entries = Array.from({ length: timetable.totalPositions }, (_, i) => timetable.at(i + 1))

for (const [size, side] of Object.entries(SIDES))
  for (const [what, augmentation] of Object.entries({ plain: undefined, augmented: { crop: 1, flip: true } })) {
    test(`${size}, ${what}: the frame of an entry is of its batch, and whoever reads it computes the same`, (t) => {
      const definition = definitionOf(1, augmentation)
      // The first auditor knows what the source knows, the other one nothing.
      const common = datasetOf(side)
      const source = new Batches(definition, common)
      const auditors = [new Batches(definition, common), new Batches(definition, datasetOf(side))]
      t.true(entries.some(({ evaluation }) => evaluation > 0))
      const seen = new Set<string>()
      for (const entry of entries) {
        const frame = source.frame(entry, GRANT)
        const { output, labels, batch } = decodeFrame(frame)
        t.is(batch, batchDigest(output, labels.bytes))
        for (const auditor of auditors) t.is(auditor.batch(entry).batch, batch)
        for (const auditor of auditors)
          t.deepEqual(batchEntryOf(auditor.batch(entry)), receivedBatchEntryOf(readFrame(frame)), `position ${entry.position}`)
        seen.add(batch)
      }
      t.true(seen.size > TIMES.epochs * TIMES.stepsPerEpoch)
    })
  }

test('a large sample is hashed once, in whatever batch it comes; what is augmented, or small, each time', (t) => {
  const first = entries.filter((entry) => isTraining(entry) && entry.step <= TIMES.stepsPerEpoch)
  const later = entries.filter((entry) => isTraining(entry) && entry.step > TIMES.stepsPerEpoch)
  const areHashedAgain = (side: number, augmentation?: object): boolean => {
    const changed = datasetOf(side)
    const batches = new Batches(definitionOf(1, augmentation), changed)
    for (const entry of first) batches.batch(entry)
    // Whoever looks once more sees this.
    changed.splits.train.samples.fill(0)
    const right = new Batches(definitionOf(1, augmentation), datasetOf(side))
    const same = later.filter((entry) => batches.batch(entry).batch === right.batch(entry).batch)
    t.true(same.length === 0 || same.length === later.length)
    return same.length === 0
  }
  t.deepEqual([areHashedAgain(SIDES.large), areHashedAgain(SIDES.large, { flip: true }), areHashedAgain(SIDES.small)], [false, true, true])
})

test('whoever makes batches of one data set for another seed or another epoch makes those that he would make alone', (t) => {
  const [one, other] = [new Batches(definitionOf(1), dataset), new Batches(definitionOf(2), dataset)]
  const digests = (batches: Batches, order: typeof entries) => new Map(order.map((entry) => [entry.position, batches.batch(entry).batch]))
  const [first, second] = [digests(one, entries), digests(other, entries)]
  t.notDeepEqual(first, second)
  for (const entry of entries.toReversed()) {
    t.is(one.batch(entry).batch, first.get(entry.position)!)
    t.is(other.batch(entry).batch, second.get(entry.position)!)
  }
  // Somebody who begins anew for each.
  for (const { position } of entries) {
    t.is(new Batches(definitionOf(2), dataset).batch(timetable.at(position)).batch, second.get(position)!)
    t.is(new Batches(definitionOf(1), dataset).batch(timetable.at(position)).batch, first.get(position)!)
  }
})
