import test from 'ava'
import { sharedBytes, weighed } from '../../runtime/shared-memory.js'
import { yieldTurn } from '../conformance/within.js'

const FRAME_BYTES = 1024 * 1024

/** The most memory that the process had while it made and dropped 2 GB of frames, of which the newest hundred are kept, in MB. */
async function peakOf(make: () => Uint8Array): Promise<number> {
  const kept: Uint8Array[] = []
  let peak = 0
  for (let i = 0; i < 2048; i++) {
    kept.push(make().fill(i))
    if (kept.length > 100) kept.shift()
    if (i % 16 > 0) continue
    peak = Math.max(peak, process.memoryUsage().rss)
    await yieldTurn()
  }
  return peak / 1e6
}

test('frames that are no longer needed are collected, though nothing else is', async (t) => {
  for (const make of [() => sharedBytes(FRAME_BYTES), () => weighed(new Uint8Array(new SharedArrayBuffer(FRAME_BYTES)))]) {
    const peak = await peakOf(make)
    t.true(peak < 1000, `${peak.toFixed(0)} MB`)
  }
})

test('what is not shared is V8’s own to count', (t) => {
  const bytes = Uint8Array.of(1, 2, 3)
  t.is(weighed(bytes), bytes)
})
