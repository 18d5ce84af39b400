import test from 'ava'
import * as fc from 'fast-check'
import { MARK } from '../../runtime/frame.js'
import { AHEAD_WINDOWS, type Entry, StepLog, type StepCommand, type StepLogOptions } from '../../runtime/step-log.js'

type Commands = StepCommand<string>[]

const entry = (position: number, more: Partial<Entry> = {}): Entry => ({ position, step: position, evaluation: 0, marks: 0, ...more })
const frame = (
  from: string,
  position: number,
  { term = 1, generation = 1, ...more }: Partial<Entry> & { term?: number; generation?: number } = {},
) => ({ type: 'frame', from, generation, term, entry: entry(position, more), ref: `${from}${position}` }) as const
const credit = (from: string, next: number, upTo: number, { resend = false, term = 1, generation = 1 } = {}) =>
  ({ type: 'credit', from, generation, term, next, upTo, resend }) as const
const hello = (from: string, { term = 1, generation = 1 } = {}) => ({ type: 'hello', from, generation, term }) as const
const granted = (vnode: string, term: number) => ({ type: 'granted', peer: { vnode, term } }) as const

/** The log of `m`: a join of `a` and `b` by default, read by `z`. */
function logOf(
  options: Partial<Omit<StepLogOptions, 'inputs' | 'outputs'>> & { inputs?: string[]; outputs?: string[] } = {},
): StepLog<string> {
  const { inputs = ['a', 'b'], outputs = ['z'], ...others } = options
  const peer = (vnode: string) => ({ vnode, term: 1 })
  return new StepLog({ vnode: 'm', generation: 1, from: 0, window: 4, ...others, inputs: inputs.map(peer), outputs: outputs.map(peer) })
}

const applied = (log: StepLog<string>, position: number) => log.handle({ type: 'applied', position, ref: `m${position}` })
/** Receives and applies the entries up to `to`; returns what the last event gave. */
function advance(log: StepLog<string>, from: string, to: number): Commands {
  let commands: Commands = []
  for (let position = log.applied + 1; position <= to; position++) {
    log.handle(frame(from, position))
    commands = applied(log, position)
  }
  return commands
}
const sent = (commands: Commands) => commands.flatMap((one) => (one.type === 'send' ? [one.entry.position] : []))
const issued = (commands: Commands) => commands.flatMap((one) => (one.type === 'apply' ? [one.entry.position] : []))
const dropped = (commands: Commands) => commands.flatMap((one) => (one.type === 'drop' ? [one.reason] : []))
const credited = (commands: Commands) =>
  commands.flatMap((one) => (one.type === 'credit' ? [`${one.to}:${one.next}-${one.upTo}${one.resend ? '!' : ''}`] : []))

test('it greets its consumers and asks its producers when it starts', (t) => {
  const commands = logOf({ from: 10 }).start()
  t.deepEqual(commands[0], { type: 'hello', to: 'z' })
  t.deepEqual(credited(commands), ['a:11-14!', 'b:11-14!'])
})

test('an entry is applied when all its inputs are there, with the inputs in the order of the definition', (t) => {
  const log = logOf()
  t.deepEqual(log.handle(frame('b', 1)), [])
  t.deepEqual(log.handle(frame('b', 2)), [])
  t.deepEqual(log.handle(frame('a', 2)), [])
  t.deepEqual(log.handle(frame('a', 1)), [
    { type: 'apply', entry: entry(1), inputs: ['a1', 'b1'] },
    { type: 'apply', entry: entry(2), inputs: ['a2', 'b2'] },
  ])
  t.is(log.waiting, 0)
})

