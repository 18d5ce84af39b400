/** Failures that nobody is believed of alone: what is asked first, how long, and who has to leave if there is no answer. */
import test from 'ava'
import type { Failure } from '../../actors/reports.js'
import { Doubts, type Judgement } from '../../actors/checks/doubts.js'
import { type NetworkDefinition, SOURCE } from '../../components/definition.js'
import type { ActorContext, ActorRef, Json } from '../../runtime/actor-system/actor-system.js'
import { firstHead } from '../../runtime/head.js'
import type { Roots } from '../../runtime/log-root.js'
import { fakeClock } from '../support/fake-clock.js'

/** a, then b, then c; each has a follower. */
const network = {
  vnodes: [
    { id: 'a', inputs: [SOURCE] },
    { id: 'b', inputs: ['a'] },
    { id: 'c', inputs: ['b'] },
  ],
} as unknown as NetworkDefinition
const PLACES = { a: 'p', 'a~1': 'q', b: 'r', 'b~1': 's', c: 'u', 'c~1': 'v' }
const [POSITION, PATIENCE_MS] = [8, 1_000]
const hashOf = (what: string) => Buffer.from(what.padEnd(32)).toString('hex')
const RIGHT: { readonly [vnode: string]: Roots } = {
  a: { output: hashOf('a'), inputs: { [SOURCE]: hashOf('source') } },
  b: { output: hashOf('b'), inputs: { a: hashOf('a') } },
}

/** @param silent ids about which nothing is answered */
function doubting(silent: readonly string[] = []) {
  const clock = fakeClock(0)
  const directory = Object.fromEntries(Object.entries(PLACES).map(([id, pnode], i) => [id, { pnode, term: i + 1 }]))
  const call = async (_target: ActorRef, _method: string, asked: Json): Promise<Json> => {
    const { position, vnodes } = asked as unknown as { position: number; vnodes: [string, number][] }
    return vnodes.map(([id]) => (silent.includes(id) || position > POSITION ? null : RIGHT[id.split('~')[0]])) as unknown as Json
  }
  const context = { clock, call } as unknown as ActorContext
  const head = () => ({ ...firstHead('run'), directory })
  const doubts = new Doubts({ context, network, head, isStillTrusted: () => true, patienceMs: PATIENCE_MS })
  const judge = async (): Promise<Judgement | undefined> => {
    const [doubt] = doubts.open
    return doubt && doubts.consider(doubt)
  }
  return { doubts, judge, clock }
}

const failure = (vnode: string, position = POSITION, read?: Roots['inputs']): Failure => ({
  vnode,
  term: 1,
  generation: 1,
  error: { code: 'compute.failed', message: 'on purpose', retryable: false },
  entry: { position, step: position, evaluation: 0, marks: 0 },
  ...(read && { read }),
})

test('what is before it is agreed upon: it is believed, and confirmed if somebody else has failed there', async (t) => {
  const { doubts, judge } = doubting()
  doubts.heard(failure('c'), false)
  t.deepEqual(await judge(), { type: 'believed', isConfirmed: false })
  t.is(doubts.open.length, 0)
  doubts.heard(failure('c~1'), false)
  t.is(doubts.open.length, 0, 'a follower confirms, and no more')
  doubts.heard(failure('c'), false)
  t.deepEqual(await judge(), { type: 'believed', isConfirmed: true })
})

test('who has failed at something else than its producer has put out is misfed, and confirms nothing', async (t) => {
  const { doubts, judge } = doubting()
  const read = { b: hashOf('a lie') }
  doubts.heard(failure('c~1', POSITION, { b: hashOf('b') }), false)
  doubts.heard(failure('c', POSITION, read), false)
  const found = await judge()
  t.true(found?.type === 'misfed' && found.producer === 'b' && found.opinion.pnode === 'u')
  doubts.moved('c')
  doubts.heard(failure('c', POSITION, { b: hashOf('b') }), false)
  t.deepEqual(await judge(), { type: 'believed', isConfirmed: false })
})

test('a failure where nobody can be is not asked about: it is not confirmed, and goes elsewhere', async (t) => {
  const { doubts, judge } = doubting()
  doubts.heard(failure('c~1', 1e6), true)
  doubts.heard(failure('c', 1e6), true)
  t.deepEqual(await judge(), { type: 'believed', isConfirmed: false })
})

test('where nobody has come to, it has not failed either: after a while it is given up, later each time', async (t) => {
  const { doubts, judge, clock } = doubting()
  for (const patienceMs of [PATIENCE_MS, 2 * PATIENCE_MS]) {
    doubts.heard(failure('c~1', POSITION + 5), false)
    doubts.heard(failure('c', POSITION + 5), false)
    t.deepEqual(await judge(), { type: 'open' })
    await clock.advance(patienceMs - 1)
    t.deepEqual(await judge(), { type: 'open' })
    await clock.advance(1)
    t.deepEqual(await judge(), { type: 'believed', isConfirmed: false })
  }
})

test('who says nothing of what others have come to has to leave; but only if two have failed', async (t) => {
  const { doubts, judge, clock } = doubting(['b'])
  doubts.heard(failure('c'), false)
  t.deepEqual(await judge(), { type: 'open' })
  await clock.advance(PATIENCE_MS)
  t.deepEqual(await judge(), { type: 'believed', isConfirmed: false })
  doubts.heard(failure('c~1'), false)
  doubts.heard(failure('c'), false)
  await clock.advance(2 * PATIENCE_MS)
  t.deepEqual(await judge(), { type: 'silent', vnode: 'b' })
  t.is(doubts.open.length, 1, 'it is asked of whoever has it next')
})

test('two that fail at the same time are both asked about', (t) => {
  const { doubts } = doubting()
  doubts.heard(failure('b'), false)
  doubts.heard(failure('c'), false)
  t.deepEqual(
    doubts.open.map(({ key }) => key),
    ['b', 'c'],
  )
  doubts.moved('b')
  t.is(doubts.open.length, 1)
})
