/** Stones that VNodes stumble over (`stumbling` of chained-block.ts): a worker stands still for a while, or for ever. */
import { rename, rm, stat, writeFile } from 'node:fs/promises'
import { systemClock } from '../../runtime/clock.js'

/** Between two looks whether it still lies there, in ms. */
const LOOK_MS = 20

/** Lays the stone. Resolves with true when a VNode has stumbled over it; with false, the stone taken away again, if nobody has when `signal` says so. */
export async function layStone(stone: string, forMs: number, signal: AbortSignal): Promise<boolean> {
  await writeFile(`${stone}.new`, String(forMs))
  await rename(`${stone}.new`, stone)
  while (await isThere(stone)) {
    if (signal.aborted) {
      await rm(stone, { force: true })
      return false
    }
    await systemClock.sleep(LOOK_MS)
  }
  return true
}

const isThere = (path: string): Promise<boolean> =>
  stat(path).then(
    () => true,
    () => false,
  )