test('whatever the order of arrival, entries are applied once each, in order', (t) => {
  const arrivals = Array.from({ length: 12 }, (_, i) => frame(i % 3 === 0 ? 'a' : i % 3 === 1 ? 'b' : 'c', 1 + Math.floor(i / 3)))
  const doubled = fc.shuffledSubarray([...arrivals, ...arrivals], { minLength: 24 })
  fc.assert(
    fc.property(doubled, fc.integer({ min: 1, max: 4 }), (frames, maxIssued) => {
      const log = logOf({ inputs: ['c', 'a', 'b'], maxIssued })
      log.handle(credit('z', 1, 100))
      const order: Entry['position'][] = []
      const take = (commands: Commands) => {
        for (const one of commands)
          if (one.type === 'apply') t.deepEqual(one.inputs, [`c${one.entry.position}`, `a${one.entry.position}`, `b${one.entry.position}`])
        order.push(...issued(commands))
      }
      for (const event of frames) take(log.handle(event))
      for (let position = 1; position <= 4; position++) take(applied(log, position))
      t.deepEqual(order, [1, 2, 3, 4])
      t.is(log.waiting, 0)
    }),
    { seed: 7, numRuns: 150 },
  )
})

test('joins refuse inputs that disagree on an entry, by its position', (t) => {
  for (const other of [{ step: 9 }, { evaluation: 1 }]) {
    const log = logOf()
    log.handle(frame('a', 1))
    const error = t.throws(() => log.handle(frame('b', 1, other)), { code: 'internal' })
    t.regex(error.message, /m: inputs disagree on position 1/)
  }
})

test('a mark on any input of a join holds for the join: a source that starts anew marks other entries', (t) => {
  const log = logOf()
  log.handle(frame('a', 1))
  const [apply, snapshot] = log.handle(frame('b', 1, { marks: MARK.cut }))
  t.like(apply, { type: 'apply', entry: entry(1, { marks: MARK.cut }) })
  t.deepEqual(snapshot, { type: 'snapshot', entry: entry(1, { marks: MARK.cut }) })
})

test('one that is about to move applies nothing after the next cut, and asks for nothing again', (t) => {
  const log = logOf({ inputs: ['a'], maxIssued: 2 })
  log.handle({ type: 'hold' })
  t.is(log.heldAt, undefined)
  t.deepEqual(issued(log.handle(frame('a', 1, { marks: MARK.cut }))), [1])
  t.is(log.heldAt, 1)
  t.deepEqual(issued(log.handle(frame('a', 2))), [])
  t.deepEqual(issued(log.handle({ type: 'applied', position: 1, ref: 'm1' })), [])
  log.handle({ type: 'tick' })
  t.true(log.handle({ type: 'tick' }).every((command) => command.type !== 'credit' || !command.resend))
})

test('a frame that was applied, is being applied or waits is a duplicate', (t) => {
  const log = logOf({ inputs: ['a'], maxIssued: 1 })
  advance(log, 'a', 1)
  t.deepEqual(issued(log.handle(frame('a', 2))), [2])
  log.handle(frame('a', 3))
  for (const position of [0, 1, 2, 3]) t.deepEqual(dropped(log.handle(frame('a', position))), ['duplicate'])
  t.is(log.waiting, 1)
})

test('messages of another generation, an older term, a term without a grant, or a stranger are dropped', (t) => {
  const log = logOf({ inputs: ['a'] })
  log.handle(granted('a', 5))
  log.handle(granted('z', 6))
  for (const message of [
    (options: { term?: number; generation?: number }) => frame('a', 1, { term: 5, ...options }),
    (options: { term?: number; generation?: number }) => hello('a', { term: 5, ...options }),
    (options: { term?: number; generation?: number }) =>
      credit('z', 1, 4, { term: options.term && options.term + 1, generation: options.generation }),
  ]) {
    t.deepEqual(log.handle(message({ generation: 0 })), [{ type: 'drop', reason: 'generation', from: message({}).from }])
    t.deepEqual(dropped(log.handle(message({ generation: 2 }))), ['generation'])
    t.deepEqual(dropped(log.handle(message({ term: 4 }))), ['term'])
    t.deepEqual(dropped(log.handle(message({ term: 7 }))), ['ungranted'])
  }
  for (const message of [frame('z', 1), hello('z'), credit('a', 1, 4)]) t.deepEqual(dropped(log.handle(message)), ['stranger'])
  t.deepEqual([log.applied, log.waiting, log.retained], [0, 0, 0])
})

