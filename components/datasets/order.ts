/** Which sample comes when: a function of (seed, epoch, size) alone, so that the source can make any batch again. */
import { SwarmError } from '../../runtime/errors.js'
import { RandomStream } from '../../runtime/random.js'
import { describe, makeDataset } from './dataset.js'
import type { Dataset, Split, SplitContent } from './dataset.js'

/** The order in which an epoch visits the samples: a permutation of 0 … size−1. Epochs count from 0. */
export function epochOrder(seed: number, epoch: number, size: number): Uint32Array {
  return new RandomStream(seed, 'order', epoch).permutation(size)
}

/** How many batches an epoch has. The last, smaller one is kept, as PyTorch and Keras do by default. */
export function batchesPerEpoch(size: number, batchSize: number): number {
  return Math.ceil(size / batchSize)
}

/** The samples of batch number `batch` (from 0) of an epoch: a view into `order`; empty past the last batch. */
export function batchIndices(order: Uint32Array, batch: number, batchSize: number): Uint32Array {
  return order.subarray(batch * batchSize, (batch + 1) * batchSize)
}

/**
 * The data set with a part of its training samples set apart as `validation`: the last part of a seeded permutation.
 * Both parts keep the samples' order. Another seed, another part.
 * @param fraction of the training samples, in (0, 1); at least one sample goes to either part
 * @throws `dataset.invalid`
 */
export function splitValidation(dataset: Dataset, fraction: number, seed: number): Dataset {
  const { train, test } = dataset.splits
  const parts = splitFraction(train.size, fraction, seed, 'validation', dataset.id)
  return makeDataset(describe(dataset), {
    train: selectSamples(train, parts.rest),
    validation: selectSamples(train, parts.part),
    ...(test && { test }),
  })
}

/** Two ascending lists of indices that together are 0 … size−1. @throws `dataset.invalid` */
export function splitFraction(
  size: number,
  fraction: number,
  seed: number,
  label: string,
  id: string,
): { rest: Uint32Array; part: Uint32Array } {
  if (!(fraction > 0 && fraction < 1) || size < 2) {
    throw new SwarmError('dataset.invalid', {
      what: `cannot set a part of ${size} samples apart for ${label}`,
      where: id,
      expected: 'a fraction between 0 and 1, of two samples or more',
      got: fraction,
    })
  }
  const count = Math.min(size - 1, Math.max(1, Math.floor(fraction * size)))
  const order = new RandomStream(seed, label).permutation(size)
  return { rest: order.slice(0, size - count).sort(), part: order.slice(size - count).sort() }
}

/** A copy of the samples at `indices`, not normalised. */
export function selectSamples(content: Pick<Split, 'samples' | 'labels' | 'sampleSize' | 'labelSize'>, indices: Uint32Array): SplitContent {
  const { samples, labels, sampleSize, labelSize } = content
  const pickedSamples =
    samples instanceof Uint8Array ? new Uint8Array(indices.length * sampleSize) : new Float32Array(indices.length * sampleSize)
  const pickedLabels = labels instanceof Int32Array ? new Int32Array(indices.length) : new Float32Array(indices.length * labelSize)
  indices.forEach((index, row) => {
    pickedSamples.set(samples.subarray(index * sampleSize, (index + 1) * sampleSize), row * sampleSize)
    pickedLabels.set(labels.subarray(index * labelSize, (index + 1) * labelSize), row * labelSize)
  })
  return { samples: pickedSamples, labels: pickedLabels }
}
