/**
 * A host that computes what is right and floods whoever reads it: each frame again and again, and with it junk on the subjects that it may use: damaged ones, those of an
 * older term, beyond every credit, and oversized ones. Its line is not endless, so that a run beside it ends: what is beyond that it does not send.
 */
import { crc32 } from 'node:zlib'
import { underTerm } from '../runtime/frame.js'
import { decodeSignal, encodeSignal } from '../runtime/signal.js'
import type { TensorBus } from '../runtime/tensor-bus/tensor-bus.js'
import type { Seams } from '../actors/pnode/seams.js'

/** How often each frame goes out besides the one time that is right. */
const TIMES = 200
/** Its line: so many bytes in a second, and as many at once. */
const BYTES_PER_SECOND = 8e6
/** Bytes of what is no message at all, and how seldom that comes, in messages. */
const [OVERSIZED_BYTES, OVERSIZED_EVERY] = [1 << 20, 50]
/** How far beyond its place. */
const BEYOND = 1_000

export function flooder(honest: Seams): Seams {
  const { bus, clock } = honest
  const oversized = new Uint8Array(OVERSIZED_BYTES)
  let [leftBytes, sinceMs, count] = [BYTES_PER_SECOND, clock.now(), 0]

  /** If the line has room for it. */
  const spill = (subject: string, bytes: Uint8Array) => {
    const nowMs = clock.now()
    leftBytes = Math.min(BYTES_PER_SECOND, leftBytes + ((nowMs - sinceMs) / 1_000) * BYTES_PER_SECOND)
    sinceMs = nowMs
    if (bytes.byteLength > leftBytes) return
    leftBytes -= bytes.byteLength
    bus.publish(subject, bytes)
  }

  const publish: TensorBus['publish'] = (subject, bytes) => {
    bus.publish(subject, bytes)
    const isFrame = subject.endsWith('.frame')
    if (count++ % OVERSIZED_EVERY === 0) spill(subject, oversized)
    spill(subject, damaged(bytes))
    spill(subject, isFrame ? underTerm(bytes, termOf(bytes) - 1) : ofOlderTerm(bytes))
    if (!isFrame) return
    spill(subject, beyond(bytes))
    for (let i = 0; i < TIMES; i++) spill(subject, bytes)
  }
  const flooding: TensorBus = {
    publish,
    subscribe: (subject, options) => bus.subscribe(subject, options),
    flush: (signal) => bus.flush(signal),
    drain: (signal) => bus.drain(signal),
    close: () => bus.close(),
    closed: bus.closed,
  }
  return { ...honest, bus: flooding }
}

const viewOf = (bytes: Uint8Array) => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
const termOf = (frame: Uint8Array): number => viewOf(frame).getUint32(12, true)

/** Its last byte is another one. */
function damaged(bytes: Uint8Array): Uint8Array {
  const copy = bytes.slice()
  copy[copy.length - 1] ^= 1
  return copy
}

function ofOlderTerm(bytes: Uint8Array): Uint8Array {
  const signal = decodeSignal(bytes)
  return encodeSignal({ ...signal, term: Math.max(0, signal.term - 1) })
}

/** Whole, and for a place far ahead of its own. */
function beyond(frame: Uint8Array): Uint8Array {
  const copy = frame.slice()
  const view = viewOf(copy)
  for (const offset of [16, 24]) view.setBigUint64(offset, view.getBigUint64(offset, true) + BigInt(BEYOND), true)
  view.setUint32(52, crc32(copy.subarray(0, 52)), true)
  return copy
}