test('a grant is adopted once, and an older one never', (t) => {
  const log = logOf({ inputs: ['a'] })
  t.deepEqual(log.handle(granted('a', 3)), [{ type: 'credit', to: 'a', next: 1, upTo: 4, resend: true }])
  for (const term of [3, 2, 1]) t.deepEqual(log.handle(granted('a', term)), [])
  t.deepEqual(issued(log.handle(frame('a', 1, { term: 3 }))), [1])
  t.deepEqual(log.handle(granted('stranger', 9)), [])
})

test('what an old owner sent and what a new one sends go together', (t) => {
  const log = logOf()
  log.handle(frame('a', 1))
  log.handle(frame('a', 3))
  log.handle(granted('a', 2))
  t.deepEqual(dropped(log.handle(frame('a', 1, { term: 2 }))), ['duplicate'])
  log.handle(frame('b', 1))
  log.handle(frame('b', 2))
  t.deepEqual(issued(log.handle(frame('a', 2, { term: 2 }))), [2])
})

test('nothing is taken beyond the credit', (t) => {
  const log = logOf({ window: 2 })
  t.deepEqual(dropped(log.handle(frame('a', 3))), ['beyond-credit'])
  t.deepEqual(log.handle(frame('a', 2)), [])
  t.deepEqual(dropped(log.handle(frame('a', Number.MAX_SAFE_INTEGER))), ['beyond-credit'])
  t.is(log.waiting, 1)
})

for (const window of [1, 2, 64]) {
  test(`credits move on by half a window of ${window}`, (t) => {
    const log = logOf({ inputs: ['a'], outputs: [], window })
    log.start()
    const half = Math.ceil(window / 2)
    for (let position = 1; position < half; position++) t.deepEqual(credited(advance(log, 'a', position)), [])
    t.deepEqual(credited(advance(log, 'a', half)), [`a:${half + 1}-${half + window}`])
  })

  test(`a consumer that applies nothing is waited for after ${AHEAD_WINDOWS} windows of ${window}`, (t) => {
    const log = logOf({ inputs: ['a'], window, maxIssued: 1 })
    const limit = AHEAD_WINDOWS * window
    advance(log, 'a', limit)
    t.deepEqual(log.handle(frame('a', limit + 1)), [])
    t.deepEqual([log.applied, log.retained, log.waiting], [limit, limit, 1])
    const commands = log.handle(credit('z', 2, 1 + window))
    t.deepEqual(issued(commands), [limit + 1])
    t.deepEqual(
      sent(commands),
      Array.from({ length: window }, (_, i) => i + 2),
    )
  })
}

test('the slowest of several consumers is waited for', (t) => {
  const log = logOf({ inputs: ['a'], outputs: ['y', 'z'], window: 1 })
  advance(log, 'a', AHEAD_WINDOWS)
  log.handle(credit('y', 9, 9))
  t.deepEqual(log.handle(frame('a', 9)), [])
  t.deepEqual(issued(log.handle(credit('z', 2, 2))), [9])
})

test('outputs go to each consumer as far as it allows, once', (t) => {
  const log = logOf({ inputs: ['a'], outputs: ['y', 'z'] })
  advance(log, 'a', 4)
  t.deepEqual(sent(log.handle(credit('z', 1, 2))), [1, 2])
  t.deepEqual(sent(log.handle(credit('z', 1, 2))), [])
  t.deepEqual(sent(log.handle(credit('z', 1, 1))), [])
  t.deepEqual(sent(log.handle(credit('z', 2, 4))), [3, 4])
  t.deepEqual(sent(log.handle(credit('y', 1, 4))), [1, 2, 3, 4])
  log.handle(credit('z', 3, 6))
  t.deepEqual(sent(advance(log, 'a', 5)), [5])
})

