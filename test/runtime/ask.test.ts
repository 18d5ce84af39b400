import test from 'ava'
import type { ExecutionContext } from 'ava'
import { MAX_CALL_BYTES } from '../../runtime/actor-system/actor-system.js'
import { errorAnswer, resultAnswer, unwrapAnswer } from '../../runtime/answer.js'
import { MAX_ANSWERING, MAX_ASK_BYTES, MAX_ASKS, answer, asker, decodeQuestion, encodeQuestion } from '../../runtime/ask.js'
import type { AskHandler } from '../../runtime/ask.js'
import { SwarmError } from '../../runtime/errors.js'
import { memoryBroker } from '../../runtime/tensor-bus/memory-bus.js'
import type { TensorBus } from '../../runtime/tensor-bus/tensor-bus.js'
import { assertCode, gate, rejectionOf, yieldTurn } from '../conformance/within.js'
import { fakeClock } from '../support/fake-clock.js'

const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes)
const bytesOf = (value: string) => new TextEncoder().encode(value)
const rejection = (work: Promise<unknown>) => rejectionOf(10_000, 'the question', work)

/** A bus whose `publish` may lose or repeat messages. */
function through(bus: TensorBus, copies: () => number): TensorBus {
  return {
    publish(subject, bytes) {
      for (let copy = copies(); copy > 0; copy--) bus.publish(subject, bytes)
    },
    subscribe: (...parts) => bus.subscribe(...parts),
    flush: (...parts) => bus.flush(...parts),
    drain: (...parts) => bus.drain(...parts),
    close: () => bus.close(),
    closed: bus.closed,
  }
}

async function pair(t: ExecutionContext, handlers: { [method: string]: AskHandler }) {
  const broker = memoryBroker()
  const [hostBus, controlBus, otherBus] = await Promise.all(['p1', 'control', 'p2'].map((name) => broker.connect(name)))
  const clock = fakeClock()
  const errors: SwarmError[] = []
  const stop = new AbortController()
  const answering = answer(hostBus, 'p1', handlers, { signal: stop.signal, onError: (error) => void errors.push(error) })
  const control = asker(controlBus, 'control', clock)
  await Promise.all([answering.ready, control.ready])
  t.teardown(() => [hostBus, controlBus, otherBus].forEach((bus) => bus.close()))
  return { control, clock, errors, stop, answering, hostBus, controlBus, otherBus }
}

test('questions, results and errors have these bytes', (t) => {
  t.is(text(encodeQuestion('a-1', { x: 'ü' }, 'w')), '{"v":1,"id":"a-1","argument":{"x":"ü"}}')
  t.is(resultAnswer({ ok: true }), '{"v":1,"ok":{"ok":true}}')
  t.is(
    errorAnswer(new SwarmError('run.busy', { what: 'busy', retryable: true })),
    '{"v":1,"error":{"code":"run.busy","message":"busy","retryable":true}}',
  )
  t.deepEqual(decodeQuestion(bytesOf('{"v":1,"id":"a-1","argument":null}')), { id: 'a-1', argument: null })
})

test('what is no question or no answer is refused by code', (t) => {
  const refused = (work: () => unknown, code: 'frame.damaged' | 'frame.version' | 'actor.failed' | 'actor.too-large') =>
    assertCode(t.throws(work), code)
  for (const bad of ['', 'null', '{', '[]', '{"v":2,"id":"a","argument":1}']) {
    refused(() => decodeQuestion(bytesOf(bad)), bad === '' || bad === '{' ? 'frame.damaged' : 'frame.version')
  }
  for (const bad of [
    '{"v":1}',
    '{"v":1,"id":"a.b","argument":1}',
    '{"v":1,"id":"a"}',
    `{"v":1,"id":"a","argument":"${'x'.repeat(MAX_ASK_BYTES)}"}`,
  ]) {
    refused(() => decodeQuestion(bytesOf(bad)), 'frame.damaged')
  }
  for (const bad of ['', 'null', '{"v":2,"ok":1}', '{"v":1}', '{"v":1,"error":{"code":1}}'])
    refused(() => unwrapAnswer(bad, 'w'), 'actor.failed')
  refused(() => unwrapAnswer(resultAnswer('x'.repeat(MAX_CALL_BYTES)), 'w'), 'actor.too-large')
  t.is(unwrapAnswer(resultAnswer('x'.repeat(MAX_CALL_BYTES - 2)), 'w'), 'x'.repeat(MAX_CALL_BYTES - 2))
})

test('a question is answered, and the handler is told who asks', async (t) => {
  const { control } = await pair(t, { echo: async (argument, from) => ({ argument: argument, from }), nothing: async () => {} })
  t.deepEqual(await control.ask('p1', 'echo', ['ü', null]), { argument: ['ü', null], from: 'control' })
  t.is(await control.ask('p1', 'nothing'), null)
})

