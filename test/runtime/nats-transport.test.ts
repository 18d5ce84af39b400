import * as fc from 'fast-check'
import test from 'ava'
import { SHARED_FROM_BYTES } from '../../runtime/shared-memory.js'
import { WholeMessages } from '../../runtime/tensor-bus/nats-transport.js'

/** A message as the broker sends it. */
interface Sent {
  readonly bytes: Buffer
  /** Where its payload begins, if it is large. */
  readonly payloadAt: number | undefined
}

const LINES = ['INFO {"server_id":"S"}\r\n', 'PING\r\n', 'PONG\r\n', '+OK\r\n', "-ERR 'Stale Connection'\r\n"]
const ENDLESS = Buffer.alloc(2 * 1024 * 1024, 'x')

function lineOf(text: string): Sent {
  return { bytes: Buffer.from(text, 'latin1'), payloadAt: undefined }
}

/** A payload that looks like protocol wherever it is cut. */
function messageOf(headers: string, size: number, hasReply: boolean): Sent {
  const payload = Buffer.alloc(size, 'HMSG a 1 12 999999\r\nMSG ')
  const reply = hasReply ? ' _INBOX.1' : ''
  const sizes = headers ? `${headers.length} ${headers.length + size}` : `${size}`
  const line = `${headers ? 'HMSG' : 'MSG'} sg.run.to.bob.v1.frame.from.ann 7${reply} ${sizes}\r\n`
  const bytes = Buffer.concat([Buffer.from(line + headers, 'latin1'), payload, Buffer.from('\r\n')])
  const isLarge = headers.length + size + 2 >= SHARED_FROM_BYTES
  return { bytes, payloadAt: isLarge ? line.length + headers.length : undefined }
}

const sent = fc.oneof(
  fc.constantFrom(...LINES).map(lineOf),
  fc
    .tuple(
      fc.constantFrom('', 'NATS/1.0\r\nSg: 1m\r\n\r\n'),
      fc.oneof(fc.nat(64), fc.integer({ min: SHARED_FROM_BYTES - 40, max: SHARED_FROM_BYTES + 40 }), fc.nat(400_000)),
      fc.boolean(),
    )
    .map(([headers, size, hasReply]) => messageOf(headers, size, hasReply)),
)

/** The stream in chunks of a size that varies. */
function chunksOf(stream: Buffer, sizes: readonly number[]): Uint8Array[] {
  const chunks: Uint8Array[] = []
  for (let at = 0, n = 0; at < stream.byteLength; n++) {
    const end = at + sizes[n % sizes.length]
    chunks.push(Uint8Array.from(stream.subarray(at, end)))
    at = end
  }
  return chunks
}

const cut = (messages: WholeMessages, chunks: readonly Uint8Array[]) => chunks.flatMap((chunk) => messages.take(chunk))

test('however a stream is cut, its bytes stay the same, and each large message is one aligned chunk of shared memory', (t) => {
  const sizes = fc.array(fc.oneof(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 1000, max: 65_536 })), { minLength: 1, maxLength: 5 })
  fc.assert(
    fc.property(fc.array(sent, { maxLength: 8 }), sizes, (stream, chunkSizes) => {
      // Chunks of a few bytes take too long for large messages.
      const least = stream.some(({ payloadAt }) => payloadAt !== undefined) ? 97 : 1
      const chunks = chunksOf(
        Buffer.concat(stream.map(({ bytes }) => bytes)),
        chunkSizes.map((size) => Math.max(size, least)),
      )
      const whole = cut(new WholeMessages(), chunks)
      t.true(Buffer.concat(whole).equals(Buffer.concat(stream.map(({ bytes }) => bytes))))
      const shared = whole.filter(({ buffer }) => buffer instanceof SharedArrayBuffer)
      const large = stream.filter(({ payloadAt }) => payloadAt !== undefined)
      t.is(shared.length, large.length)
      for (const [i, { bytes, payloadAt }] of large.entries()) {
        t.true(bytes.equals(shared[i]))
        t.is((shared[i].byteOffset + payloadAt!) % 64, 0)
      }
    }),
    { numRuns: 100 },
  )
})

test('what nats.js must judge is handed on as it comes: sizes that are none, or beyond reason, and lines without an end', (t) => {
  const odd = ['MSG a 1 -5\r\n', 'MSG a 1 1e9\r\n', 'HMSG a 1 99 5\r\n', `MSG a 1 ${2 ** 31}\r\n`, 'MSG\r\n', 'Moo\r\n', '\r\n']
  for (const line of odd) {
    const bytes = Buffer.from(`${line}PING\r\n`, 'latin1')
    const whole = cut(new WholeMessages(), chunksOf(bytes, [3]))
    t.is(Buffer.concat(whole).toString('latin1'), bytes.toString('latin1'), line)
  }
  t.is(Buffer.concat(cut(new WholeMessages(), chunksOf(ENDLESS, [65_536]))).byteLength, ENDLESS.byteLength)
})
