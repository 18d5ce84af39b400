/** How far honest hosts of different compute classes are apart, as it was measured (class-differences.ts). */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { repository } from '../project/repository.js'

/** What `class-differences.json` has. */
export interface ClassDifferences {
  readonly v: 1
  /** What makes it anew. */
  readonly command: string
  /** Compute classes by the short names that pairs have. */
  readonly classes: { readonly [name: string]: string }
  /**
   * By pair, optimizer and steps of the segment, of networks, seeds and beginnings: the largest relative difference of a group of tensors (comparison.ts), the largest 1 − cosine
   * of one, and the relative difference of the mean loss.
   */
  readonly samples: { readonly [key: string]: readonly (readonly [relative: number, angle: number, loss: number])[] }
}

export async function readClassDifferences(): Promise<ClassDifferences> {
  return JSON.parse(await readFile(join(repository, 'test/support/class-differences.json'), 'utf8')) as ClassDifferences
}

/** All samples of a pair and an optimizer, whatever the segment. */
export function samplesOf({ samples }: ClassDifferences, pair: string, optimizer: 'adam' | 'sgd'): ClassDifferences['samples'][string] {
  return Object.entries(samples).flatMap(([key, all]) => (key.startsWith(`${pair}, ${optimizer},`) ? all : []))
}
