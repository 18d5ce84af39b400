import { constants } from 'node:fs'
import { lstat, mkdir, open, readdir, readlink, rename, stat, symlink, unlink } from 'node:fs/promises'

/** A new file that is being written. */
export interface WritableFile {
  /** Appends all of `bytes`. */
  write(bytes: Uint8Array): Promise<void>
  /** Makes all that was written durable: fsync on the very descriptor that wrote, since another one may miss a write error. */
  sync(): Promise<void>
  close(): Promise<void>
}

/** An entry of a folder. Links count as what they lead to. */
export interface FolderEntry {
  readonly name: string
  readonly kind: 'file' | 'folder' | 'other'
}

/**
 * The calls that `FileStore` and `file-lock` make, with the semantics and the error codes of POSIX.
 * A test hands in its own to fail any of them or to forget at a crash what was not synced.
 */
export interface FileSystem {
  /** Creates a file; EEXIST if there is one. */
  create(path: string): Promise<WritableFile>
  /** All bytes of a file in a buffer of its own; EISDIR for a folder. */
  read(path: string): Promise<Uint8Array>
  /** What is at `path`, links followed; ENOENT or ENOTDIR if nothing is. */
  stat(path: string): Promise<{ readonly kind: FolderEntry['kind']; readonly sizeBytes: number }>
  entries(folder: string): Promise<readonly FolderEntry[]>
  /** Creates one folder; EEXIST if there is anything. */
  makeFolder(path: string): Promise<void>
  /** Makes the names in a folder durable. */
  syncFolder(path: string): Promise<void>
  /** Atomically moves a file, over another one if there is one; EISDIR over a folder. */
  rename(from: string, to: string): Promise<void>
  /** Removes a file or a link; ENOENT if there is none. */
  remove(path: string): Promise<void>
  /** Creates a link that holds `text`; EEXIST if there is anything. Atomic: nobody sees a link without its text. */
  link(text: string, path: string): Promise<void>
  /** The text of a link; EINVAL if it is something else. */
  readLink(path: string): Promise<string>
}

/** The machine's own file system. */
export const nodeFileSystem: FileSystem = {
  async create(path) {
    const handle = await open(path, 'wx')
    return {
      write: async (bytes) => {
        for (let done = 0; done < bytes.length;) done += (await handle.write(bytes, done, bytes.length - done)).bytesWritten
      },
      sync: () => handle.sync(),
      close: () => handle.close(),
    }
  },

  async read(path) {
    const handle = await open(path, 'r')
    try {
      const bytes = new Uint8Array((await handle.stat()).size)
      for (let done = 0; done < bytes.length || done === 0;) {
        // A read of at least one byte, even of an empty file: it is what answers EISDIR.
        const { bytesRead } = await handle.read(bytes.length ? bytes : new Uint8Array(1), done, Math.max(1, bytes.length - done), null)
        if (bytesRead === 0) return done === bytes.length ? bytes : bytes.slice(0, done)
        done += bytesRead
      }
      return bytes
    } finally {
      await handle.close()
    }
  },

  async stat(path) {
    const found = await stat(path)
    return { kind: kindOf(found), sizeBytes: found.size }
  },

  async entries(folder) {
    const found = await readdir(folder, { withFileTypes: true })
    return Promise.all(
      found.map(async (entry): Promise<FolderEntry> => {
        if (!entry.isSymbolicLink()) return { name: entry.name, kind: kindOf(entry) }
        const target = await stat(`${folder}/${entry.name}`).catch(() => undefined)
        return { name: entry.name, kind: target ? kindOf(target) : 'other' }
      }),
    )
  },

  makeFolder: (path) => mkdir(path),

  async syncFolder(path) {
    // Windows has no such call: NTFS journals names itself.
    if (process.platform === 'win32') return
    const handle = await open(path, constants.O_RDONLY | constants.O_DIRECTORY)
    try {
      await handle.sync()
    } catch (error) {
      // Some network file systems cannot sync a folder and say so; that is no failed write.
      if (!hasErrno(error, 'EINVAL', 'ENOTSUP')) throw error
    } finally {
      await handle.close()
    }
  },

  rename: async (from, to) => {
    // POSIX: a file over a folder is EISDIR. Windows says EPERM, so it is asked first.
    if (process.platform === 'win32' && (await lstat(to).catch(() => undefined))?.isDirectory())
      throw Object.assign(new Error(`EISDIR: ${to}`), { code: 'EISDIR' })
    await rename(from, to)
  },
  remove: (path) => unlink(path),
  // A junction is the one kind of link that needs no privilege on Windows; elsewhere the type is ignored.
  link: (text, path) => symlink(text, path, 'junction'),
  readLink: (path) => readlink(path),
}

/** True if `error` is a system error with one of these codes (`ENOENT`, …). */
export function hasErrno(error: unknown, ...codes: string[]): boolean {
  return error instanceof Error && 'code' in error && codes.includes(String(error.code))
}

function kindOf(found: { isFile(): boolean; isDirectory(): boolean }): FolderEntry['kind'] {
  if (found.isDirectory()) return 'folder'
  return found.isFile() ? 'file' : 'other'
}
