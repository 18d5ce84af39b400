/** Small IDX files, made on the spot. */
import { createHash } from 'node:crypto'
import { rmSync } from 'node:fs'
import { mkdtemp, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import type { RemoteFile } from '../../components/datasets/download.js'
import type { ImageSet } from '../../components/datasets/images.js'

export const NAMES = [
  'train-images-idx3-ubyte.gz',
  'train-labels-idx1-ubyte.gz',
  't10k-images-idx3-ubyte.gz',
  't10k-labels-idx1-ubyte.gz',
] as const

/** An IDX file of bytes. */
export function idx(shape: readonly number[], content: (i: number) => number, magic = 0x0800 + shape.length): Buffer {
  const size = shape.reduce((a, b) => a * b, 1)
  const bytes = Buffer.alloc(4 + 4 * shape.length + size)
  bytes.writeUInt32BE(magic, 0)
  shape.forEach((n, i) => bytes.writeUInt32BE(n, 4 + 4 * i))
  for (let i = 0; i < size; i++) bytes[4 + 4 * shape.length + i] = content(i)
  return bytes
}

/** The four files of a data set of `train` + `test` images of 28×28, gzipped, by their official names. */
export function imageFiles(train = 6, test = 4): Map<string, Buffer> {
  const contents = [
    idx([train, 28, 28], (i) => i % 256),
    idx([train], (i) => i % 10),
    idx([test, 28, 28], (i) => (7 * i) % 256),
    idx([test], (i) => (i + 5) % 10),
  ]
  return new Map(NAMES.map((name, i) => [name, gzipSync(contents[i])]))
}

/** A set of images under a name of its own, so that no folder of this machine has it. */
export function imageSet(files: ReadonlyMap<string, Buffer>, origins: readonly string[] = []): ImageSet {
  const remote = (name: string): RemoteFile => {
    const bytes = files.get(name) ?? Buffer.alloc(0)
    return { name, sizeBytes: bytes.length, sha256: createHash('sha256').update(bytes).digest('hex') }
  }
  return {
    id: 'made-for-tests',
    sampleShape: [28, 28],
    normalisation: { mean: 0.5, deviation: 0.25 },
    classNames: ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9'],
    origins,
    files: [remote(NAMES[0]), remote(NAMES[1]), remote(NAMES[2]), remote(NAMES[3])],
  }
}

const folders: string[] = []
process.once('exit', () => folders.forEach((folder) => rmSync(folder, { recursive: true, force: true })))

/** A new folder, which is removed when the process ends. */
export async function temporaryFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'swarmgrad-data-'))
  folders.push(folder)
  return folder
}

export async function writeFiles(folder: string, files: ReadonlyMap<string, Uint8Array | string>): Promise<void> {
  for (const [name, bytes] of files) await writeFile(join(folder, name), bytes)
}
