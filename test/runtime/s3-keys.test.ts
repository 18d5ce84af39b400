import test from 'ava'
import * as fc from 'fast-check'
import { keyOf, nameOf, namePrefixOf } from '../../runtime/object-store/s3-keys.js'
import { checkKey } from '../../runtime/object-store/object-key.js'

const NUM_RUNS = { numRuns: 2000, seed: 20_260_711 }

/** Long runs of one character meet the places where names are divided. */
const segment = fc.oneof(
  fc.string({ unit: fc.constantFrom('a', 'b', '-', '.', '0', 'Z', '_'), minLength: 1, maxLength: 4 }),
  fc
    .tuple(fc.integer({ min: 198, max: 202 }), fc.string({ unit: fc.constantFrom('a', '-', '.', '0', '_'), maxLength: 2 }))
    .map(([length, end]) => 'k'.repeat(length) + end),
)
const key = fc
  .array(segment, { minLength: 1, maxLength: 3 })
  .map((segments) => segments.join('/'))
  .filter((text) => {
    try {
      return checkKey(text) === text
    } catch {
      return false
    }
  })

test('names people can read', (t) => {
  t.is(nameOf('runs/r1/head'), 'runs/r1/head!')
  t.is(nameOf(`${'k'.repeat(200)}-z/a`), `${'k'.repeat(200)}(/(-z/a!`)
  t.is(nameOf('k'.repeat(201)), `${'k'.repeat(200)}=/=k!`)
})

test('every key comes back from its name', (t) => {
  fc.assert(
    fc.property(key, (one) => keyOf(nameOf(one)) === one),
    NUM_RUNS,
  )
  t.pass()
})

test('names sort as their keys do', (t) => {
  fc.assert(
    fc.property(key, key, (one, other) => one < other === nameOf(one) < nameOf(other)),
    NUM_RUNS,
  )
  t.pass()
})

test('what a key starts with, its name starts with', (t) => {
  fc.assert(
    fc.property(key, fc.nat(), (one, cut) => {
      const prefix = namePrefixOf(one.slice(0, cut % (one.length + 1)))
      return prefix !== undefined && nameOf(one).startsWith(prefix)
    }),
    NUM_RUNS,
  )
  t.pass()
})

test('no segment of a name is longer than MinIO takes, none means a folder above, and no object is the folder of another', (t) => {
  fc.assert(
    fc.property(key, (one) => {
      const segments = nameOf(one).split('/')
      return segments.every((part, i) => part.length <= 255 && !/^\.+$/.test(part) && part.endsWith('!') === (i === segments.length - 1))
    }),
    NUM_RUNS,
  )
  t.pass()
})

test('names of others are no keys', (t) => {
  for (const name of ['', '!', 'a', 'a/', 'a(/(b!', 'a=/=b!', '@probe/1!', 'a//b!', '../a!', `${'k'.repeat(200)}(/(k!`, 'a!b!'])
    t.is(keyOf(name), undefined, name)
})
