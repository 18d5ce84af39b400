import test from 'ava'
import { EventLog, readEvents } from '../../actors/run/event-log.js'
import { EVENT_VERSION, type RunEventBody } from '../../actors/events.js'
import { SwarmError } from '../../runtime/errors.js'
import { memoryStore } from '../../runtime/object-store/memory-store.js'
import { fakeClock } from '../support/fake-clock.js'

const checkpoint = (step: number): RunEventBody => ({ type: 'checkpoint', step, generation: 1, key: 'k' })
const ENDS: readonly RunEventBody[] = [
  { type: 'done', steps: 9, hash: 'h', metrics: {} },
  { type: 'paused', step: 9 },
  { type: 'failed', error: new SwarmError('internal', 'on purpose').toJSON() },
]

for (const end of ENDS) {
  test(`the end is in the store at once, with all before it; anything else waits for company: ${end.type}`, async (t) => {
    const [store, clock] = [memoryStore(), fakeClock()]
    const log = new EventLog(store, 'r', clock)
    const stored = async () => {
      const types: string[] = []
      for await (const { events } of readEvents(store, 'r')) types.push(...events.map(({ type }) => type))
      return types
    }
    const append = async (body: RunEventBody) => {
      log.append({ v: EVENT_VERSION, run: 'r', atMs: clock.now(), ...body })
      await clock.advance(0)
    }
    await append(checkpoint(1))
    t.deepEqual(await stored(), [])
    await clock.advance(1_000)
    t.deepEqual(await stored(), ['checkpoint'])
    await append(checkpoint(2))
    await append(end)
    t.deepEqual(await stored(), ['checkpoint', 'checkpoint', end.type])
  })
}
