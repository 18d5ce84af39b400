import { setImmediate } from 'node:timers/promises'
import type { FileSystem } from '../../runtime/object-store/file-system.js'

interface File {
  readonly kind: 'file'
  bytes: Uint8Array
  durable: Uint8Array
}
interface Folder {
  readonly kind: 'folder'
  names: Map<string, Inode>
  durable: Map<string, Inode>
}
interface Link {
  readonly kind: 'link'
  readonly text: string
}
type Inode = File | Folder | Link

/** A file system in memory whose power can be cut. */
export interface CrashingFileSystem extends FileSystem {
  /**
   * Cuts the power: every later call on this one fails with EIO. Returns what the next start finds: all that was synced, and of everything else what `keeps`
   * says each time it is asked: each name on its own, each file not at all, in half or whole. Links (locks) are gone, as after a
   * restart of the machine the processes that they name are.
   */
  crash(keeps: () => boolean): CrashingFileSystem
}

/** An empty file system. It forgets at a crash whatever POSIX lets it forget. @param turn how long a call takes: a turn of the event loop */
export function crashingFileSystem(turn: () => Promise<void> = setImmediate, root: Folder = newFolder()): CrashingFileSystem {
  let isOff = false

  async function tick(): Promise<void> {
    await turn()
    if (isOff) throw failure('EIO', 'the power is off')
  }

  function find(path: string): Inode {
    let inode: Inode = root
    for (const name of namesOf(path)) {
      if (inode.kind !== 'folder') throw failure('ENOTDIR', path)
      const next = inode.names.get(name)
      if (!next) throw failure('ENOENT', path)
      inode = next
    }
    return inode
  }

  function folderOf(path: string): { folder: Folder; name: string } {
    const names = namesOf(path)
    const folder = find(names.slice(0, -1).join('/'))
    if (folder.kind !== 'folder') throw failure('ENOTDIR', path)
    return { folder, name: names.at(-1) ?? '' }
  }

  function add(path: string, inode: Inode): void {
    const { folder, name } = folderOf(path)
    if (folder.names.has(name) || name === '') throw failure('EEXIST', path)
    folder.names.set(name, inode)
  }

  return {
    async create(path) {
      await tick()
      const file: File = { kind: 'file', bytes: new Uint8Array(0), durable: new Uint8Array(0) }
      add(path, file)
      return {
        async write(bytes) {
          await tick()
          file.bytes = Buffer.concat([file.bytes, bytes])
        },
        async sync() {
          await tick()
          file.durable = file.bytes
        },
        close: tick,
      }
    },
    async read(path) {
      await tick()
      const file = find(path)
      if (file.kind !== 'file') throw failure('EISDIR', path)
      return new Uint8Array(file.bytes)
    },
    async stat(path) {
      await tick()
      const inode = find(path)
      return { kind: kindOf(inode), sizeBytes: inode.kind === 'file' ? inode.bytes.length : 0 }
    },
    async entries(path) {
      await tick()
      const folder = find(path)
      if (folder.kind !== 'folder') throw failure('ENOTDIR', path)
      return [...folder.names].map(([name, inode]) => ({ name, kind: kindOf(inode) }))
    },
    async makeFolder(path) {
      await tick()
      add(path, newFolder())
    },
    async syncFolder(path) {
      await tick()
      const folder = find(path)
      if (folder.kind !== 'folder') throw failure('ENOTDIR', path)
      folder.durable = new Map(folder.names)
    },
    async rename(from, to) {
      await tick()
      const file = find(from)
      const [source, target] = [folderOf(from), folderOf(to)]
      if (target.folder.names.get(target.name)?.kind === 'folder') throw failure('EISDIR', to)
      target.folder.names.set(target.name, file)
      source.folder.names.delete(source.name)
    },
    async remove(path) {
      await tick()
      if (find(path).kind === 'folder') throw failure('EISDIR', path)
      const { folder, name } = folderOf(path)
      folder.names.delete(name)
    },
    async link(text, path) {
      await tick()
      add(path, { kind: 'link', text })
    },
    async readLink(path) {
      await tick()
      const link = find(path)
      if (link.kind !== 'link') throw failure('EINVAL', path)
      return link.text
    },
    crash(keeps) {
      isOff = true
      return crashingFileSystem(turn, surviving(root, keeps) as Folder)
    },
  }
}

function surviving(inode: Inode, keeps: () => boolean): Inode {
  if (inode.kind === 'link') return inode
  if (inode.kind === 'file') {
    const isSynced = inode.bytes === inode.durable
    const half = inode.bytes.slice(0, inode.bytes.length >> 1)
    const bytes = isSynced || keeps() ? inode.bytes : keeps() ? half : inode.durable
    return { kind: 'file', bytes, durable: bytes }
  }
  const names = new Map<string, Inode>()
  for (const name of new Set([...inode.names.keys(), ...inode.durable.keys()])) {
    const [now, synced] = [inode.names.get(name), inode.durable.get(name)]
    const kept = now === synced || keeps() ? now : synced
    if (kept && kept.kind !== 'link') names.set(name, surviving(kept, keeps))
  }
  return { kind: 'folder', names, durable: new Map(names) }
}

function newFolder(): Folder {
  return { kind: 'folder', names: new Map(), durable: new Map() }
}

function namesOf(path: string): string[] {
  return path.split('/').filter((name) => name !== '')
}

function kindOf(inode: Inode): 'file' | 'folder' | 'other' {
  return inode.kind === 'link' ? 'other' : inode.kind
}

function failure(code: string, path: string): Error {
  return Object.assign(new Error(`${code}: ${path}`), { code })
}
