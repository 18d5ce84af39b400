/** From the name of a data set to its samples. */
import { SwarmError } from '../../runtime/errors.js'
import type { DatasetSpec, Options } from '../define.js'
import { openCsv } from './csv.js'
import { checkTask } from './dataset.js'
import type { Dataset } from './dataset.js'
import { collectSamples } from './defined.js'
import { drawGlyphs } from './glyphs.js'
import { FASHION_MNIST, MNIST, openImages } from './images.js'
import type { FindOptions } from './published.js'
import { DATASET_NAMES } from './references.js'
import type { CsvOptions, DatasetReference, GlyphsOptions, Task, TextOptions } from './references.js'
import { openText, openTinyShakespeare } from './text.js'

export interface OpenDatasetOptions extends FindOptions {
  /** The definition that a reference with a `module` names, loaded by the caller, who decides whether its code may run. */
  readonly spec?: DatasetSpec<Options>
  /** The network's input and target. Samples of a definition have this shape; any other data set is checked against it. */
  readonly task?: Task
  /** Bytes of a download, or samples of a definition. */
  readonly onProgress?: (done: number, total: number) => void
}

/**
 * Opens a data set: finds, downloads, reads or draws its samples. What is open already is returned as it is.
 * @throws `dataset.missing`, `dataset.damaged`, `dataset.invalid`, `graph.unknown` (no such data set), `definition.threw`, `aborted`
 */
export async function openDataset(reference: DatasetReference | Dataset, options: OpenDatasetOptions = {}): Promise<Dataset> {
  if (options.signal?.aborted) throw new SwarmError('aborted', { what: 'opening a data set was aborted', cause: options.signal.reason })
  const dataset = 'splits' in reference ? reference : await openReference(reference, options)
  if (options.task) checkTask(dataset, options.task)
  return dataset
}

async function openReference(reference: DatasetReference, options: OpenDatasetOptions): Promise<Dataset> {
  const { name, module } = reference
  if (module !== undefined) {
    const { spec, task } = options
    if (!spec || !task)
      throw new SwarmError('usage', { what: `the data set '${name}' needs its loaded definition and the network's task`, where: module })
    return collectSamples(spec, reference.options, task, options)
  }
  switch (name) {
    case 'fashion-mnist':
      return openImages(FASHION_MNIST, options)
    case 'mnist':
      return openImages(MNIST, options)
    case 'glyphs': {
      const { train = 20_000, test = 2_000, seed = 0 } = reference.options as GlyphsOptions
      return drawGlyphs({ train, test, seed })
    }
    case 'csv':
      return openCsv(reference.options as unknown as CsvOptions & { readonly file: string }, options)
    case 'tiny-shakespeare':
      return openTinyShakespeare(reference.options, options)
    case 'text':
      return openText(reference.options as unknown as TextOptions & { readonly file: string }, options)
    default:
      throw new SwarmError('graph.unknown', { what: 'unknown data set', expected: `one of ${DATASET_NAMES.join(', ')}`, got: `'${name}'` })
  }
}
