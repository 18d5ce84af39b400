/** Fashion-MNIST and MNIST: found on this machine, else downloaded. */
import { SwarmError } from '../../runtime/errors.js'
import { makeDataset } from './dataset.js'
import type { Dataset, Normalisation, SplitContent } from './dataset.js'
import type { RemoteFile } from './download.js'
import { readIdx } from './idx.js'
import { findPublished } from './published.js'
import type { FindOptions, PublishedSet } from './published.js'

/** A set of images as published: four files, in the order train images, train labels, test images, test labels. */
export interface ImageSet extends Omit<PublishedSet, 'namesakes'> {
  readonly sampleShape: readonly [height: number, width: number]
  readonly normalisation: Normalisation
  readonly classNames: readonly string[]
  readonly files: readonly [RemoteFile, RemoteFile, RemoteFile, RemoteFile]
}

/** Mean and deviation are those of the training pixels/255. */
export const FASHION_MNIST: ImageSet = {
  id: 'fashion-mnist',
  sampleShape: [28, 28],
  normalisation: { mean: 0.286, deviation: 0.353 },
  classNames: ['T-shirt/top', 'Trouser', 'Pullover', 'Dress', 'Coat', 'Sandal', 'Shirt', 'Sneaker', 'Bag', 'Ankle boot'],
  origins: [
    'http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/',
    'https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/',
  ],
  files: [
    remote('train-images-idx3-ubyte.gz', 26_421_880, '3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84'),
    remote('train-labels-idx1-ubyte.gz', 29_515, 'a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845'),
    remote('t10k-images-idx3-ubyte.gz', 4_422_102, '346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073'),
    remote('t10k-labels-idx1-ubyte.gz', 5_148, '67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5'),
  ],
}

/** The authors' own site no longer serves the files; these two mirrors are the ones that TensorFlow and PyTorch use. */
export const MNIST: ImageSet = {
  id: 'mnist',
  sampleShape: [28, 28],
  normalisation: { mean: 0.1307, deviation: 0.3081 },
  classNames: ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9'],
  origins: ['https://storage.googleapis.com/cvdf-datasets/mnist/', 'https://ossci-datasets.s3.amazonaws.com/mnist/'],
  files: [
    remote('train-images-idx3-ubyte.gz', 9_912_422, '440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609'),
    remote('train-labels-idx1-ubyte.gz', 28_881, '3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c'),
    remote('t10k-images-idx3-ubyte.gz', 1_648_877, '8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6'),
    remote('t10k-labels-idx1-ubyte.gz', 4_542, 'f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6'),
  ],
}

/**
 * Opens a set of images: from `SWARMGRAD_DATA`, `./data`, `../shared/data` or the cache, else from its official address.
 * Local files are checked by their structure; downloads by their SHA-256 too.
 * @throws `dataset.missing` naming all the places, `dataset.damaged`, `aborted`
 */
export async function openImages(set: ImageSet, options: FindOptions = {}): Promise<Dataset> {
  const namesakes = [FASHION_MNIST.id, MNIST.id].filter((id) => id !== set.id)
  const files = await findPublished({ ...set, namesakes }, options)
  const read = async (images: string, labels: string): Promise<SplitContent> => {
    const samples = await readIdx(images, { sampleShape: set.sampleShape }, options.signal)
    const classes = await readIdx(labels, { sampleShape: [], below: set.classNames.length }, options.signal)
    if (samples.shape[0] !== classes.shape[0]) {
      throw new SwarmError('dataset.damaged', {
        what: 'not one label for each image',
        where: `${images}, ${labels}`,
        expected: `${samples.shape[0]} labels`,
        got: classes.shape[0],
      })
    }
    return { samples: samples.bytes, labels: Int32Array.from(classes.bytes) }
  }
  const { id, sampleShape, normalisation, classNames } = set
  return makeDataset(
    { id, input: [...sampleShape, 1], target: { kind: 'categorical', classes: classNames.length }, normalisation, classNames },
    { train: await read(files[0], files[1]), test: await read(files[2], files[3]) },
  )
}

function remote(name: string, sizeBytes: number, sha256: string): RemoteFile {
  return { name, sizeBytes, sha256 }
}
