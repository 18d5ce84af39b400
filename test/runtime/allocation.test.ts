import process from 'node:process'
import test from 'ava'
import { largestAllocation, MAX_ALLOCATION_BYTES } from '../../runtime/compute/allocation.js'

const MIB = 2 ** 20
/** A machine with so much free memory, whoever takes some. */
const free = (bytes: number) => ({ available: () => bytes })

test('what was taken is given back when it returns, without waiting for the collector', (t) => {
  const before = process.memoryUsage.rss()
  t.is(largestAllocation({ limitBytes: 256 * MIB, ...free(1e12) }), 256 * MIB)
  t.true(process.memoryUsage.rss() - before < 64 * MIB, `${(process.memoryUsage.rss() - before) / MIB} MiB more`)
})

test('what is tried is bounded by the limit and by 512 MiB', (t) => {
  t.is(largestAllocation({ limitBytes: 50 * MIB, ...free(1e12) }), 50 * MIB)
  t.is(largestAllocation({ limitBytes: 1, ...free(1e12) }), 1)
  for (const limitBytes of [0, -1]) t.is(largestAllocation({ limitBytes, ...free(1e12) }), 0)
  t.is(MAX_ALLOCATION_BYTES, 512 * MIB)
})

test('half of what is free stays free, at every step', (t) => {
  const total = 400 * MIB
  const looks: number[] = []
  let taken = 0
  const available = () => {
    const left = total - taken
    looks.push(left)
    // It asks before each step of 32 MiB, and takes it if it may; the first 64 MiB are taken without a look.
    taken = looks.length === 1 ? 64 * MIB : taken + 32 * MIB
    return left
  }
  const most = largestAllocation({ available })
  t.is(most, 192 * MIB)
})

test('what a worker needs to start is tried on a machine that has nothing to spare, too', (t) => {
  t.is(largestAllocation({ limitBytes: 500 * MIB, ...free(0) }), 64 * MIB)
  t.is(largestAllocation({ limitBytes: 10 * MIB, ...free(0) }), 10 * MIB)
})
