/** Whole clusters in simulated time of which some hosts lie: who is honest is not convicted, liars are, and runs end as honest ones do. */
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import test from 'ava'
import { ADVERSARIES } from '../../adversaries/adversaries.js'
import type { Tally } from './justice.js'
import { checksOf, drawLiarPlan } from './liars.js'
import { runSettings } from '../../actors/run/run-settings.js'
import type { RunEvent } from '../../actors/events.js'
import type { HostPlan } from './cluster.js'
import { trySeed } from './seeds.js'
import { carriedOut } from './simulate.js'
import { chainRun } from './simulated-run.js'

const SEEDS = 160
const main = new URL('main.js', import.meta.url).pathname

test.serial(`${SEEDS} seeds: no honest host is convicted beside an arbiter, and what was promised of hashes holds`, async (t) => {
  t.timeout(600_000)
  const { stdout } = await promisify(execFile)(process.execPath, [main, '--liars', '--seeds', String(SEEDS), '--json'], {
    maxBuffer: 2 ** 26,
  }).catch((error: { stdout?: string }) => ({ stdout: error.stdout ?? 'no output' }))
  const lines = stdout.trim().split('\n')
  t.deepEqual(
    lines.filter((line) => line.includes('"failed",')),
    [],
  )
  const { seeds, justice } = JSON.parse(lines.at(-1)!) as { seeds: number; justice: Tally }
  t.log(lines.at(-1)!)
  t.is(seeds, SEEDS)
  t.true(justice.disputes > SEEDS / 2 && justice.convicted - justice.wronged > SEEDS / 2)
  // Where nobody is trusted, and liars agree: no more often than panels are said to be wrong.
  t.true(justice.wrongPanels <= justice.expectedWrongPanels)
})

test('the seeds have all attacks, small minorities and large ones, alone and together with faults', (t) => {
  const plans = Array.from({ length: SEEDS }, (_, i) => drawLiarPlan(i + 1))
  const attacks = plans.flatMap(({ liars }) => [...liars!.attacks.values()])
  for (const name of Object.keys(ADVERSARIES)) t.true(attacks.filter((attack) => attack === name).length >= 5, name)
  const audited = plans.filter(({ seed }) => ['audits', 'one owner', 'some', 'few'].includes(checksOf(seed)))
  const ofAudited = new Set(audited.flatMap(({ liars }) => [...liars!.attacks.values()]))
  t.deepEqual([...ofAudited].toSorted(), Object.keys(ADVERSARIES).toSorted())
  const shares = plans.map(({ liars, cluster }) => liars!.attacks.size / cluster.hosts.length)
  t.true(Math.min(...shares) < 0.1 && Math.max(...shares) > 0.4 && Math.max(...shares) <= 7 / 16)
  t.true(plans.some(({ faults }) => faults.length === 0) && plans.some(({ faults }) => faults.length > 5))
  for (const { liars, cluster } of plans) for (const arbiter of cluster.arbiters!) t.false(liars!.attacks.has(arbiter))
})

test('where nobody is left to settle a dispute the run waits for somebody new, and says so', async (t) => {
  const run = chainRun(2, { epochs: 1, stepsPerEpoch: 60 }, (definition) =>
    runSettings(definition, { window: 4, redundancy: 2, checkpoint: { everySteps: 10 } }),
  )
  const machine = { msPerCost: 1, gflops: 20, memoryBytes: 1e9, computeClass: 'c' }
  const hosts: HostPlan[] = [
    { ...machine, name: 'h1' },
    { ...machine, name: 'h2', adversary: 'forger' },
  ]
  const cluster = { run, hosts, latency: { leastMs: 1, mostMs: 2, jitterMs: 0 } }
  const liars = { attacks: new Map([['h2', 'forger'] as const]), promise: 'none', mayWrong: true } as const
  const told = new Set<string>()
  const onPut = (key: string, bytes: Uint8Array) => {
    if (key.includes('/events/')) for (const line of new TextDecoder().decode(bytes).trim().split('\n')) told.add(line)
  }
  await carriedOut({ seed: 1, cluster, faults: [], liars }, { untilMs: 30_000, spectator: { onPut } })
  const events = [...told].map((line) => JSON.parse(line) as RunEvent)
  const waits = events.filter((event) => event.type === 'waiting' && event.reason.includes('has had a say in a dispute'))
  t.is(waits.length, 1, JSON.stringify(events.map(({ type }) => type)))
  t.false(events.some(({ type }) => type === 'convicted' || type === 'done'))
})

/** What simulations have found in the product, by what it was. */
const FOUND = {
  'a run that waits for followers is not told of those who are heard again': 111,
  'who is asked about a dispute says nothing': 214,
  'who comes in the place of a silent follower is silent, too': 334,
  'who takes over where it is trusted waits for a follower all the same': 344,
  'while the arbiter is away a panel decides, of which most lie': 103,
  'nobody can follow a VNode from a checkpoint that is damaged, and it goes on itself': 21_119,
  'the store refuses the end of a run that a follower’s word has brought about': 42_350,
  'an arbiter that cannot begin is asked again and again, and no other': 40_889,
  'a panel that comes to no end is drawn again and again': 42_014,
  'control has just been started again, and one is believed that a run cannot go on, since nobody else has joined yet': 44_638,
  'control has just been started again, and audits are given up since nobody has joined yet': 210,
  'the broker goes away just after control has been started again, and audits are given up since nobody is heard': 60_866,
} as const

for (const [what, seed] of Object.entries(FOUND)) {
  test.serial(`found, and repaired: ${what} (seed ${seed}, ${checksOf(seed)})`, async (t) => {
    const result = await trySeed(seed, { areLiars: true, shrink: false })
    t.true(result.ok, JSON.stringify(result))
  })
}
