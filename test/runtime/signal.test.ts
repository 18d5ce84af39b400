import { crc32 } from 'node:zlib'
import test from 'ava'
import { isSwarmError } from '../../runtime/errors.js'
import { type Signal, decodeSignal, encodeSignal, subjectOf } from '../../runtime/signal.js'

const CREDIT: Signal = { type: 'credit', vnode: 'dense', generation: 1, term: 7, next: 5, upTo: 8, resend: true }
const HELLO: Signal = { type: 'hello', vnode: 'dense', generation: 1, term: 7 }
const text = (value: string): Uint8Array => new TextEncoder().encode(value)
const json = (value: unknown): Uint8Array => {
  const own = JSON.stringify(value)
  return text(own + crc32(own).toString(16).padStart(8, '0'))
}

test('the format has not changed', (t) => {
  t.is(
    Buffer.from(encodeSignal(CREDIT)).toString(),
    '{"v":1,"type":"credit","vnode":"dense","generation":1,"term":7,"next":5,"upTo":8,"resend":true}1c62d615',
  )
  t.is(Buffer.from(encodeSignal(HELLO)).toString(), '{"v":1,"type":"hello","vnode":"dense","generation":1,"term":7}e4b9a254')
  t.is(subjectOf('r1', 'p2', 'dense', 'frame'), 'sg.r1.to.p2.dense.frame')
})

test('what was encoded is decoded; fields that a newer version adds do no harm', (t) => {
  for (const signal of [CREDIT, HELLO]) {
    t.like(decodeSignal(encodeSignal(signal)), signal)
    t.like(decodeSignal(json({ v: 1, ...signal, colour: 'blue' })), signal)
  }
})

test('another version is refused by name', (t) => {
  for (const v of [0, 2, '1', null, undefined]) t.throws(() => decodeSignal(json({ ...CREDIT, v })), { code: 'frame.version' })
})

test('a signal that is cut short is refused, at every length', (t) => {
  const bytes = encodeSignal(CREDIT)
  for (let length = 0; length < bytes.byteLength; length++)
    t.throws(() => decodeSignal(bytes.subarray(0, length)), { code: 'frame.damaged' })
})

test('a signal of which any bit was flipped is refused', (t) => {
  const bytes = encodeSignal(CREDIT)
  for (let bit = 0; bit < 8 * bytes.byteLength; bit++) {
    const flipped = bytes.slice()
    flipped[bit >> 3] ^= 1 << (bit & 7)
    t.throws(() => decodeSignal(flipped), { code: 'frame.damaged' }, `bit ${bit}`)
  }
})

test('a signal with a missing or impossible field is refused and may be repeated', (t) => {
  const impossible = [undefined, null, '5', -1, 1.5, 2 ** 53, {}]
  for (const field of ['generation', 'term', 'next', 'upTo']) {
    for (const value of impossible) damaged({ v: 1, ...CREDIT, [field]: value })
  }
  for (const value of [undefined, 0, 'yes', null]) damaged({ v: 1, ...CREDIT, resend: value })
  for (const value of [undefined, 3, null, ['dense']]) damaged({ v: 1, ...HELLO, vnode: value })
  for (const value of [undefined, 'frame', 'tick', 'manifest', 'granted']) damaged({ v: 1, ...CREDIT, type: value })

  function damaged(value: object): void {
    const error = t.throws(() => decodeSignal(json(value)), { code: 'frame.damaged' }, JSON.stringify(value))
    t.true(isSwarmError(error) && error.retryable)
  }
})

test('bytes that are no signal never crash the reader', (t) => {
  for (const bytes of [text(''), text('null'), text('7'), text('[]'), text('"hello"'), Uint8Array.from([0xff, 0xfe, 0]), text('{"v":1}')]) {
    const error = t.throws(() => decodeSignal(bytes))
    t.true(isSwarmError(error, 'frame.damaged', 'frame.version'))
  }
})
