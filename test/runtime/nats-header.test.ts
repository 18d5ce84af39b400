import test from 'ava'
import { decodePlace, encodePlace, HEADER_BYTES, HEADER_NAME, type Place } from '../../runtime/tensor-bus/nats-header.js'

const MESSAGE: Place = { kind: 'message', stream: '00c0ffee00000001', sequence: 42, offset: 0, size: 524_288 }
const GAP: Place = { kind: 'gap', stream: 'ffffffffffffffff', sequence: 2 ** 48 - 1, offset: 0, size: 2 ** 32 - 1 }

test('the golden text of a header does not change within a version', (t) => {
  t.is(encodePlace(MESSAGE), '1m 00c0ffee00000001 00000000002a 00000000 00080000')
  t.is(encodePlace(GAP), '1g ffffffffffffffff ffffffffffff 00000000 ffffffff')
})

test('a place survives its header', (t) => {
  for (const place of [MESSAGE, GAP, { ...MESSAGE, offset: 1_048_504, size: 256 * 1024 * 1024 }]) {
    t.deepEqual(decodePlace(encodePlace(place)), place)
  }
})

test('every header has the size that parts are cut by', (t) => {
  for (const place of [MESSAGE, GAP]) t.is(`NATS/1.0\r\n${HEADER_NAME}: ${encodePlace(place)}\r\n\r\n`.length, HEADER_BYTES)
})

test('what is no header of this version is none', (t) => {
  const good = encodePlace(MESSAGE)
  const zero = encodePlace({ ...MESSAGE, sequence: 0 })
  for (const bad of [
    '',
    ' ',
    good.slice(1),
    `2${good.slice(1)}`,
    `${good} `,
    good.toUpperCase(),
    good.replace('m', 'x'),
    zero,
    good.replace(' ', '  '),
  ]) {
    t.is(decodePlace(bad), undefined, bad)
  }
})
