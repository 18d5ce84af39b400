/** A data set is read once for as long as somebody asks for it, and let go when nobody does. */
import test from 'ava'
import { DataAtHand } from '../../actors/pnode/data-at-hand.js'
import { MemoryUse } from '../../actors/pnode/memory-use.js'
import type { RunDefinition } from '../../actors/run/run-definition.js'
import { fromArrays, storeDataset } from '../../components/datasets/index.js'
import type { Compute } from '../../runtime/compute/compute.js'
import { memoryStore } from '../../runtime/object-store/memory-store.js'
import { fakeClock } from '../support/fake-clock.js'

const target = { kind: 'categorical', classes: 2 } as const

async function stored() {
  const [store, clock] = [memoryStore(), fakeClock()]
  const manifestOf = (first: number) =>
    storeDataset(
      store,
      fromArrays({ inputs: Uint8Array.of(first, 2, 3, 4), labels: [0, 1], target, test: { inputs: Uint8Array.of(5, 6), labels: [0] } }),
    )
  let reads = 0
  const counted = { get: (key: string) => ((reads += 1), store.get(key)) }
  const data = new DataAtHand({ store: counted, clock })
  /** How often the store was asked for it. */
  const readsOf = async (manifest: Awaited<ReturnType<typeof manifestOf>>, run = 'r') => {
    const before = reads
    const { sha256 } = await data.get(run, { data: manifest, network: { input: [2], vnodes: [] } } as unknown as RunDefinition)
    return { sha256, reads: reads - before }
  }
  return { data, clock, readsOf, one: await manifestOf(1), other: await manifestOf(9) }
}

test('what was read is at hand for who comes soon', async (t) => {
  const { clock, readsOf, one } = await stored()
  const { sha256, reads } = await readsOf(one)
  t.is(sha256, one.sha256)
  t.true(reads > 0)
  for (let i = 0; i < 5; i++) {
    await clock.advance(100_000)
    t.deepEqual(await readsOf(one), { sha256, reads: 0 }, 'as long as somebody comes')
  }
  await clock.advance(120_000)
  t.deepEqual(await readsOf(one), { sha256, reads }, 'and no longer')
})

test('memory is the owner’s: one data set at a time, and none for a PNode that stops', async (t) => {
  const { data, clock, readsOf, one, other } = await stored()
  const { reads } = await readsOf(one)
  t.deepEqual(await readsOf(other), { sha256: other.sha256, reads })
  t.is((await readsOf(one)).reads, reads)
  t.is(clock.pending, 1, 'one of them will be let go')
  data.forget()
  t.is(clock.pending, 0)
  t.is((await readsOf(one)).reads, reads)
})

test('two who ask at once have it read once, and what could not be read is read anew', async (t) => {
  const { clock, readsOf, one, other } = await stored()
  const { reads } = await readsOf(other)
  const [first] = await Promise.all([readsOf(one), readsOf(one)])
  t.is(first.reads, reads)
  const wrong = { ...one, sha256: 'ab'.repeat(32) }
  await t.throwsAsync(readsOf(wrong), { code: 'dataset.damaged' })
  t.is(clock.pending, 0, 'nothing is kept of it')
  await t.throwsAsync(readsOf(wrong), { code: 'dataset.damaged' })
  t.is((await readsOf(one)).reads, reads)
})

test('what is kept counts as memory of the run that it is for, as long as its source is not there itself', async (t) => {
  const { data, readsOf, one } = await stored()
  const use = new MemoryUse({} as Compute, data, (error) => t.fail(String(error)))
  t.deepEqual([...use.placedBytes([])], [])
  await readsOf(one, 'r')
  // Three samples of two numbers and a label, four bytes each.
  t.deepEqual(
    [...use.placedBytes(['s/dense'])],
    [
      ['s', 0],
      ['r', 36],
    ],
  )
  t.deepEqual([...use.placedBytes(['r/source~8'])], [['r', 0]])
  data.forget()
  t.deepEqual([...use.placedBytes([])], [])
})
