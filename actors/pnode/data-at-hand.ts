/** The data set that was read last: whoever sends its batches, or makes them again to audit the source, need not read all of it each time. */
import { type DataManifest, type Dataset, datasetFromShards, shardKey } from '../../components/datasets/index.js'
import type { Clock } from '../../runtime/clock.js'
import type { ObjectStore } from '../../runtime/object-store/object-store.js'

export interface DataAtHandOptions {
  readonly store: Pick<ObjectStore, 'get'>
  readonly clock: Pick<Clock, 'after'>
}

/** How long it is kept when nobody asks for it, in ms: longer than from one segment to the next, and not long after a run has ended. */
const KEPT_MS = 120_000

export class DataAtHand {
  readonly #options: DataAtHandOptions
  /** One: memory is the owner's. */
  #kept: { readonly sha256: string; readonly dataset: Dataset; readonly forget: () => void } | undefined

  constructor(options: DataAtHandOptions) {
    this.#options = options
  }

  /** @throws codes of the store, `dataset.damaged`, `manifest.version` */
  async get(manifest: DataManifest): Promise<Dataset> {
    const { sha256 } = manifest
    const isKept = this.#kept?.sha256 === sha256
    const dataset = isKept ? this.#kept!.dataset : await this.#read(manifest)
    this.forget()
    this.#kept = { sha256, dataset, forget: this.#options.clock.after(KEPT_MS, () => this.forget()) }
    return dataset
  }

  forget(): void {
    this.#kept?.forget()
    this.#kept = undefined
  }

  #read(manifest: DataManifest): Promise<Dataset> {
    return datasetFromShards(manifest, async (sha256) => (await this.#options.store.get(shardKey(sha256))).bytes)
  }
}
