/** Files of a data set as it was published: found on this machine, else downloaded. */
import { createHash } from 'node:crypto'
import { readFile, readdir, stat } from 'node:fs/promises'
import { basename, join, resolve } from 'node:path'
import envPaths from 'env-paths'
import { SwarmError, isSwarmError } from '../../runtime/errors.js'
import { downloadFile } from './download.js'
import type { RemoteFile } from './download.js'

export interface PublishedSet {
  readonly id: string
  /** Addresses that end in `/`, best first. */
  readonly origins: readonly string[]
  readonly files: readonly RemoteFile[]
  /** Other sets whose files have the same names. Absent: the names are so common that only a folder named after the set is searched. */
  readonly namesakes?: readonly string[]
}

export interface FindOptions {
  /** Where downloads are kept. Default: the user's data folder. */
  readonly cacheFolder?: string
  /** Default true; false: only look on this machine. */
  readonly download?: boolean
  readonly signal?: AbortSignal
  /** Called during a download, with bytes. */
  readonly onProgress?: (done: number, total: number) => void
}

/**
 * Paths of the files, in order: from `SWARMGRAD_DATA`, `./data`, `../shared/data` or the cache, else from the official address, by SHA-256.
 * @throws `dataset.missing` naming all the places, `dataset.damaged`, `aborted`
 */
export async function findPublished(set: PublishedSet, options: FindOptions = {}): Promise<string[]> {
  return (await findFiles(set, options)) ?? (await downloadFiles(set, options))
}

/** The folders in which a set may lie, best first. */
function placesOf({ id, namesakes }: PublishedSet, { cacheFolder }: FindOptions): string[] {
  const own = process.env.SWARMGRAD_DATA ? [resolve(process.env.SWARMGRAD_DATA)] : []
  const roots = [...own, resolve('data'), resolve('../shared/data')]
  // A folder that is named after another set is not searched.
  const isLoose = (root: string) => namesakes && !namesakes.includes(basename(root))
  const places = roots.flatMap((root) => [join(root, id), ...(isLoose(root) ? [root] : [])])
  return [...places, join(cacheFolderOf(cacheFolder), id)]
}

function cacheFolderOf(cacheFolder?: string): string {
  return resolve(cacheFolder ?? join(envPaths('swarmgrad', { suffix: '' }).data, 'datasets'))
}

async function findFiles(set: PublishedSet, options: FindOptions): Promise<string[] | undefined> {
  for (const place of placesOf(set, options)) {
    const present = new Set(await readdir(place).catch(() => [])) // a place that cannot be read has nothing
    const found = set.files.map(({ name }) => variantsOf(name).find((variant) => present.has(variant)))
    if (!found.every((name) => name !== undefined)) continue
    const paths = found.map((name) => join(place, name))
    // What has no structure of its own can be told from something else by its hash alone.
    if (!set.namesakes) await Promise.all(paths.map((path, i) => check(path, set.files[i], options.signal)))
    return paths
  }
  return undefined
}

async function check(path: string, { sizeBytes, sha256 }: RemoteFile, signal?: AbortSignal): Promise<void> {
  const bytes = await readFile(path, { signal })
  const got = createHash('sha256').update(bytes).digest('hex')
  if (got === sha256) return
  const [expected, fix] = [
    `${sizeBytes} bytes, SHA-256 ${sha256}`,
    'Replace it by the file as published, or open it under its own name with datasets.text',
  ]
  throw new SwarmError('dataset.damaged', {
    what: 'another file than the published one',
    where: path,
    expected,
    got: `${bytes.length} bytes, ${got}`,
    fix,
  })
}

/** Official names with and without `.gz`, and those with a dot before `idx` that some archives use. */
function variantsOf(name: string): string[] {
  const plain = name.replace(/\.gz$/, '')
  if (plain === name) return [name]
  return [plain, plain.replace('-idx', '.idx')].flatMap((variant) => [`${variant}.gz`, variant])
}

async function downloadFiles(set: PublishedSet, options: FindOptions): Promise<string[]> {
  const { download = true, signal, onProgress } = options
  if (!download) throw missing(set, options, 'downloads are off')
  const folder = join(cacheFolderOf(options.cacheFolder), set.id)
  const total = set.files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)
  const paths: string[] = []
  let before = 0
  for (const file of set.files) {
    const start = before
    before += file.sizeBytes
    const earlier = join(folder, file.name) // whole if it is there: kept by a download that was stopped between two files
    if ((await stat(earlier).catch(() => undefined))?.size === file.sizeBytes) {
      paths.push(earlier)
      continue
    }
    try {
      paths.push(await downloadFile(file, folder, set.origins, { signal, onBytes: (done) => onProgress?.(start + done, total) }))
    } catch (error) {
      if (isSwarmError(error, 'dataset.missing')) throw missing(set, options, error.message, error)
      throw error
    }
  }
  return paths
}

function missing(set: PublishedSet, options: FindOptions, why: string, cause?: SwarmError): SwarmError {
  const files = set.files.map(({ name }) => name).join(', ')
  return new SwarmError('dataset.missing', {
    what: `the data set '${set.id}' is not on this machine (looked in ${placesOf(set, options).join(', ')}) and was not downloaded (${why})`,
    fix: `Put ${files} into a folder '${set.id}' and set SWARMGRAD_DATA to the folder that holds it, or try again with a network`,
    retryable: cause?.retryable ?? false,
    cause,
  })
}
