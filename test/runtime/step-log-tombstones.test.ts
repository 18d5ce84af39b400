/** What a VNode skips: buried in its turn, and told to everybody who reads from it. */
import test from 'ava'
import { MARK } from '../../runtime/frame.js'
import { type Entry, StepLog, type StepCommand } from '../../runtime/step-log.js'

type Commands = StepCommand<string>[]

const entry = (position: number, more: Partial<Entry> = {}): Entry => ({ position, step: position, evaluation: 0, marks: 0, ...more })
const frame = (from: string, position: number, more: Partial<Entry> = {}) =>
  ({ type: 'frame', from, generation: 1, term: 1, entry: entry(position, more), ref: `${from}${position}` }) as const
const credit = (next: number, upTo: number, resend = false) =>
  ({ type: 'credit', from: 'z', generation: 1, term: 1, next, upTo, resend }) as const
const applied = (log: StepLog<string>, position: number) => log.handle({ type: 'applied', position, ref: `m${position}` })

/** The log of `m`, read by `z`. */
function logOf({ inputs = ['a'], skips = [] }: { inputs?: string[]; skips?: number[] } = {}): StepLog<string> {
  const peer = (vnode: string) => ({ vnode, term: 1 })
  return new StepLog({ vnode: 'm', generation: 1, from: 0, window: 4, skips, inputs: inputs.map(peer), outputs: [peer('z')] })
}

const sent = (commands: Commands) => commands.flatMap((one) => (one.type === 'send' ? [one.entry.position] : []))
const issued = (commands: Commands) => commands.flatMap((one) => (one.type === 'apply' ? [one.entry.position] : []))
const buried = (commands: Commands) => commands.flatMap((one) => (one.type === 'bury' ? [one.entry.position] : []))
const credited = (commands: Commands) => commands.flatMap((one) => (one.type === 'credit' ? [`${one.next}-${one.upTo}`] : []))

test('an entry that it skips is buried, and its tombstone is kept, sent and credited like an output', (t) => {
  const log = logOf({ skips: [1, 2] })
  log.handle(credit(1, 4))
  t.deepEqual(log.handle(frame('a', 1)), [{ type: 'bury', entry: entry(1), inputs: ['a1'] }])
  const commands = applied(log, 1)
  t.deepEqual([sent(commands), credited(commands), log.applied, log.retained], [[1], ['2-5'], 1, 1])
  log.handle(frame('a', 2))
  applied(log, 2)
  t.deepEqual(issued(log.handle(frame('a', 3))), [3])
  t.deepEqual(sent(log.handle(credit(1, 4, true))), [1, 2])
})

test('a tombstone among its inputs is buried, whatever the others are', (t) => {
  const log = logOf({ inputs: ['a', 'b'] })
  log.handle(frame('a', 1))
  t.deepEqual(log.handle({ ...frame('b', 1), isTombstone: true }), [{ type: 'bury', entry: entry(1), inputs: ['a1', 'b1'] }])
})

test('what is buried waits until it is alone, and nothing is issued beside it', (t) => {
  const log = logOf({ skips: [2] })
  t.deepEqual(issued(log.handle(frame('a', 1))), [1])
  for (const position of [2, 3]) t.deepEqual(log.handle(frame('a', position)), [])
  const alone = applied(log, 1)
  t.deepEqual([buried(alone), issued(alone)], [[2], []])
  t.deepEqual(issued(applied(log, 2)), [3])
})

test('the cut of an entry that is buried is taken, and holds, as any other', (t) => {
  const log = logOf({ skips: [1] })
  log.handle({ type: 'hold' })
  const commands = log.handle(frame('a', 1, { marks: MARK.cut }))
  t.deepEqual(
    commands.map(({ type }) => type),
    ['snapshot', 'bury'],
  )
  applied(log, 1)
  t.is(log.heldAt, 1)
  t.deepEqual(log.handle(frame('a', 2)), [])
})
