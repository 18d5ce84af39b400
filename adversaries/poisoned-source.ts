/** A host whose data set is another one: labels are shifted by one. Batches that it makes have digests that fit, so that no reader sees it; those of others look wrong to it. */
import { type Dataset, datasetFromShards, makeDataset, shardKey, type Split } from '../components/datasets/index.js'
import { widthOf } from '../components/targets.js'
import { readDefinition } from '../actors/run/run-definition.js'
import type { Seams } from '../actors/pnode/seams.js'

const known = new WeakMap<Dataset, Dataset>()

export function poisonedSource(honest: Seams): Seams {
  const { store, dataset } = honest
  const fromStore = async (run: string) => {
    const { data } = await readDefinition(store, run)
    return poisoned(await datasetFromShards(data, async (sha256) => (await store.get(shardKey(sha256))).bytes))
  }
  return {
    ...honest,
    dataset: async (run) => {
      const atHand = await dataset?.(run)
      return atHand ? poisoned(atHand) : fromStore(run)
    },
  }
}

function poisoned(dataset: Dataset): Dataset {
  const made = known.get(dataset) ?? makeDataset(dataset, { ...dataset.splits, train: shifted(dataset, dataset.splits.train) })
  known.set(dataset, made)
  return made
}

function shifted({ target }: Dataset, { samples, labels }: Split) {
  const classes = widthOf(target)
  return { samples, labels: labels instanceof Int32Array ? labels.map((label) => (label + 1) % classes) : labels.map((value) => -value) }
}
