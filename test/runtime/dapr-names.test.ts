import test from 'ava'
import * as fc from 'fast-check'
import { decodeSegment, encodeSegment, hostOf } from '../../runtime/actor-system/actor-keys.js'

test('any well-formed name survives its way through a URL, and keeps to characters that Dapr leaves alone', (t) => {
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme' }), (name) => {
      const segment = encodeSegment(name)
      t.regex(segment, /^[A-Za-z0-9._-]+$/)
      t.false(/^\.+$/.test(segment))
      t.is(decodeSegment(segment), name)
    }),
  )
  for (const name of ['', '.', '..', '...', '_', '__proto__', 'a/b', 'a||b', '%2F', '\u0000', '\ufeffx', 'VNode.p-1', '😀']) {
    t.is(decodeSegment(encodeSegment(name)), name)
  }
})

test('a segment that no name gives is refused', (t) => {
  for (const segment of ['', '.', '..', '_4', '_zz', '_c3', '_C3', '_41', 'a b', 'a/b', 'ü', '__', '_ED_A0_80']) {
    t.is(decodeSegment(segment), undefined, segment)
  }
})

test('the host of a type is what follows its first dot', (t) => {
  t.deepEqual(['VNode.p1', 'VNode.p.1', 'Run', 'Run.'].map(hostOf), ['p1', 'p.1', undefined, ''])
})