test('a consumer that asks again gets again what it has not applied', (t) => {
  const log = logOf({ inputs: ['a'] })
  advance(log, 'a', 4)
  log.handle(credit('z', 1, 4))
  t.deepEqual(sent(log.handle(credit('z', 3, 6, { resend: true }))), [3, 4])
})

test('a request that was overtaken brings back nothing that the consumer has applied since', (t) => {
  const log = logOf({ inputs: ['a'], window: 4 })
  log.handle(credit('z', 1, 4))
  for (let position = 1; position <= 12; position++) {
    advance(log, 'a', position)
    log.handle(credit('z', position + 1, position + 4))
  }
  advance(log, 'a', 14)
  t.deepEqual(sent(log.handle(credit('z', 2, 5, { resend: true }))), [13, 14])
})

test('a restored producer sends nothing that its consumer is known to have', (t) => {
  const log = logOf({ inputs: ['a'], window: 4 })
  log.handle(credit('z', 8, 11))
  for (let position = 1; position <= 7; position++) t.deepEqual(sent(advance(log, 'a', position)), [])
  t.deepEqual(sent(advance(log, 'a', 8)), [8])
})

test('a greeting is answered with the credit and a request', (t) => {
  const log = logOf({ from: 3 })
  t.deepEqual(log.handle(hello('b')), [{ type: 'credit', to: 'b', next: 4, upTo: 7, resend: true }])
})

test('a consumer under a new term is greeted and gets everything after the manifest', (t) => {
  const log = logOf({ inputs: ['a'] })
  log.handle(credit('z', 1, 4))
  advance(log, 'a', 4)
  log.handle({ type: 'manifest', position: 2 })
  t.deepEqual(log.handle(granted('z', 2)), [{ type: 'hello', to: 'z' }])
  t.deepEqual(sent(log.handle(credit('z', 3, 6, { term: 2, resend: true }))), [3, 4])
  t.deepEqual(dropped(log.handle(credit('z', 5, 8))), ['term'])
})

test('a consumer that is restored from a manifest that we hear of later is served without asking twice', (t) => {
  const log = logOf({ inputs: ['a'] })
  log.handle(credit('z', 1, 4))
  advance(log, 'a', 4)
  log.handle(granted('z', 2))
  log.handle({ type: 'manifest', position: 3 })
  t.deepEqual(sent(log.handle(credit('z', 4, 7, { term: 2 }))), [4])
})

test('outputs are kept until the manifest, whatever the consumers have', (t) => {
  const log = logOf({ inputs: ['a'] })
  log.handle(credit('z', 1, 4))
  advance(log, 'a', 4)
  log.handle(credit('z', 5, 8))
  t.is(log.retained, 4)
  log.handle({ type: 'manifest', position: 3 })
  t.is(log.retained, 1)
  log.handle({ type: 'manifest', position: 2 })
  t.is(log.retained, 1)
  t.deepEqual(dropped(log.handle(credit('z', 3, 6, { resend: true }))), ['behind-manifest'])
})

test('a VNode without consumers keeps nothing', (t) => {
  const log = logOf({ inputs: ['a'], outputs: [] })
  advance(log, 'a', 3)
  t.is(log.retained, 0)
})

test('a manifest of entries that were not applied is a broken invariant', (t) => {
  const log = logOf({ inputs: ['a'] })
  advance(log, 'a', 2)
  t.throws(() => log.handle({ type: 'manifest', position: 3 }), { code: 'internal', message: /m: manifest 3 beyond 2/ })
})

test('a source that starts anew goes on after a manifest that others complete meanwhile', (t) => {
  const source = logOf({ inputs: [], outputs: ['z'], from: 2 })
  source.handle(credit('z', 6, 9))
  t.deepEqual(source.handle({ type: 'manifest', position: 5 }), [])
  t.deepEqual([source.applied, source.retained], [5, 0])
  t.deepEqual(issued(source.offer(entry(6))!), [6])
  t.deepEqual(sent(applied(source, 6)), [6])
})

