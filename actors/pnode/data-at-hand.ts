/** The data set that was read last: whoever sends its batches, or makes them again to audit the source, need not read all of it each time. */
import { type Dataset, datasetFromShards, shardKey } from '../../components/datasets/index.js'
import type { Clock } from '../../runtime/clock.js'
import type { ObjectStore } from '../../runtime/object-store/object-store.js'
import { demandOfSource } from '../placement/assignment.js'
import type { RunDefinition } from '../run/run-definition.js'

export interface DataAtHandOptions {
  readonly store: Pick<ObjectStore, 'get'>
  readonly clock: Pick<Clock, 'after'>
}

/** How long it is kept when nobody asks for it, in ms: longer than from one segment to the next, and not long after a run has ended. */
const KEPT_MS = 120_000

interface Kept {
  readonly sha256: string
  readonly dataset: Promise<Dataset>
  /** Who has asked for it last, and what placement thinks that it needs, in bytes. */
  readonly run: string
  readonly memoryBytes: number
  readonly cancel: () => void
}

export class DataAtHand {
  readonly #options: DataAtHandOptions
  /** One: memory is the owner's. */
  #kept: Kept | undefined

  constructor(options: DataAtHandOptions) {
    this.#options = options
  }

  /** What is kept, for whoever counts memory. */
  get kept(): Pick<Kept, 'run' | 'memoryBytes'> | undefined {
    return this.#kept
  }

  /** @throws codes of the store, `dataset.damaged`, `manifest.version` */
  async get(run: string, definition: RunDefinition): Promise<Dataset> {
    const { sha256 } = definition.data
    const dataset = this.#kept?.sha256 === sha256 ? this.#kept.dataset : this.#read(definition)
    this.forget()
    const { memoryBytes } = demandOfSource(definition)
    const kept = { sha256, dataset, run, memoryBytes, cancel: this.#options.clock.after(KEPT_MS, () => this.forget()) }
    this.#kept = kept
    try {
      return await dataset
    } catch (error) {
      if (this.#kept === kept) this.forget()
      throw error
    }
  }

  forget(): void {
    this.#kept?.cancel()
    this.#kept = undefined
  }

  #read({ data }: RunDefinition): Promise<Dataset> {
    return datasetFromShards(data, async (sha256) => (await this.#options.store.get(shardKey(sha256))).bytes)
  }
}
