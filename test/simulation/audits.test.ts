/** Runs whose audits somebody has to be there for. */
import test from 'ava'
import type { Evidence } from '../../actors/checks/evidence.js'
import type { RunEvent } from '../../actors/events.js'
import { clusterSettings, runSettings } from '../../actors/run/run-settings.js'
import { SOURCE } from '../../components/definition.js'
import type { Head } from '../../runtime/head.js'
import type { HostPlan } from './cluster.js'
import { carriedOut, type Plan } from './simulate.js'
import { chainRun } from './simulated-run.js'

const EVERY_STEPS = 10
const LATENCY = { leastMs: 1, mostMs: 2, jitterMs: 0 }
const GPU = '4.22.0 | gpu | tensorflow 2.18.0, gpu | 0'

function planOf(audits: number, owners: readonly string[], more: Partial<Plan> = {}): Plan {
  const run = chainRun(3, { epochs: 1, stepsPerEpoch: 200 }, (definition) =>
    runSettings(definition, { window: 4, audits, checkpoint: { everySteps: EVERY_STEPS } }),
  )
  const hosts = owners.map((owner, i): HostPlan => ({
    name: `h${i + 1}`,
    owner,
    msPerCost: 50,
    gflops: 20,
    memoryBytes: 1e9,
    computeClass: 'c',
  }))
  return { seed: 1, cluster: { run, hosts, latency: LATENCY }, faults: [], ...more }
}

/** What a run tells, and its evidence. */
async function told(plan: Plan): Promise<{ readonly events: readonly RunEvent[]; readonly evidence: readonly Evidence[] }> {
  // Written once more as long as there is room in the same object.
  const lines = new Set<string>()
  const onPut = (key: string, bytes: Uint8Array) => {
    if (key.includes('/events/')) for (const line of new TextDecoder().decode(bytes).trim().split('\n')) lines.add(line)
  }
  const { evidence = [] } = await carriedOut(plan, { spectator: { onPut } })
  return { events: [...lines].map((line) => JSON.parse(line) as RunEvent), evidence }
}

test('where nobody can ever be asked, no checkpoint waits for somebody anew: neither does the end', async (t) => {
  const owners = ['one', 'one', 'one']
  const [{ doneMs: believed }, { doneMs: audited }] = [await carriedOut(planOf(0, owners)), await carriedOut(planOf(1, owners))]
  t.true(believed > 10_000, 'longer than anybody is waited for')
  t.true(audited - believed < 1_500, `${audited} ms instead of ${believed} ms`)
})

test('who was away for long once is waited for as long the next time', async (t) => {
  const away = (atMs: number, returnsMs: number) => ({ kind: 'crash', host: 'h3', atMs, returnsMs, isSilent: false }) as const
  const unaudited = async (...faults: Plan['faults']) => {
    const { events } = await told(planOf(1, ['one', 'one', 'two'], { faults }))
    return events.filter(({ type }) => type === 'unaudited')
  }
  const once = await unaudited(away(4_000, 8_000))
  t.true(once.length > 0, 'nobody else can audit the two')
  t.deepEqual(await unaudited(away(4_000, 8_000), away(14_500, 2_000)), once)
  t.deepEqual(await unaudited(away(7_000, 2_000)), [])
})

test('hosts that do not give the same bits are believed, unless a trainer wants them audited', async (t) => {
  const plan = planOf(0, ['one', 'two'])
  const { run, hosts } = plan.cluster
  const onGpus = (audits: number | undefined) => {
    const settings = clusterSettings(run.definition, { window: 4, audits }, undefined)
    return {
      ...plan,
      cluster: { run: { ...run, settings }, hosts: hosts.map((host) => ({ ...host, computeClass: GPU })), latency: LATENCY },
    }
  }
  const { doneMs } = await carriedOut(onGpus(undefined))
  t.true(doneMs > 0)
  let head: Head | undefined
  const begin = (world: { at(ms: number, of: undefined, then: () => void): void }, _cluster: unknown, now: () => Head | undefined) =>
    world.at(4_000, undefined, () => (head = now()))
  await carriedOut(onGpus(0.5), { untilMs: 5_000, spectator: { begin } })
  t.deepEqual(head?.directory, {}, 'it does not begin')
})

test('two that say different things of a segment that one has taken over from the other are audited until it is known who lies', async (t) => {
  // So few are drawn that in a run of this length there is none, but for those of the source, which is audited whole.
  const { cluster, ...plan } = planOf(1e-9, ['one', 'two', 'three', 'four'])
  const [liar, adversary] = ['h2', 'random-direction'] as const
  const hosts = cluster.hosts.map((host) => (host.name === liar ? { ...host, adversary } : host))
  const leave = (host: string, atMs: number) => ({ kind: 'leave', host, atMs, returnsMs: 3_000 }) as const
  const { events, evidence } = await told({
    ...plan,
    cluster: { ...cluster, hosts, arbiters: ['h4'], proven: hosts.map(({ name }) => name) },
    // What it had is somebody else's; then it gets what somebody else had.
    faults: [leave(liar, 6_000), leave('h3', 12_000)],
    liars: { attacks: new Map([[liar, adversary]]), promise: 'found', mayWrong: false },
  })
  t.deepEqual(
    evidence.flatMap(({ convicted, by }) => convicted.map(({ host }) => `${host} by ${by}`)),
    [`${liar} by arbiter`],
  )
  const audited = events.map((event) => (event.type === 'audited' && event.vnode !== SOURCE ? event.pnode : event.type))
  const [contradicted, convicted] = [audited.indexOf('rolledBack'), audited.indexOf('convicted')]
  const auditsOf = (host: string, from: number, to?: number) => audited.slice(from, to).filter((pnode) => pnode === host).length
  t.is(auditsOf('h1', 0, contradicted), 0)
  t.true(auditsOf('h1', contradicted, convicted) > 0, 'it may have been either')
  t.is(auditsOf('h1', convicted), 0, 'it was the other')
  t.is(events.find(({ type }) => type === 'done')!.type, 'done')
})

test('whoever audits a segment that takes long, beside work of its own, is waited for as long as it comes on', async (t) => {
  const owners = ['one', 'two', 'three']
  const { cluster, ...plan } = planOf(1, owners)
  const run = chainRun(owners.length, { epochs: 1, stepsPerEpoch: 60, cost: 1e9 }, (definition) =>
    runSettings(definition, { window: 4, audits: 1, checkpoint: { everySteps: 30 } }),
  )
  // A segment takes half a minute.
  const hosts = cluster.hosts.map((host) => ({ ...host, msPerCost: 1e-6, gflops: 8 }))
  const { events } = await told({ ...plan, cluster: { ...cluster, run, hosts } })
  const asked = events.filter((event) => event.type === 'placed' && event.reason.startsWith('audits it'))
  const audited = events.filter(({ type }) => type === 'audited')
  t.deepEqual(
    events.filter(({ type }) => type === 'unaudited'),
    [],
  )
  t.deepEqual([asked.length, audited.length], [8, 8], 'of two segments three VNodes and the source, and nobody in vain')
})
