/** How much of a disk a folder may take: code that is refused beyond it, logs that are cut. */
import { readdir, stat, truncate } from 'node:fs/promises'
import { join } from 'node:path'
import type { Clock } from './clock.js'
import { SwarmError, toSwarmError } from './errors.js'

interface FileSize {
  readonly path: string
  readonly sizeBytes: number
}

/** Logs grow by some kB a minute. */
const TRIM_EVERY_MS = 60_000

/** @param except a file that is about to be replaced @throws `host.disk` if `addedBytes` more are too many */
export async function assertRoom(
  folder: string,
  { addedBytes, maxBytes, except }: { readonly addedBytes: number; readonly maxBytes: number; readonly except?: string },
): Promise<void> {
  const files = (await filesIn(folder)).filter(({ path }) => path !== except)
  const wantedBytes = totalOf(files) + addedBytes
  if (wantedBytes <= maxBytes) return
  const fix = 'Raise --max-disk on that machine'
  throw new SwarmError('host.disk', {
    what: 'no room for more code',
    where: folder,
    expected: `at most ${maxBytes} bytes`,
    got: wantedBytes,
    fix,
  })
}

/**
 * Empties log files (`*.log`) below a folder, the largest first, until they have at most `maxBytes` together. Whoever writes them must append:
 * it goes on at the beginning.
 */
export async function trimLogs(folder: string, maxBytes: number): Promise<void> {
  const logs = (await filesIn(folder)).filter(({ path }) => path.endsWith('.log')).toSorted((a, b) => b.sizeBytes - a.sizeBytes)
  let restBytes = totalOf(logs)
  for (const { path, sizeBytes } of logs) {
    if (restBytes <= maxBytes) return
    await truncate(path)
    restBytes -= sizeBytes
  }
}

/** Trims now and every minute, until the returned function is called. */
export function keepLogsSmall(
  folder: string,
  maxBytes: number,
  { clock, onError }: { readonly clock: Clock; readonly onError: (error: SwarmError) => void },
): () => void {
  let cancel = () => {}
  const trim = () => {
    trimLogs(folder, maxBytes).catch((error: unknown) => onError(toSwarmError(error, 'host.disk', 'cannot trim logs')))
    cancel = clock.after(TRIM_EVERY_MS, trim)
  }
  trim()
  return () => cancel()
}

const totalOf = (files: readonly FileSize[]): number => files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)

async function filesIn(folder: string): Promise<FileSize[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true })
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name))
  const sizes = await Promise.all(
    files.map(async (path) => ({
      path,
      // Gone meanwhile: it takes no room.
      sizeBytes: await stat(path).then(
        ({ size }) => size,
        () => 0,
      ),
    })),
  )
  return sizes
}
