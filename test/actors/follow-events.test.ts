import test from 'ava'
import type { RunEvent } from '../../actors/events.js'
import { followEvents } from '../../actors/control/follow-events.js'
import { type Clock, systemClock } from '../../runtime/clock.js'
import { SwarmError } from '../../runtime/errors.js'
import { firstHead, type Head } from '../../runtime/head.js'
import { HeadWriter } from '../../runtime/head-store.js'
import { memoryStore } from '../../runtime/object-store/memory-store.js'
import { assertCode, rejectionOf } from '../conformance/within.js'

/** Waits for nothing. */
const clock: Clock = { ...systemClock, sleep: () => Promise.resolve() }
const event = (body: object): RunEvent => ({ v: 1, run: 'r', atMs: 0, ...body }) as RunEvent
const snapshot = (status: Head['status'] = 'running') => event({ type: 'snapshot', status })
const checkpoint = (step: number) => event({ type: 'checkpoint', step })
const done = event({ type: 'done', steps: 9 })

interface World {
  readonly store: (...events: readonly RunEvent[]) => Promise<void>
  readonly end: () => Promise<void>
}

/** A run with its stored events, and connections to control, one after the other. */
async function world(connections: readonly ((world: World) => AsyncGenerator<RunEvent, void>)[]) {
  const store = memoryStore()
  const writer = await HeadWriter.create(store, firstHead('r'))
  let chunks = 0
  const write = async (...events: readonly RunEvent[]) => {
    const lines = events.map((one) => `${JSON.stringify(one)}\n`).join('')
    await store.put(`runs/r/events/000-${String(chunks++).padStart(6, '0')}`, new TextEncoder().encode(lines))
  }
  const end = async () => void (await writer.update((head) => ({ ...head, status: 'done' })))
  let asked = 0
  const client = { events: () => connections[asked++]({ store: write, end }) }
  return { store, write, end, client, run: 'r', clock, asked: () => asked }
}

async function* refusing(error: SwarmError): AsyncGenerator<RunEvent, void> {
  yield await Promise.reject<RunEvent>(error)
}

async function all(events: AsyncIterable<RunEvent>): Promise<string[]> {
  const told: string[] = []
  for await (const { type, ...rest } of events) told.push('step' in rest ? `${type} ${rest.step}` : type)
  return told
}

test('what was stored comes before what happens, and what is in both comes once', async (t) => {
  const it = await world([
    async function* ({ store }) {
      yield snapshot()
      await store(checkpoint(3))
      yield checkpoint(3)
      yield checkpoint(4)
      yield done
    },
  ])
  await it.write(checkpoint(1), checkpoint(2))
  t.deepEqual(await all(followEvents(it)), ['checkpoint 1', 'checkpoint 2', 'checkpoint 3', 'checkpoint 4', 'done'])
})

test('a connection that broke is made again, and what happened meanwhile is read from the store', async (t) => {
  const waited: string[] = []
  const it = await world([
    async function* ({ store }) {
      yield snapshot()
      yield checkpoint(1)
      yield checkpoint(2)
      await store(checkpoint(1), checkpoint(2))
      await store(checkpoint(3))
      throw new SwarmError('cluster.unreachable', { what: 'gone', retryable: true })
    },
    () => refusing(new SwarmError('run.not-found', 'between two owners')),
    async function* ({ store, end }) {
      await store(checkpoint(4))
      yield snapshot()
      yield checkpoint(5)
      await end()
      await store(checkpoint(5), done)
    },
  ])
  const told = await all(followEvents({ ...it, onWait: ({ code }) => waited.push(code) }))
  t.deepEqual(told, ['checkpoint 1', 'checkpoint 2', 'checkpoint 3', 'checkpoint 4', 'checkpoint 5', 'done'])
  t.deepEqual(waited, ['cluster.unreachable'])
})

test('a run that has ended is read to its end and no further, even if control still has it', async (t) => {
  const it = await world([
    async function* ({ store, end }) {
      await end()
      await store(done)
      yield snapshot('done')
      await new Promise(() => {})
    },
  ])
  await it.write(checkpoint(1))
  t.deepEqual(await all(followEvents(it)), ['checkpoint 1', 'done'])
  t.is(it.asked(), 1)
})

test('only what is after a chunk, with the first snapshot if it is wanted', async (t) => {
  const it = await world([
    async function* () {
      yield snapshot()
      yield done
    },
  ])
  await it.write(checkpoint(1), event({ type: 'paused', step: 1 }))
  await it.write(checkpoint(2))
  t.deepEqual(await all(followEvents({ ...it, after: 'runs/r/events/000-000000', withSnapshot: true })), [
    'snapshot',
    'checkpoint 2',
    'done',
  ])
})

test('what does not pass ends it', async (t) => {
  const it = await world([() => refusing(new SwarmError('cluster.token', 'not yours'))])
  assertCode(await rejectionOf(1_000, 'following', all(followEvents(it))), 'cluster.token')
  assertCode(await rejectionOf(1_000, 'following', all(followEvents({ ...it, run: 'nope' }))), 'run.not-found')
  const stop = AbortSignal.abort()
  t.deepEqual(await all(followEvents({ ...it, signal: stop })), [])
})
