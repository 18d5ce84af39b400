/** Stones that VNodes stumble over (`stumbling` of chained-block.ts): a worker stands still for a while, or for ever. */
import { randomUUID } from 'node:crypto'
import { link, rm, stat, writeFile } from 'node:fs/promises'
import { systemClock } from '../../runtime/clock.js'

/** Between two looks, in ms. */
const LOOK_MS = 20

/**
 * Lays a stone for one VNode, when no other lies there. Resolves with true when a VNode has stumbled over it; with false, the stone taken away
 * again, if nobody has when `signal` says so.
 * @param forMs how long it stands still; `Infinity`: until somebody ends its worker
 */
export async function layStone(stone: string, forMs: number, signal: AbortSignal): Promise<boolean> {
  const own = `${stone}-new-${randomUUID()}`
  await writeFile(own, String(forMs))
  try {
    while (!(await isLaid(own, stone))) {
      if (signal.aborted) return false
      await systemClock.sleep(LOOK_MS)
    }
  } finally {
    await rm(own)
  }
  while (await isThere(stone)) {
    if (signal.aborted) {
      await rm(stone, { force: true })
      return false
    }
    await systemClock.sleep(LOOK_MS)
  }
  return true
}

const isLaid = (own: string, stone: string): Promise<boolean> =>
  link(own, stone).then(
    () => true,
    (error: NodeJS.ErrnoException) => {
      if (error.code === 'EEXIST') return false
      throw error
    },
  )

const isThere = (path: string): Promise<boolean> =>
  stat(path).then(
    () => true,
    () => false,
  )
