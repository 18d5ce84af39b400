/** The IDX format of MNIST: magic, big-endian dimensions, bytes. */
import { readFile } from 'node:fs/promises'
import { promisify } from 'node:util'
import { gunzip } from 'node:zlib'
import { SwarmError, toSwarmError } from '../../runtime/errors.js'

const unzip = promisify(gunzip)

/** A tensor of bytes from an IDX file. */
export interface Idx {
  readonly shape: readonly number[]
  readonly bytes: Uint8Array
}

/** What a file is expected to hold. */
export interface IdxExpectation {
  /** The dimensions after the first one. */
  readonly sampleShape: readonly number[]
  /** Bytes are less than this. Default 256. */
  readonly below?: number
}

/** Unpacked files are held in memory; more than this is an attack or a mistake. */
const MAX_UNPACKED_BYTES = 2 ** 30
const GZIP_MAGIC = 0x1f8b
const UNSIGNED_BYTE = 0x08

/**
 * Reads an IDX file of bytes, plain or gzip (told by its content), and checks its structure.
 * @throws `dataset.damaged` naming the file, what was expected and what was found; `aborted`
 */
export async function readIdx(file: string, expectation: IdxExpectation, signal?: AbortSignal): Promise<Idx> {
  const stored = await readFile(file, { signal }).catch((error: unknown) => {
    if (signal?.aborted) throw new SwarmError('aborted', { what: 'reading a data set was aborted', where: file, cause: error })
    throw toSwarmError(error, 'dataset.damaged', 'cannot read a data file')
  })
  let bytes: Uint8Array = stored
  if (stored.length >= 2 && stored.readUInt16BE(0) === GZIP_MAGIC) {
    bytes = await unzip(stored, { maxOutputLength: MAX_UNPACKED_BYTES }).catch((error: Error) => {
      throw damaged(file, 'damaged gzip file', 'a whole gzip stream', `${stored.length} bytes: ${error.message}`, error)
    })
  }
  return parseIdx(file, bytes, expectation)
}

function parseIdx(file: string, bytes: Uint8Array, { sampleShape, below = 256 }: IdxExpectation): Idx {
  const rank = sampleShape.length + 1
  const start = 4 + 4 * rank
  if (bytes.length < start) throw damaged(file, 'the header is cut short', `${start} bytes or more`, `${bytes.length} bytes`)
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const magic = UNSIGNED_BYTE * 256 + rank
  if (view.getUint32(0) !== magic) throw damaged(file, 'wrong magic number', hex(magic), hex(view.getUint32(0)))
  const shape = Array.from({ length: rank }, (_, i) => view.getUint32(4 + 4 * i))
  if (shape[0] === 0) throw damaged(file, 'no samples', '1 or more', 0)
  if (shape.slice(1).join() !== sampleShape.join()) {
    throw damaged(file, 'samples of another size', sampleShape.join('×'), shape.slice(1).join('×'))
  }
  const size = shape.reduce((a, b) => a * b, 1)
  if (bytes.length !== start + size) throw damaged(file, 'wrong size', `${start + size} bytes`, `${bytes.length} bytes`)
  const content = bytes.subarray(start)
  const wrong = below < 256 ? content.findIndex((x) => x >= below) : -1
  if (wrong >= 0) throw damaged(file, `label ${wrong} is out of range`, `less than ${below}`, content[wrong])
  return { shape, bytes: content }
}

function damaged(file: string, what: string, expected: string | number, got: string | number, cause?: unknown): SwarmError {
  return new SwarmError('dataset.damaged', { what, where: file, expected, got, fix: 'Delete the file to have it fetched again', cause })
}

function hex(magic: number): string {
  return `0x${magic.toString(16).padStart(8, '0')}`
}
