import { dirname } from 'node:path'
import { hasErrno, type FileSystem } from './file-system.js'

/** Makes a folder; false if something other than a folder is in its place. */
export async function makeIfMissing(fs: FileSystem, path: string): Promise<boolean> {
  try {
    await fs.makeFolder(path)
    return true
  } catch (error) {
    if (!hasErrno(error, 'EEXIST')) throw error
    return (await fs.stat(path)).kind === 'folder'
  }
}

/** Makes a folder and those above it. Returns the ones that were missing, outermost first; they are not synced. */
export async function makeFolders(fs: FileSystem, folder: string): Promise<string[]> {
  const missing: string[] = []
  for (let path = folder; ; path = dirname(path)) {
    try {
      await fs.makeFolder(path)
      missing.push(path)
      break
    } catch (error) {
      if (hasErrno(error, 'EEXIST')) break
      if (!hasErrno(error, 'ENOENT') || dirname(path) === path) throw error
      missing.push(path)
    }
  }
  for (const path of missing.toReversed()) await makeIfMissing(fs, path)
  return missing.toReversed()
}