test('a source offers one entry after another as consumers leave room', (t) => {
  const source = logOf({ inputs: [], window: 1 })
  for (let position = 1; position <= AHEAD_WINDOWS; position++) {
    t.true(source.canOffer())
    t.deepEqual(issued(source.offer(entry(position))!), [position])
    t.is(source.offer(entry(position + 1)), undefined)
    applied(source, position)
  }
  t.false(source.canOffer())
  source.handle(credit('z', 2, 2))
  t.throws(() => source.offer(entry(11)), { code: 'internal' })
  t.throws(() => logOf().offer(entry(1)), { code: 'internal', message: /m has inputs/ })
})

test('the state is copied after the entry with the cut and before the next one', (t) => {
  const log = logOf({ inputs: ['a'], maxIssued: 3 })
  log.handle(frame('a', 2, { marks: MARK.cut | MARK.end }))
  log.handle(frame('a', 3))
  const kinds = log.handle(frame('a', 1)).map((one) => ('entry' in one ? `${one.type} ${one.entry.position}` : one.type))
  t.deepEqual(kinds, ['apply 1', 'apply 2', 'snapshot 2', 'apply 3'])
})

test('evaluation entries are entries like any other, but never cut', (t) => {
  const log = logOf({ inputs: ['a'] })
  log.handle(credit('z', 1, 4))
  advance(log, 'a', 1)
  const commands = log.handle(frame('a', 2, { step: 1, evaluation: 1, marks: MARK.evaluate | MARK.cut }))
  t.deepEqual(commands, [{ type: 'apply', entry: entry(2, { step: 1, evaluation: 1, marks: MARK.evaluate | MARK.cut }), inputs: ['a2'] }])
  t.deepEqual(applied(log, 2), [
    { type: 'send', to: 'z', entry: entry(2, { step: 1, evaluation: 1, marks: MARK.evaluate | MARK.cut }), ref: 'm2' },
  ])
  t.is(log.retained, 2)
})

test('ticks repeat the credit, and ask again when an input is missing for two of them', (t) => {
  const log = logOf({ inputs: ['a'] })
  t.deepEqual(credited(log.handle({ type: 'tick' })), ['a:1-4'])
  t.deepEqual(credited(log.handle({ type: 'tick' })), ['a:1-4!'])
  advance(log, 'a', 1)
  t.deepEqual(credited(log.handle({ type: 'tick' })), ['a:2-5'])
  log.handle(frame('a', 3))
  t.deepEqual(credited(log.handle({ type: 'tick' })), ['a:2-5!'])
  t.deepEqual(credited(log.handle({ type: 'lost' })), ['a:2-5!'])
})

test('a VNode that is slow, or waits for a slow consumer, does not ask for what it has', (t) => {
  const slow = logOf({ inputs: ['a'], maxIssued: 1 })
  slow.handle(frame('a', 1))
  slow.handle({ type: 'tick' })
  t.deepEqual(credited(slow.handle({ type: 'tick' })), ['a:1-4'])
  const held = logOf({ inputs: ['a'], window: 1 })
  advance(held, 'a', AHEAD_WINDOWS)
  held.handle(frame('a', AHEAD_WINDOWS + 1))
  held.handle({ type: 'tick' })
  t.deepEqual(credited(held.handle({ type: 'tick' })), ['a:9-9'])
})

test('results that were not asked for are broken invariants', (t) => {
  const log = logOf({ inputs: ['a'] })
  t.throws(() => applied(log, 1), { code: 'internal' })
  const other = logOf({ inputs: ['a'] })
  other.handle(frame('a', 1))
  t.throws(() => applied(other, 2), { code: 'internal', message: /applied 2, issued 1/ })
  for (const window of [0, 1025, Number.NaN]) t.throws(() => logOf({ window }), { code: 'internal' })
})
