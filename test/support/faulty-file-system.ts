import type { FileSystem, WritableFile } from '../../runtime/object-store/file-system.js'

/** The name of a call of a file system, `write`, `sync` and `close` being those of a file. */
export type FileCall = keyof FileSystem | keyof WritableFile

/**
 * The file system `inner`, whose calls fail with the code (`ENOSPC`, …) that `fault` returns for them before they do anything.
 * `fault` is asked once per call, in order.
 */
export function faultyFileSystem(inner: FileSystem, fault: (call: FileCall, path: string) => string | undefined): FileSystem {
  const guarded =
    <A extends unknown[], T>(call: FileCall, name: string | undefined, work: (...args: A) => Promise<T>) =>
    async (...args: A): Promise<T> => {
      const path = name ?? String(args[call === 'link' ? 1 : 0])
      const code = fault(call, path)
      if (code !== undefined) throw Object.assign(new Error(`${code}: injected, ${call} '${path}'`), { code })
      return work(...args)
    }
  return {
    create: guarded('create', undefined, async (path: string) => {
      const file = await inner.create(path)
      return {
        write: guarded('write', path, (bytes: Uint8Array) => file.write(bytes)),
        sync: guarded('sync', path, () => file.sync()),
        // A close that fails has closed all the same.
        close: async () => {
          await file.close()
          await guarded('close', path, async () => {})()
        },
      }
    }),
    read: guarded('read', undefined, (path: string) => inner.read(path)),
    stat: guarded('stat', undefined, (path: string) => inner.stat(path)),
    entries: guarded('entries', undefined, (folder: string) => inner.entries(folder)),
    makeFolder: guarded('makeFolder', undefined, (path: string) => inner.makeFolder(path)),
    syncFolder: guarded('syncFolder', undefined, (path: string) => inner.syncFolder(path)),
    rename: guarded('rename', undefined, (from: string, to: string) => inner.rename(from, to)),
    remove: guarded('remove', undefined, (path: string) => inner.remove(path)),
    link: guarded('link', undefined, (text: string, path: string) => inner.link(text, path)),
    readLink: guarded('readLink', undefined, (path: string) => inner.readLink(path)),
  }
}
