/** Files that people asked for: they are there when they are whole. */
import { open, rename, rm } from 'node:fs/promises'
import { toSwarmError } from './errors.js'

/** Writes a file beside `path`, then gives it that name: a failure leaves what was there. @throws `store.unavailable` with the path */
export async function writeWhole(
  path: string,
  fill: (write: (part: string | Uint8Array) => Promise<void>) => Promise<void>,
): Promise<void> {
  const temporary = `${path}.${process.pid}.partial`
  try {
    const file = await open(temporary, 'w')
    try {
      await fill((part) => file.appendFile(part))
      await file.sync()
    } finally {
      await file.close()
    }
    await rename(temporary, path)
  } catch (error) {
    await rm(temporary, { force: true })
    throw toSwarmError(error, 'store.unavailable', `cannot write ${path}`)
  }
}
