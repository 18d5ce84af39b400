/** What a VNode tells of its decisions: with each commit those up to it that no manifest has yet. */
import test from 'ava'
import { VNodeReports } from '../../actors/pnode/vnode-reports.js'
import type { VNodeHost } from '../../actors/pnode/vnode-host.js'
import type { Commit } from '../../actors/reports.js'
import { stallsIn } from '../../actors/run/open-cuts.js'
import { memoryStore } from '../../runtime/object-store/memory-store.js'

const MEASURES = { averageLoss: 1, bestLoss: 1, trend: 0, stability: 0, novelty: 1, deadUnits: 0, rate: 1 }
/** Positions are twice the steps: evaluations lie between. */
const entry = (step: number, evaluation = 0) => ({ step, position: 2 * step + evaluation, evaluation, marks: 0 })

function reporting(isSilent = false) {
  const told: Commit[] = []
  const host = {
    store: memoryStore(),
    report: async (_run: string, _method: string, argument: unknown) => void told.push(argument as Commit),
  } as unknown as VNodeHost
  const { signal } = new AbortController()
  const onFailure = (error: unknown) => {
    throw error
  }
  const reports = new VNodeReports({ host, run: 'r', id: 'a', generation: 1, term: () => 1, isSilent, signal, onFailure })
  const commit = async (step: number) => {
    const argument = { vnode: 'a', step, position: 2 * step, hash: `${step}` } as Commit
    await reports.committed({ method: 'committed', argument }, new Uint8Array(1))
  }
  return { reports, told, commit }
}

const stepsOf = ({ stalls }: Commit) => stalls?.map(({ step }) => step)

test('each commit has the decisions up to its cut that the newest manifest does not have', async (t) => {
  const { reports, told, commit } = reporting()
  for (const step of [3, 5, 8]) reports.applied(entry(step), { loss: 1, ...MEASURES, alert: 1 })
  reports.applied(entry(4), { loss: 1, ...MEASURES })
  reports.applied(entry(6, 1), { loss: 1, ...MEASURES, alert: 1 })
  await commit(5)
  // A cut that never completes takes none away.
  await commit(6)
  reports.manifest(10)
  await commit(8)
  reports.manifest(16)
  await commit(9)
  t.deepEqual(told.map(stepsOf), [[3, 5], [3, 5], [8], undefined])
  t.deepEqual(told[2].stalls, [{ step: 8, action: 'alert', ...MEASURES }])
})

test('a follower tells with its newest commit what it has decided in silence', async (t) => {
  const { reports, told, commit } = reporting(true)
  for (const step of [3, 5, 7]) reports.applied(entry(step), { ...MEASURES, lowerRate: 1 })
  await commit(4)
  await commit(6)
  t.deepEqual(told, [])
  reports.speak()
  await new Promise((resolve) => setImmediate(resolve))
  t.deepEqual(told.map(stepsOf), [[3, 5]])
})

test('the owner tells what is new since the checkpoint before, in the order of steps', (t) => {
  const stall = (step: number) => ({ step, action: 'alert', ...MEASURES }) as const
  const commits = [
    { vnode: 'a', stalls: [stall(3), stall(8)] },
    { vnode: 'b' },
    { vnode: 'c', stalls: [stall(5), stall(6), stall(8)] },
  ] as unknown as Commit[]
  t.deepEqual(
    stallsIn(commits, 5).map((event) => event.type === 'stalled' && `${event.vnode}@${event.step}`),
    ['c@6', 'a@8', 'c@8'],
  )
})
