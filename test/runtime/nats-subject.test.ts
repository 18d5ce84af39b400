import test from 'ava'
import { isSwarmError } from '../../runtime/errors.js'
import { checkName, MAX_SUBJECT_BYTES, publishedAs, senderOf, subscribedAs } from '../../runtime/tensor-bus/nats-subject.js'

test('the publisher stands behind the subject on the wire', (t) => {
  t.is(publishedAs('sg.run.to.bob.v1.frame', 'ann'), 'sg.run.to.bob.v1.frame.from.ann')
  t.is(subscribedAs('sg.run.to.bob.v1.frame'), 'sg.run.to.bob.v1.frame.from.*')
  t.is(subscribedAs('sg.run.>'), 'sg.run.>')
})

test('subject and publisher are read from the end, so that a subject may say from itself', (t) => {
  t.deepEqual(senderOf('a.b.from.ann', 'a.b'), { subject: 'a.b', from: 'ann' })
  t.deepEqual(senderOf('a.from.victim.from.mallory', 'a.>'), { subject: 'a.from.victim', from: 'mallory' })
  t.deepEqual(senderOf('a.from.from.from', 'a.from'), { subject: 'a.from', from: 'from' })
})

test('a wildcard does not hear its own prefix, and nothing that names no publisher', (t) => {
  for (const [wire, pattern] of [
    ['a.from.ann', 'a.>'],
    ['ab.c.from.ann', 'a.>'],
    ['a.b', 'a.>'],
    ['a.b.c.d', 'a.>'],
    ['from.ann', '>'],
    ['a', 'a'],
    ['a.c.from.ann', 'a.b'],
    ['', 'a'],
  ]) {
    t.is(senderOf(wire, pattern), undefined, `${wire} under ${pattern}`)
  }
})

test('what a bus subject says survives the wire', (t) => {
  for (const subject of ['a', 'a.b', 'from', 'a.from.b', 'a.from', 'sg.r.to.h.v.frame', 'ü.ö']) {
    t.deepEqual(senderOf(publishedAs(subject, 'ann'), subject), { subject, from: 'ann' })
    t.deepEqual(senderOf(publishedAs(`x.${subject}`, 'ann'), 'x.>'), { subject: `x.${subject}`, from: 'ann' })
  }
})

test('subjects and names that make no sense are refused', (t) => {
  const isUsage = (attempt: () => unknown, what: string) => t.true(isSwarmError(t.throws(attempt), 'usage'), what)
  for (const subject of [
    '',
    '.a',
    'a.',
    'a..b',
    'a b',
    'a.*',
    'a\r\nPUB',
    'x'.repeat(MAX_SUBJECT_BYTES + 1),
    'ü'.repeat(MAX_SUBJECT_BYTES / 2 + 1),
  ]) {
    isUsage(() => publishedAs(subject, 'ann'), subject)
    isUsage(() => subscribedAs(subject), subject)
  }
  isUsage(() => publishedAs('a.>', 'ann'), 'a.>')
  for (const name of ['', 'a.b', 'a b', '*', '>', 'x'.repeat(257)]) isUsage(() => checkName(name), name)
  checkName('host-000001')
})
