/** What the owner of a machine allows is kept: what exceeds it moves, and the machine stays. */
import test, { type ExecutionContext } from 'ava'
import { cluster } from '../../actors/cluster.js'
import { ControlClient } from '../../actors/control/control-client.js'
import {
  BACK_MS,
  BUSY_MS,
  HostLimits,
  type HostUse,
  MAINS_MS,
  type OwnersTerms,
  OVER_MS,
  QUIET_MS,
} from '../../actors/pnode/host-limits.js'
import { keepLimits, LOOK_MS } from '../../actors/pnode/limit-keeper.js'
import { train } from '../../actors/train.js'
import { systemClock } from '../../runtime/clock.js'
import type { MachineUse } from '../../runtime/machine-use.js'
import { readHead } from '../../runtime/head-store.js'
import { fakeClock } from '../support/fake-clock.js'
import { memoryCluster } from '../support/memory-cluster.js'
import { chain, TRAINING } from '../support/small-runs.js'
import { until } from '../support/until.js'

const TERMS: OwnersTerms = { memoryBytes: 100, pauseWhenBusy: false, onBattery: 'continue' }
const QUIET: HostUse = { nowMs: 0, othersShare: 0, power: 'mains', residentBytes: 1_000, tensorBytes: 0, placedBytes: new Map() }

/** Looks every second at what `use` says of it; by second, what came of it. */
function lived<T>(
  limits: HostLimits,
  seconds: number,
  use: (second: number) => Partial<HostUse>,
  of: (verdict: ReturnType<HostLimits['judge']>) => T,
) {
  return Array.from({ length: seconds }, (_, s) => of(limits.judge({ ...QUIET, ...use(s), nowMs: s * 1000 })))
}
/** When it changed, and to what. */
const changes = <T>(all: readonly T[]) => all.flatMap((each, s) => (s > 0 && each !== all[s - 1] ? [[s, each] as const] : []))
const toPause = ({ pause }: { readonly pause: string | undefined }) => pause

test('it pauses when others have used the machine for a while, and goes on after a longer quiet', (t) => {
  const limits = new HostLimits({ ...TERMS, pauseWhenBusy: true })
  const share = (s: number) => (s >= 20 && s < 60 ? 0.6 : 0)
  const paused = changes(lived(limits, 200, (s) => ({ othersShare: share(s) }), toPause))
  t.deepEqual(paused, [
    [20 + BUSY_MS / 1000, 'its owner uses it'],
    [60 + QUIET_MS / 1000, undefined],
  ])
})

test('short peaks, and a load between the two thresholds, change nothing; neither does any load where its owner did not ask for it', (t) => {
  const peaks = (s: number) => ({ othersShare: s % 10 < 9 ? 0.9 : 0.2 })
  t.deepEqual(changes(lived(new HostLimits({ ...TERMS, pauseWhenBusy: true }), 300, peaks, toPause)), [])
  t.deepEqual(changes(lived(new HostLimits(TERMS), 300, () => ({ othersShare: 1, power: 'battery' }), toPause)), [])
  const limits = new HostLimits({ ...TERMS, pauseWhenBusy: true })
  const between = lived(limits, 900, (s) => ({ othersShare: s < 20 ? 0.5 : 0.2 }), toPause)
  t.deepEqual(changes(between), [[BUSY_MS / 1000, 'its owner uses it']], 'it stays as it was')
})

test('on its battery it pauses at once, and goes on when the plug has been in for a while', (t) => {
  const limits = new HostLimits({ ...TERMS, onBattery: 'pause' })
  const power = (s: number) => (s >= 5 && s < 20 && s !== 12 ? 'battery' : 'mains')
  t.deepEqual(changes(lived(limits, 60, (s) => ({ power: power(s) }), toPause)), [
    [5, 'it runs on its battery'],
    [20 + MAINS_MS / 1000, undefined],
  ])
})

