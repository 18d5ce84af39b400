/** Followers in the step log (PROTOCOL.md rule 17): what they do in silence, what others do for them, and what one does that takes over. */
import test from 'ava'
import { AHEAD_WINDOWS, type Entry, StepLog, type StepCommand } from '../../runtime/step-log.js'

type Commands = StepCommand<string>[]

const WINDOW = 4
const entry = (position: number): Entry => ({ position, step: position, evaluation: 0, marks: 0 })
const frame = (from: string, position: number, term = 1) =>
  ({ type: 'frame', from, generation: 1, term, entry: entry(position), ref: `${from}${position}` }) as const
const credit = (from: string, next: number, upTo: number, { resend = false, term = 1 } = {}) =>
  ({ type: 'credit', from, generation: 1, term, next, upTo, resend }) as const
const peer = (vnode: string, term = 1) => ({ vnode, term })

const logOf = (vnode: string, outputs: readonly string[], isFollower = false) =>
  new StepLog<string>({
    vnode,
    generation: 1,
    from: 0,
    window: WINDOW,
    inputs: [peer('a')],
    outputs: outputs.map((name) => peer(name)),
    isFollower,
  })

function advance(log: StepLog<string>, to: number): Commands {
  const all: Commands = []
  for (let position = log.applied + 1; position <= to; position++) {
    all.push(...log.handle(frame('a', position)), ...log.handle({ type: 'applied', position, ref: `m${position}` }))
  }
  return all
}
const types = (commands: Commands) => new Set(commands.map(({ type }) => type))
const sent = (commands: Commands) => commands.flatMap((one) => (one.type === 'send' ? [`${one.to}:${one.entry.position}`] : []))

test('a follower asks its producers as any VNode does, keeps what it makes, and says nothing to consumers', (t) => {
  const log = logOf('m~1', ['z'], true)
  t.deepEqual(log.start(), [{ type: 'credit', to: 'a', next: 1, upTo: 4, resend: true }])
  const commands = advance(log, 6)
  t.deepEqual([...types(commands)].toSorted(), ['apply', 'credit'])
  t.is(log.retained, 6)
  t.deepEqual(log.handle({ type: 'granted', peer: peer('z', 2) }), [])
})

test('it does not wait for consumers that it does not send to', (t) => {
  const log = logOf('m~1', ['z'], true)
  const far = 3 * AHEAD_WINDOWS * WINDOW
  advance(log, far)
  t.is(log.applied, far)
})

test('a producer serves a follower as far as that allows, and never waits for it', (t) => {
  const log = logOf('m', ['z', 'z~1'])
  log.handle(credit('z', 1, 4))
  t.deepEqual(sent(log.handle(credit('z~1', 1, 2))), [])
  t.deepEqual(sent(advance(log, 4)), ['z:1', 'z~1:1', 'z:2', 'z~1:2', 'z:3', 'z:4'])
  const far = 2 * AHEAD_WINDOWS * WINDOW
  for (let next = 5; next <= far; next += WINDOW) {
    log.handle(credit('z', next, next + WINDOW - 1))
    advance(log, next + WINDOW - 1)
  }
  t.is(log.applied, far)
})

test('a follower that comes later is served from the manifest on; one of somebody who reads nothing from here is a stranger', (t) => {
  const log = logOf('m', ['z'])
  log.handle(credit('z', 1, 4))
  advance(log, 4)
  log.handle({ type: 'manifest', position: 2 })
  t.deepEqual(log.handle(credit('z~1', 3, 6, { term: 9 })), [{ type: 'drop', reason: 'stranger', from: 'z~1' }])
  t.deepEqual(log.handle({ type: 'granted', peer: peer('z~1', 9) }), [{ type: 'hello', to: 'z~1' }])
  t.deepEqual(sent(log.handle(credit('z~1', 3, 6, { term: 9, resend: true }))), ['z~1:3', 'z~1:4'])
  log.handle({ type: 'granted', peer: peer('y~1', 10) })
  t.deepEqual(log.handle(credit('y~1', 3, 6, { term: 10 })), [{ type: 'drop', reason: 'stranger', from: 'y~1' }])
})

test('what a follower lacks is kept a little behind the manifest; who is too far behind is not waited for', (t) => {
  const log = logOf('m', ['z', 'z~1', 'z~2'])
  const reach = AHEAD_WINDOWS * WINDOW
  const readTo = (name: string, to: number) => void log.handle(credit(name, to + 1, to + WINDOW))
  for (let to = WINDOW; to <= reach; to += WINDOW) {
    readTo('z', to - WINDOW)
    advance(log, to)
  }
  readTo('z', reach)
  readTo('z~1', reach - 3)
  readTo('z~2', 1)
  log.handle({ type: 'manifest', position: reach })
  t.is(log.retained, reach - 1, 'the second follower has one only')
  t.deepEqual(
    sent(log.handle(credit('z~1', reach - 2, reach, { resend: true }))),
    [reach - 2, reach - 1, reach].map((p) => `z~1:${p}`),
  )
  t.deepEqual(log.handle(credit('z~1', 1, 4)), [{ type: 'drop', reason: 'behind-manifest', from: 'z~1' }])
  advance(log, reach + 2)
  log.handle({ type: 'manifest', position: reach + 2 })
  t.is(log.retained, 5, 'it has not moved on: now the first one counts')
  readTo('z~1', reach + 2)
  t.is(log.retained, 0)
})

test('a follower that takes over greets everybody, and sends what it has kept since the newest manifest', (t) => {
  const log = logOf('m~1', ['z'], true)
  log.start()
  advance(log, 6)
  log.handle({ type: 'manifest', position: 3 })
  const commands = log.handle({ type: 'promoted', inputs: [peer('a', 5)], outputs: [peer('z', 4), peer('z~1', 6)] })
  t.deepEqual(commands, [
    { type: 'hello', to: 'z' },
    { type: 'hello', to: 'z~1' },
    { type: 'credit', to: 'a', next: 7, upTo: 10, resend: true },
  ])
  t.deepEqual(sent(log.handle(credit('z', 5, 8, { term: 4, resend: true }))), ['z:5', 'z:6'])
  t.deepEqual(sent(log.handle(credit('z~1', 4, 7, { term: 6, resend: true }))), ['z~1:4', 'z~1:5', 'z~1:6'])
  t.deepEqual(log.handle(frame('a', 7, 1)), [{ type: 'drop', reason: 'term', from: 'a' }])
  t.deepEqual(log.handle(frame('a', 7, 5)), [{ type: 'apply', entry: entry(7), inputs: ['a7'] }])
})

test('a follower that a manifest has overtaken is behind when nothing more comes, and cannot take over', (t) => {
  const log = logOf('m~1', ['z'], true)
  advance(log, 2)
  log.handle({ type: 'manifest', position: 5 })
  t.true(log.isBehind)
  t.is(log.retained, 0)
  t.throws(() => log.handle({ type: 'promoted', inputs: [peer('a', 1)], outputs: [peer('z', 1)] }), { code: 'internal' })
  const other = logOf('m~1', ['z'], true)
  advance(other, 2)
  for (const position of [3, 4, 5]) other.handle(frame('a', position))
  other.handle({ type: 'manifest', position: 5 })
  t.false(other.isBehind, 'what it lacks has come already')
  for (const position of [3, 4, 5]) other.handle({ type: 'applied', position, ref: `m${position}` })
  t.deepEqual([other.applied, other.retained], [5, 0])
})
