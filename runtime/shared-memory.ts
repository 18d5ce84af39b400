/**
 * Frames lie in shared memory, for compute threads to read. V8 counts none of it towards what makes it collect garbage: a process that makes
 * little other garbage would keep gigabytes of frames that nobody needs. So each frame is tied to memory that is counted.
 */

/** From here on a message is a tensor, not a signal: it is put into shared memory, so that compute threads read it without another copy. */
export const SHARED_FROM_BYTES = 64 * 1024

/** One byte is counted for so many that are shared: full collections get seldom, and 256 MB of old frames are the most that waits for one. */
const SHARED_PER_COUNTED = 4

const weights = new WeakMap<Uint8Array, ArrayBuffer>()

/** New shared memory, zeroed; its weight goes when the view does. */
export function sharedBytes(byteLength: number): Uint8Array<SharedArrayBuffer> {
  return weighed(new Uint8Array(new SharedArrayBuffer(byteLength)))
}

/** Counts shared memory that another thread made: to each thread its own view. Returns the view. */
export function weighed<Bytes extends Uint8Array>(bytes: Bytes): Bytes {
  if (bytes.buffer instanceof SharedArrayBuffer) weights.set(bytes, new ArrayBuffer(Math.ceil(bytes.byteLength / SHARED_PER_COUNTED)))
  return bytes
}