test('what its VNodes use beyond what was allowed for a while is taken back in the units of placement, and lent again after a longer while', (t) => {
  const toBytes = ({ memoryBytes }: { readonly memoryBytes: number }) => memoryBytes
  const use = (s: number) => {
    if (s < 2) return {}
    // Twice as much as they were thought to need; from the 40th second on half of them have gone.
    const placedBytes = new Map([['r', s < 40 ? 80 : 40]])
    return { placedBytes, residentBytes: 1_000 + (s < 40 ? 160 : 80) }
  }
  const told = changes(lived(new HostLimits(TERMS), 800, use, toBytes))
  t.deepEqual(told, [
    [2 + OVER_MS / 1000, 50],
    // It was seen again while they were going.
    [told.at(-1)![0], 100],
  ])
  t.true(told.at(-1)![0] >= 40 && told.at(-1)![0] <= 40 + BACK_MS / 1000)
  const tensors = lived(new HostLimits(TERMS), 30, () => ({ placedBytes: new Map([['r', 100]]), tensorBytes: 400 }), toBytes)
  t.is(tensors.at(-1), 25, 'tensors alone say it, too')
  const two = lived(
    new HostLimits(TERMS),
    30,
    () => ({
      placedBytes: new Map([
        ['r', 70],
        ['q', 50],
      ]),
      tensorBytes: 120,
    }),
    toBytes,
  )
  t.is(two.at(-1), 50, 'of two runs, neither of which is too large by itself, the larger gives up what is too much')
  const peak = lived(
    new HostLimits(TERMS),
    60,
    (s) => ({ placedBytes: new Map([['r', 90]]), tensorBytes: s % 8 === 0 ? 90 : 200 }),
    toBytes,
  )
  t.deepEqual(changes(peak), [], 'what a checkpoint needs for a moment is not meant')
})

const LONG = { ...TRAINING, epochs: 60 }

/** A run on ann and bob; how ann's machine is used is what the test says. */
async function withOwner(t: ExecutionContext, terms: Partial<OwnersTerms>) {
  const made = await memoryCluster(t, { pnodes: ['bob'] })
  const ann = await made.addPNode('ann')
  const clock = fakeClock()
  const use: { -readonly [Field in keyof MachineUse]: MachineUse[Field] } = { othersShare: 0, power: 'mains', residentBytes: 1e8 }
  const source = { look: async () => ({ ...use }) }
  const errors: unknown[] = []
  const keeper = keepLimits({
    pnode: ann,
    terms: { ...TERMS, memoryBytes: 4e9, ...terms },
    source,
    clock,
    onError: (error) => void errors.push(error),
  })
  t.teardown(() => keeper.stop())
  const run = train(chain, LONG, { on: cluster(made.url, { token: made.keys.trainerToken }), audits: 0, checkpoint: { everySteps: 200 } })
  run.result.catch(() => undefined)
  await (run as { started?: Promise<void> }).started
  const client = new ControlClient({ url: made.url, token: made.keys.trainerToken, clock: systemClock })
  const stateOf = async (pnode: string) => (await client.pnodes()).find((member) => member.pnode === pnode)?.state
  const placesOf = async () => Object.values((await readHead(made.store, run.id)).head.directory).map(({ pnode }) => pnode)
  const isOn = (pnode: string) => until(`something is on ${pnode}`, async () => (await placesOf()).includes(pnode))
  const isOff = (pnode: string) => until(`nothing is on ${pnode}`, async () => !(await placesOf()).includes(pnode))
  const end = async () => {
    await run.pause()
    const { stepsReplayed, stepsLost, stepsDoubled } = await run.result
    t.deepEqual({ stepsReplayed, stepsLost, stepsDoubled }, { stepsReplayed: 0, stepsLost: 0, stepsDoubled: 0 })
    t.deepEqual([...errors, ...made.errors], [])
  }
  await isOn('ann')
  return { made, ann, clock, use, keeper, client, stateOf, placesOf, isOn, isOff, end }
}

