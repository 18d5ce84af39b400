/** How much memory there really is: tried, and given back at once. */
import process from 'node:process'

/** Enough to know that nobody's layer will fail; more would be taken from others for the sake of a figure. */
export const MAX_ALLOCATION_BYTES = 512 * 2 ** 20
/** Between two looks at what is left for others. */
const STEP_BYTES = 32 * 2 ** 20
const PAGE_BYTES = 4096
/** Of the memory that is free now; the rest stays with whoever else is there. */
const SHARE = 0.5
/** Tried whatever is free: a worker takes as much to start, and a container counts its cache of files as taken. */
const LEAST_BYTES = 64 * 2 ** 20

/** What allocation is tried with; tests exchange it. */
export interface AllocationOptions {
  /** The owner's limit. Default and maximum: `MAX_ALLOCATION_BYTES`. */
  readonly limitBytes?: number
  /** Memory that this process could have now, in bytes. Default: as the operating system, or the limit of its container, says. */
  readonly available?: () => number
}

/**
 * The largest single block, in bytes, that can be had and written, within the limit and (beyond 64 MiB) within half of what is free: nothing is
 * taken that somebody else might need. Some tenths of a second for all of it; the pages go back to the system before it returns.
 */
export function largestAllocation({
  limitBytes = MAX_ALLOCATION_BYTES,
  available = () => process.availableMemory(),
}: AllocationOptions = {}): number {
  const keptFreeBytes = available() * (1 - SHARE)
  const mostBytes = Math.floor(Math.max(0, Math.min(limitBytes, MAX_ALLOCATION_BYTES)))
  let block: ResizableBlock
  try {
    block = resizable(mostBytes)
  } catch {
    // Not even the addresses for it: a smaller one, then.
    return mostBytes > STEP_BYTES ? largestAllocation({ limitBytes: mostBytes / 2, available }) : 0
  }
  try {
    while (block.byteLength < mostBytes) {
      const before = block.byteLength
      const next = Math.min(before + STEP_BYTES, mostBytes)
      if (next > LEAST_BYTES && available() - (next - before) < keptFreeBytes) break
      block.resize(next)
      // Only a page that was written is really there.
      const pages = new Uint8Array(block as unknown as ArrayBuffer, before, next - before)
      for (let at = 0; at < pages.length; at += PAGE_BYTES) pages[at] = 1
    }
    return block.byteLength
  } catch {
    return block.byteLength
  } finally {
    block.resize(0)
  }
}

/** ES2024, in Node since 20: a buffer whose pages can be given back without waiting for the collector. */
interface ResizableBlock {
  readonly byteLength: number
  /** @throws RangeError if there is no memory */
  resize(byteLength: number): void
}

const resizable = (maxByteLength: number): ResizableBlock =>
  new (ArrayBuffer as unknown as new (length: number, options: { maxByteLength: number }) => ResizableBlock)(0, { maxByteLength })
