/** Batches as the source sends them, and as whoever audits it makes them again. */
import test from 'ava'
import { Batches } from '../../actors/pnode/batches.js'
import type { RunDefinition } from '../../actors/run/run-definition.js'
import { fromArrays } from '../../components/datasets/index.js'
import { batchDigest, readFrame } from '../../runtime/frame.js'
import { batchEntryOf } from '../../runtime/edge-root.js'
import { Timetable } from '../../runtime/timetable.js'

const SAMPLES = 12
const TARGET = { kind: 'categorical', classes: 3 } as const
const imagesOf = (count: number) => ({
  inputs: Uint8Array.from({ length: count * 16 }, (_, i) => (i * 37) % 256),
  labels: Array.from({ length: count }, (_, i) => i % 3),
})
const dataset = fromArrays({ ...imagesOf(SAMPLES), input: [4, 4, 1], target: TARGET, test: imagesOf(5) })
const TIMES = { epochs: 2, stepsPerEpoch: 4, evaluationBatches: 2, finalBatches: 2, drains: 2, epochDrains: 2 }
const GRANT = { run: 'r', generation: 1, term: 1 }

const definitionOf = (seed: number, augmentation?: object) =>
  ({
    network: { input: [4, 4, 1], target: TARGET },
    training: { batchSize: 3, seed, augmentation },
    timetable: TIMES,
  }) as unknown as RunDefinition

const timetable = new Timetable(TIMES)
const entries = Array.from({ length: timetable.totalPositions }, (_, i) => timetable.at(i + 1))

for (const [what, augmentation] of Object.entries({ plain: undefined, augmented: { crop: 1, flip: true } })) {
  test(`${what}: the frame of an entry is of its batch, and whoever reads it computes the same`, (t) => {
    const definition = definitionOf(1, augmentation)
    const [source, auditor] = [new Batches(definition, dataset), new Batches(definition, dataset)]
    t.true(entries.some(({ evaluation }) => evaluation > 0))
    const seen = new Set<string>()
    for (const entry of entries) {
      const frame = source.frame(entry, GRANT)
      const batch = auditor.batch(entry)
      const [output, labels] = batch.tensors.map(([, { bytes }]) => bytes)
      t.is(batch.batch, batchDigest(output, labels))
      t.deepEqual(batchEntryOf(batch, batch.batch), batchEntryOf(readFrame(frame)), `position ${entry.position}`)
      seen.add(batch.batch)
    }
    t.true(seen.size > TIMES.epochs * TIMES.stepsPerEpoch)
  })
}

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
