import { hasErrno, type FileSystem, type FolderEntry } from './file-system.js'
import { isKeySegment } from './object-key.js'
import type { ListedObject } from './object-store.js'

/*
 * How keys lie on disk. The key is the path, so that people find `runs/<run>/head` where they look for it. Two kinds of keys need
 * more, and get it from characters that no key has:
 *
 * - `a` where there is a folder `a/` (of the key `a/b`): the file is `a@`. Whoever makes the folder first copies a file out of its way. A power
 *   cut in between may leave both files: then `a` is the object.
 * - a segment of more than 200 characters, as file systems end at 255 bytes: `<200 characters>~/~<the rest>`. The rest starts with `~`
 *   since it could be `..`.
 *
 * On a file system that ignores case, keys that differ in case alone are one key.
 */

/** The suffix of a file whose name a folder has. */
export const DISPLACED = '@'

/** The part of a segment that one name holds. */
const MAX_NAME_LENGTH = 200

/** A folder on the way to a key's file. */
export interface KeyFolder {
  /** Below the root. */
  readonly path: string
  /** The key whose file may stand where the folder is to be; undefined where none can. */
  readonly displacedKey: string | undefined
}

/** The folders above the file of `key`, outermost first. */
export function keyFolders(key: string): KeyFolder[] {
  const folders: KeyFolder[] = []
  const names = keyNames(key)
  let displaced = ''
  for (const [i, name] of names.slice(0, -1).entries()) {
    displaced += name.replaceAll('~', '')
    const isPart = name.endsWith('~')
    folders.push({ path: names.slice(0, i + 1).join('/'), displacedKey: isPart ? undefined : displaced })
    if (!isPart) displaced += '/'
  }
  return folders
}

/** The path of the file of `key` below the root; if a folder is there, the file is at the same path with `DISPLACED` after it. */
export function keyPath(key: string): string {
  return keyNames(key).join('/')
}

function keyNames(key: string): string[] {
  return key.split('/').flatMap((segment) => {
    const parts = Math.ceil(segment.length / MAX_NAME_LENGTH)
    return Array.from({ length: parts }, (_, i) => {
      const part = segment.slice(i * MAX_NAME_LENGTH, (i + 1) * MAX_NAME_LENGTH)
      return `${i > 0 ? '~' : ''}${part}${i < parts - 1 ? '~' : ''}`
    })
  })
}

/**
 * Lists the files below `root` whose keys start with `prefix`, in ascending order of keys by UTF-16 code unit. One folder is read at a time, when the
 * listing gets there; what vanishes meanwhile is left out.
 */
export async function* listKeys(fs: FileSystem, root: string, prefix: string): AsyncGenerator<ListedObject> {
  const segments = prefix.split('/').slice(0, -1)
  if (!segments.every(isKeySegment)) return
  const path = segments.length > 0 ? `${root}/${keyPath(segments.join('/'))}` : root
  const base = segments.map((segment) => `${segment}/`).join('')
  yield* walk(fs, path, base, prefix)
}

async function* walk(fs: FileSystem, folder: string, base: string, prefix: string): AsyncGenerator<ListedObject> {
  const children = await childrenOf(fs, folder, base)
  let last: string | undefined
  for (const { key, path, isFolder } of children.sort(byKey)) {
    if (!key.startsWith(prefix) && !(isFolder && prefix.startsWith(key))) continue
    if (isFolder) {
      yield* walk(fs, path, key, prefix)
    } else if (key !== last) {
      const sizeBytes = await sizeOf(fs, path)
      if (sizeBytes === undefined) continue
      last = key
      yield { key, sizeBytes }
    }
  }
}

/** Of a file and its displaced copy the file comes first: it is the object. */
function byKey(a: Child, b: Child): number {
  if (a.key === b.key) return a.path < b.path ? -1 : 1
  return a.key < b.key ? -1 : 1
}

interface Child {
  /** Of a folder: with its slash, which puts it where its keys belong: after `a-` and `a.`, before `a0`. */
  readonly key: string
  readonly path: string
  readonly isFolder: boolean
}

async function childrenOf(fs: FileSystem, folder: string, base: string, isRest = false): Promise<Child[]> {
  const children: Child[] = []
  for (const { name, kind } of await entriesOf(fs, folder)) {
    const [, tilde = '', part = '', end = ''] = /^(~?)([A-Za-z0-9._-]+)([~@]?)$/.exec(name) ?? []
    if (part === '' || kind === 'other' || isRest !== (tilde === '~')) continue
    const path = `${folder}/${name}`
    const key = base + part
    if (kind === 'file' && end !== '~') children.push({ key, path, isFolder: false })
    else if (kind === 'folder' && end === '') children.push({ key: `${key}/`, path, isFolder: true })
    // The files of a long segment stand between those of its neighbours, so they are sorted with them.
    else if (kind === 'folder' && end === '~') children.push(...(await childrenOf(fs, path, key, true)))
  }
  return children
}

async function entriesOf(fs: FileSystem, folder: string): Promise<readonly FolderEntry[]> {
  try {
    return await fs.entries(folder)
  } catch (error) {
    if (isMissing(error)) return []
    throw error
  }
}

/** The size of the file at `path`, or of the same file displaced since the folder was read. */
async function sizeOf(fs: FileSystem, path: string): Promise<number | undefined> {
  for (const candidate of [path, path + DISPLACED]) {
    try {
      const { kind, sizeBytes } = await fs.stat(candidate)
      if (kind === 'file') return sizeBytes
    } catch (error) {
      if (!isMissing(error)) throw error
    }
  }
  return undefined
}

/** True if the error says that there is no file of that path. */
export function isMissing(error: unknown): boolean {
  return hasErrno(error, 'ENOENT', 'ENOTDIR', 'EISDIR')
}
