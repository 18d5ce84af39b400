/** How long somebody who audits a segment may take. */
import test from 'ava'
import { AuditPace } from '../../actors/checks/audit-pace.js'
import type { Calls } from '../../actors/calls.js'
import type { Head, Manifest } from '../../runtime/head.js'
import type { Wants } from '../../runtime/step-events.js'

const PATIENCE_MS = 20_000
const at = (step: number) => ({ step }) as Manifest
const segment = { from: 200, to: 400 }

interface Said {
  readonly applied: number
  readonly wants?: Wants
}

/** @param ofAuditor what whoever is asked says @param ofProducer of the VNode that it reads */
function pacing(ofAuditor: () => Said | null, ofProducer: () => Said | null = () => null) {
  let [nowMs, asked] = [0, 0]
  const directory = { 'v~2': { pnode: 'p', incarnation: 'i', term: 7 }, u: { pnode: 'q', incarnation: 'i', term: 3 } }
  const head = { run: 'run', directory } as unknown as Head
  const context = {
    clock: { now: () => nowMs },
    signal: new AbortController().signal,
    call: async (_ref: unknown, _method: string, { vnodes: [[vnode]] }: Calls['PNode']['whereabouts'][0]) => {
      asked++
      const said = vnode === 'u' ? ofProducer() : ofAuditor()
      return [said && { wants: {}, ...said }]
    },
  } as unknown as ConstructorParameters<typeof AuditPace>[0]['context']
  const pace = new AuditPace({ context, head: () => head, patienceMs: PATIENCE_MS })
  const isLate = async (ms: number) => {
    nowMs = ms
    const late = pace.isLate('v~2', { vnode: 'v', pnode: 'q', ...segment }, 0)
    await new Promise((resolve) => setImmediate(resolve))
    return late
  }
  return { pace, isLate, asked: () => asked }
}

/** The first time that it is said, looked at twice a second. */
async function lateMs({ isLate }: ReturnType<typeof pacing>): Promise<number> {
  for (let ms = 0; ms < 1_000_000; ms += 500) if (await isLate(ms)) return ms
  return Infinity
}

test('who audits may stand still four times as long as the run takes at its best, within limits', (t) => {
  const { pace } = pacing(() => null)
  const stillMs = (of = segment) => pace.patienceMs(of).stillMs
  // When the first segment began nobody knows.
  pace.opened(at(200), undefined, 100)
  t.is(stillMs(), PATIENCE_MS / 2)
  pace.opened(at(400), at(200), 10_100)
  t.is(stillMs(), 4 * 10_000)
  // The run stood still meanwhile.
  pace.opened(at(600), at(400), 70_100)
  t.is(stillMs(), 4 * 10_000)
  t.is(stillMs({ from: 200, to: 210 }), PATIENCE_MS / 2)
  t.is(stillMs({ from: 0, to: 400 }), 2.5 * PATIENCE_MS)
  pace.clear()
  t.is(stillMs(), PATIENCE_MS / 2)
})

test('who comes on may take longer: four times as long as the run at its best for all of it, and three minutes where that is not known', async (t) => {
  let applied = 200
  const comesOn = pacing(() => ({ applied: applied++ }))
  t.is(await lateMs(comesOn), 9 * PATIENCE_MS + 500)
  t.true(comesOn.asked() < 40, 'not asked each time that it is looked at')
  comesOn.pace.opened(at(200), undefined, 0)
  comesOn.pace.opened(at(400), at(200), 30_000)
  t.is(await lateMs(comesOn), 4 * 30_000 + 500)
  comesOn.pace.opened(at(600), at(400), 31_000)
  t.is(await lateMs(comesOn), 2.5 * PATIENCE_MS + 500, 'the run is fast')
})

test('who does not come on, is not there under that term, or has said once how far he will come, is late', async (t) => {
  t.is(await lateMs(pacing(() => null)), PATIENCE_MS / 2 + 500)
  const toldOnceMs = await lateMs(pacing(() => ({ applied: 400 })))
  t.true(toldOnceMs > PATIENCE_MS / 2 && toldOnceMs < PATIENCE_MS, `${toldOnceMs} ms`)
})

test('who waits for a VNode that has not come so far itself is waited for, and not longer than anybody', async (t) => {
  const said = (wants: Wants) => () => ({ applied: 250, wants })
  const lateBeside = (wants: Wants, producer: number) => lateMs(pacing(said(wants), () => ({ applied: producer })))
  t.is(await lateBeside({ inputs: ['u'] }, 250), 9 * PATIENCE_MS + 500)
  t.is(await lateBeside({ feedback: { u: 260 } }, 259), 9 * PATIENCE_MS + 500)
  const [fed, taught] = [await lateBeside({ inputs: ['u'] }, 251), await lateBeside({ feedback: { u: 260 } }, 260)]
  t.true(fed < PATIENCE_MS && taught < PATIENCE_MS, 'it has what it waits for')
  t.true((await lateBeside({ inputs: ['nobody', 'toString'] }, 0)) < PATIENCE_MS)
})
