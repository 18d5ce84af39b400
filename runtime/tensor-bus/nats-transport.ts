/**
 * The socket of nats.js, with every large message in one piece and in shared memory. Its parser would put such a message together in buffers
 * that it grows as chunks come, 1.6 MB of garbage for 0.5 MB, and each 64 MB of garbage costs a PNode a full collection.
 */
// Not exported by name: this is why the version in package.json is exact.
import { NodeTransport } from '@nats-io/transport-node/lib/node_transport.js'
import { SHARED_FROM_BYTES } from '../shared-memory.js'

/** What the broker calls larger is not collected here, and refused by nats.js. */
const MAX_COLLECTED_BYTES = 64 * 1024 * 1024
/** No line of the protocol is longer; what is, is no line. */
const MAX_LINE_BYTES = 1024 * 1024
/** Tensors are read where they lie. */
const ALIGNMENT = 64
const LINE_END = 10
const CRLF_BYTES = 2
/** `MSG <subject> <sid> [reply] <size>` and `HMSG <subject> <sid> [reply] <header size> <size>`: with which letter a line begins that a body follows. */
const BODY_FOLLOWS = new Set(['M', 'H'].map((letter) => letter.charCodeAt(0)))

export class WholeMessageTransport extends NodeTransport {
  override async *[Symbol.asyncIterator](): AsyncIterableIterator<Uint8Array> {
    const messages = new WholeMessages()
    for await (const chunk of super[Symbol.asyncIterator]()) yield* messages.take(chunk)
  }
}

/** Cuts the same bytes anew: a large message comes as one chunk, its body at a multiple of 64 bytes in a SharedArrayBuffer. */
export class WholeMessages {
  /** The large message that is being collected, from its line to its end. */
  #large: Uint8Array | undefined
  #filledBytes = 0
  /** Bytes of a small message that are still to come. */
  #passingBytes = 0
  /** A line without its end, which the last chunk did not bring. */
  #line: Uint8Array = new Uint8Array(0)

  /** Takes the next bytes; returns views into them and messages of its own, in order. */
  take(chunk: Uint8Array): Uint8Array[] {
    const whole: Uint8Array[] = []
    /** Up to where this chunk has been looked at, and handed on. */
    let at = 0
    let sent = 0
    while (at < chunk.byteLength) {
      if (this.#large) {
        at += this.#collect(this.#large, chunk.subarray(at))
        sent = at
        if (this.#filledBytes < this.#large.byteLength) continue
        whole.push(this.#large)
        this.#large = undefined
      } else if (this.#passingBytes > 0) {
        const passed = Math.min(this.#passingBytes, chunk.byteLength - at)
        this.#passingBytes -= passed
        at += passed
      } else {
        const end = chunk.indexOf(LINE_END, at) + 1
        const isCut = this.#line.byteLength > 0
        const line = isCut || end === 0 ? joined(this.#line, chunk.subarray(at, end || undefined)) : chunk.subarray(at, end)
        if (end === 0 && line.byteLength <= MAX_LINE_BYTES) {
          if (at > sent) whole.push(chunk.subarray(sent, at))
          this.#line = line
          return whole
        }
        this.#line = line.subarray(0, 0)
        const { headerBytes, bodyBytes } = end === 0 ? { headerBytes: 0, bodyBytes: Infinity } : sizesOf(line)
        const isLarge = bodyBytes >= SHARED_FROM_BYTES && bodyBytes <= MAX_COLLECTED_BYTES
        if ((isLarge || isCut) && at > sent) whole.push(chunk.subarray(sent, at))
        at = end || chunk.byteLength
        if (isLarge || isCut) sent = at
        if (isLarge) this.#begin(line, headerBytes, bodyBytes)
        else {
          if (isCut) whole.push(line)
          this.#passingBytes = bodyBytes
        }
      }
    }
    if (at > sent) whole.push(chunk.subarray(sent, at))
    return whole
  }

  #begin(line: Uint8Array, headerBytes: number, bodyBytes: number): void {
    const before = line.byteLength + headerBytes
    const padding = (ALIGNMENT - (before % ALIGNMENT)) % ALIGNMENT
    this.#large = new Uint8Array(new SharedArrayBuffer(padding + line.byteLength + bodyBytes), padding)
    this.#filledBytes = 0
    this.#collect(this.#large, line)
  }

  /** Appends what there is room for; returns how much that was. */
  #collect(large: Uint8Array, bytes: Uint8Array): number {
    const part = bytes.subarray(0, large.byteLength - this.#filledBytes)
    large.set(part, this.#filledBytes)
    this.#filledBytes += part.byteLength
    return part.byteLength
  }
}

/** What follows a line, in bytes: of the body, its line end included, so much is headers. */
function sizesOf(line: Uint8Array): { headerBytes: number; bodyBytes: number } {
  if (!BODY_FOLLOWS.has(line[0])) return { headerBytes: 0, bodyBytes: 0 }
  const words = Buffer.from(line)
    .toString('latin1')
    .trimEnd()
    .split(/[ \t]+/)
  const size = Number(words.at(-1))
  const headers = words[0] === 'HMSG' ? Number(words.at(-2)) : 0
  // Whatever else that may be, nats.js reports it.
  if (!Number.isSafeInteger(size) || size < 0 || !(headers >= 0 && headers <= size)) return { headerBytes: 0, bodyBytes: 0 }
  return { headerBytes: headers, bodyBytes: size + CRLF_BYTES }
}

function joined(first: Uint8Array, second: Uint8Array): Uint8Array {
  const both = new Uint8Array(first.byteLength + second.byteLength)
  both.set(first)
  both.set(second, first.byteLength)
  return both
}