/** So many looks, as if the time had passed. */
const pass = async ({ clock }: { readonly clock: ReturnType<typeof fakeClock> }, ms: number) => {
  for (let passed = 0; passed <= ms; passed += LOOK_MS) await clock.advance(LOOK_MS)
}

test.serial(
  'while its owner uses the machine its VNodes are elsewhere, without a step redone, and afterwards it takes work again',
  async (t) => {
    const owned = await withOwner(t, { pauseWhenBusy: true })
    owned.use.othersShare = 0.5
    await pass(owned, BUSY_MS)
    await owned.isOff('ann')
    t.is(await owned.stateOf('ann'), 'draining')
    owned.use.othersShare = 0
    await pass(owned, QUIET_MS)
    await until('ann is ready', async () => (await owned.stateOf('ann')) === 'ready')
    await until('bob has nothing', async () => (await owned.client.drain('bob')).length === 0)
    t.deepEqual([...new Set(await owned.placesOf())], ['ann'])
    await owned.end()
  },
)

test.serial('what is beyond a lowered limit moves, and what fits stays', async (t) => {
  const owned = await withOwner(t, {})
  await until('bob has nothing', async () => (await owned.client.drain('bob')).length === 0)
  await owned.client.undrain('bob')
  t.deepEqual([...new Set(await owned.placesOf())], ['ann'])
  await owned.ann.lend({ maxVNodes: 2 })
  await owned.isOn('bob')
  t.is((await owned.placesOf()).filter((pnode) => pnode === 'ann').length, 2)
  owned.keeper.change({ memoryBytes: 1 })
  await pass(owned, 0)
  await owned.isOff('ann')
  t.is(await owned.stateOf('ann'), 'ready', 'the host lives')
  await owned.end()
})

test.serial('what its VNodes use in truth counts, whatever they were thought to need', async (t) => {
  const owned = await withOwner(t, { memoryBytes: 5e7 })
  await until('bob has nothing', async () => (await owned.client.drain('bob')).length === 0)
  await owned.client.undrain('bob')
  owned.use.residentBytes = 1e8 + 6e7
  await pass(owned, OVER_MS)
  await owned.isOn('bob')
  owned.use.residentBytes = 1e8 + 4e7
  t.true((await owned.placesOf()).includes('ann'), 'what fits stays')
  t.is(await owned.stateOf('ann'), 'ready', 'the host lives')
  await pass(owned, BACK_MS)
  await until('bob has nothing', async () => (await owned.client.drain('bob')).length === 0)
  t.deepEqual([...new Set(await owned.placesOf())], ['ann'])
  await owned.end()
})

test.serial('where nobody else can take what is beyond a limit it stands still: the limit comes first', async (t) => {
  const made = await memoryCluster(t, { pnodes: [] })
  const ann = await made.addPNode('ann')
  const run = train(chain, LONG, { on: cluster(made.url, { token: made.keys.trainerToken }), audits: 0, checkpoint: { everySteps: 200 } })
  run.result.catch(() => undefined)
  await (run as { started?: Promise<void> }).started
  const monitor = made.host.monitorOf(run.id)!
  const reason = new Promise<string>((resolve) => monitor.feed.listen((event) => event.type === 'waiting' && resolve(event.reason)))
  await ann.lend({ memoryBytes: 1 })
  t.regex(await reason, /ann: .* MB more than its 0\.0 MB allow/)
  const standsAt = monitor.checkpointStep
  await until('all of it is told', () => monitor.step === standsAt)
  await ann.lend({ memoryBytes: 4e9 })
  await until('it goes on', () => monitor.step > standsAt)
  await run.pause()
  const { stepsReplayed, stepsLost, stepsDoubled } = await run.result
  t.deepEqual({ stepsReplayed, stepsLost, stepsDoubled }, { stepsReplayed: 0, stepsLost: 0, stepsDoubled: 0 })
})