test('errors keep their code, and methods that are not declared cannot be asked', async (t) => {
  const { control } = await pair(t, {
    busy: () => Promise.reject(new SwarmError('run.busy', { what: 'on purpose', retryable: true })),
    broken: () => Promise.reject(new TypeError('no such thing')),
  })
  assertCode(await rejection(control.ask('p1', 'busy')), 'run.busy', true)
  assertCode(await rejection(control.ask('p1', 'broken')), 'actor.failed', false)
  for (const method of ['toString', 'constructor', 'nothing'])
    assertCode(await rejection(control.ask('p1', method)), 'actor.not-found', false)
  for (const method of ['', 'a.b', '>', 'a b']) assertCode(await rejection(control.ask('p1', method)), 'usage')
  assertCode(await rejection(control.ask('p.1', 'busy')), 'usage')
  assertCode(await rejection(control.ask('p1', 'busy', 'x'.repeat(MAX_ASK_BYTES))), 'actor.too-large', false)
  t.pass()
})

test('a question without answer ends at its deadline, or when it is aborted', async (t) => {
  const { control, clock } = await pair(t, { hang: () => new Promise(() => {}) })
  const late = rejection(control.ask('p1', 'hang', null, { deadlineMs: 700 }))
  const nobody = rejection(control.ask('p9', 'hang'))
  const abort = new AbortController()
  const aborted = rejection(control.ask('p1', 'hang', null, { signal: abort.signal }))
  abort.abort()
  assertCode(await aborted, 'aborted')
  await clock.advance(700)
  assertCode(await late, 'actor.timeout', true)
  await clock.advance(1_300)
  assertCode(await nobody, 'actor.timeout', true)
  t.is(clock.pending, 0)
  assertCode(await rejection(control.ask('p1', 'hang', null, { signal: abort.signal })), 'aborted')
  assertCode(await rejection(control.ask('p1', 'hang', null, { deadlineMs: 0 })), 'usage')
})

test('a lost question is asked again, and a repeated one runs once', async (t) => {
  const broker = memoryBroker()
  const [hostBus, controlBus] = await Promise.all([broker.connect('p1'), broker.connect('control')])
  const clock = fakeClock()
  let runs = 0
  const copies = [0, 2, 3]
  const answers = [0, 2]
  answer(
    through(hostBus, () => answers.shift() ?? 1),
    'p1',
    { run: async () => ++runs },
    { onError: (error) => t.fail(error.message) },
  )
  const control = asker(
    through(controlBus, () => copies.shift() ?? 1),
    'control',
    clock,
  )
  const first = control.ask('p1', 'run')
  await clock.advance(499)
  t.is(runs, 0, 'the first message was lost')
  await clock.advance(1)
  t.is(runs, 1, 'the second came twice, and its answer was lost')
  await clock.advance(500)
  t.is(await first, 1, 'the third was answered from memory')
  t.is(runs, 1)
  hostBus.close()
  controlBus.close()
})

test('only the peer that was asked can answer', async (t) => {
  const { control, otherBus, clock } = await pair(t, { hang: () => new Promise(() => {}) })
  const listening = otherBus.subscribe('sg.ask.p1.>', { capacity: 8 })
  const asked = control.ask('p1', 'hang', null, { deadlineMs: 100 })
  for await (const delivery of listening) {
    if (delivery.type === 'message')
      otherBus.publish(`sg.answer.control.${decodeQuestion(delivery.bytes).id}`, bytesOf(resultAnswer('forged')))
    break
  }
  const refused = rejection(asked)
  await clock.advance(100)
  assertCode(await refused, 'actor.timeout')
  t.pass()
})

test('rubbish is reported and answered by silence; what comes after it is answered', async (t) => {
  const { control, controlBus, otherBus, errors } = await pair(t, { echo: async (argument) => argument })
  otherBus.publish('sg.ask.p1.echo', bytesOf('rubbish'))
  controlBus.publish('sg.answer.control.unknown', bytesOf('rubbish'))
  t.is(await control.ask('p1', 'echo', 7), 7)
  t.deepEqual(
    errors.map(({ code }) => code),
    ['frame.damaged'],
  )
})

test('too many questions at once are told so', async (t) => {
  const released = gate()
  const { control } = await pair(t, { wait: () => released.opened })
  const asked = Array.from({ length: MAX_ANSWERING + 1 }, () => control.ask('p1', 'wait'))
  assertCode(await rejection(asked.pop()!), 'actor.busy', true)
  const more = Array.from({ length: MAX_ASKS - MAX_ANSWERING }, () => rejection(control.ask('p1', 'wait')))
  assertCode(await rejection(control.ask('p1', 'wait')), 'actor.busy', true)
  for (const refused of await Promise.all(more)) assertCode(refused, 'actor.busy', true)
  released.open()
  t.deepEqual(new Set(await Promise.all(asked)), new Set([null]))
})

test('closing gives up what is open; an abort ends the answering', async (t) => {
  const { control, stop, answering, controlBus, clock } = await pair(t, { hang: () => new Promise(() => {}) })
  const open = rejection(control.ask('p1', 'hang'))
  stop.abort()
  await answering.ended
  control.close()
  assertCode(await open, 'bus.closed')
  assertCode(await rejection(control.ask('p1', 'hang')), 'bus.closed')
  const again = asker(controlBus, 'control', clock)
  const lost = rejection(again.ask('p1', 'hang'))
  controlBus.close()
  assertCode(await lost, 'bus.closed')
  await yieldTurn()
  t.is(clock.pending, 0)
})
