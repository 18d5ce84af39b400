/** A PNode that is drained: by whoever runs the cluster, and by its owner. */
import test, { type ExecutionContext } from 'ava'
import { cluster } from '../../actors/cluster.js'
import { ControlClient } from '../../actors/control/control-client.js'
import { actor, call, type MembershipState } from '../../actors/calls.js'
import { listMembers } from '../../actors/placement/parts.js'
import { DEFAULT_MEMBERSHIP, placementActor } from '../../actors/placement/placement.js'
import type { TrainingOptions } from '../../actors/prepare.js'
import { train } from '../../actors/train.js'
import { localActors } from '../../runtime/actor-system/local-actors.js'
import { systemClock } from '../../runtime/clock.js'
import { readHead } from '../../runtime/head-store.js'
import { memoryStore } from '../../runtime/object-store/memory-store.js'
import { type MemoryCluster, memoryCluster } from '../support/memory-cluster.js'
import { chain, TRAINING } from '../support/small-runs.js'
import { until } from '../support/until.js'

/** Long enough that it goes on while PNodes come and go. */
const LONG = { ...TRAINING, epochs: 60 }

const clientOf = ({ url, keys }: MemoryCluster) => new ControlClient({ url, token: keys.trainerToken, clock: systemClock })
const begin = async ({ url, keys }: MemoryCluster, training: TrainingOptions = LONG) => {
  const run = train(chain, training, { on: cluster(url, { token: keys.trainerToken }), audits: 0, checkpoint: { everySteps: 200 } })
  run.result.catch(() => undefined)
  await (run as { started?: Promise<void> }).started
  return run
}
const placesOf = async ({ store }: MemoryCluster, run: string) =>
  new Set(Object.values((await readHead(store, run)).head.directory).map(({ pnode }) => pnode))
const stateOf = async (made: MemoryCluster, pnode: string): Promise<MembershipState | undefined> =>
  (await clientOf(made).pnodes()).find((member) => member.pnode === pnode)?.state

const drained = (made: MemoryCluster, pnode: string) =>
  until(`${pnode} has nothing`, async () => (await clientOf(made).drain(pnode)).length === 0)

const none = { stepsReplayed: 0, stepsLost: 0, stepsDoubled: 0 }

async function endsWell(t: ExecutionContext, run: Awaited<ReturnType<typeof begin>>, expected: string | undefined): Promise<void> {
  const { hash, stepsReplayed, stepsLost, stepsDoubled } = await run.result
  t.deepEqual({ stepsReplayed, stepsLost, stepsDoubled }, none)
  t.is(hash, expected)
}

test.serial(
  'a drained PNode hands over without a step redone, gets nothing, stays a member, and comes back when that is taken back',
  async (t) => {
    const made = await memoryCluster(t)
    const [training, quiet] = [{ ...TRAINING, epochs: 40 }, await memoryCluster(t)]
    const run = await begin(made, training)
    for (const pnode of ['ann', 'bob']) await drained(made, pnode)
    t.deepEqual([...(await placesOf(made, run.id))], ['cyd'])
    t.deepEqual(await Promise.all(['ann', 'bob', 'cyd'].map((pnode) => stateOf(made, pnode))), ['draining', 'draining', 'ready'])
    await clientOf(made).undrain('ann')
    t.is(await stateOf(made, 'ann'), 'ready')
    await drained(made, 'cyd')
    t.deepEqual([...(await placesOf(made, run.id))], ['ann'])
    await endsWell(t, run, (await (await begin(quiet, training)).result).hash)
    t.deepEqual(made.errors, [])
  },
)

test.serial('while nobody else can take it, what a drained PNode has goes on there, and moves as soon as somebody can', async (t) => {
  const made = await memoryCluster(t, { pnodes: ['ann'] })
  const run = await begin(made)
  const client = clientOf(made)
  t.is((await client.drain('ann')).length, 4, 'the source and three VNodes')
  const step = () => made.host.monitorOf(run.id)?.step ?? 0
  const before = step()
  await until('it goes on', async () => {
    t.is((await client.drain('ann')).length, 4)
    return step() > before + 100
  })
  // Nobody asks again: control remembers.
  await made.addPNode('bob')
  await until('all of it is on bob', async () => [...(await placesOf(made, run.id))].join() === 'bob')
  await run.pause()
  const { stepsReplayed, stepsLost, stepsDoubled } = await run.result
  t.deepEqual({ stepsReplayed, stepsLost, stepsDoubled }, none)
})

test.serial('what its owner stops stands still where nobody else can take it, and goes on when he lets it', async (t) => {
  const made = await memoryCluster(t, { pnodes: [] })
  const host = await made.addPNode('ann')
  const run = await begin(made)
  const monitor = made.host.monitorOf(run.id)!
  const checkpoint = new Promise<void>((resolve) => monitor.feed.listen(({ type }) => type === 'waiting' && resolve()))
  await host.pause('its owner needs it')
  await checkpoint
  const standsAt = monitor.checkpointStep
  await until('all of it is told', async () => monitor.step === standsAt)
  t.is(await stateOf(made, 'ann'), 'draining')
  t.deepEqual((await clientOf(made).pnodes())[0].drains, { host: 'its owner needs it' })
  t.is((await clientOf(made).drain('ann')).length, 4)
  t.deepEqual([monitor.step, monitor.checkpointStep], [standsAt, standsAt], 'nothing is done after the checkpoint')
  await clientOf(made).undrain('ann')
  await host.resume()
  await until('it goes on', async () => monitor.step > standsAt)
  await run.pause()
  const { stepsReplayed, stepsLost, stepsDoubled } = await run.result
  t.deepEqual({ stepsReplayed, stepsLost, stepsDoubled }, none)
  t.deepEqual(made.errors, [])
})

test.serial('what stands still goes on, although its run has another owner meanwhile, who was told nothing', async (t) => {
  const made = await memoryCluster(t, { pnodes: [] })
  const host = await made.addPNode('ann')
  const run = await begin(made)
  const monitor = made.host.monitorOf(run.id)!
  const waits = new Promise<void>((resolve) => monitor.feed.listen(({ type }) => type === 'waiting' && resolve()))
  await host.pause('its owner needs it')
  await waits
  const standsAt = monitor.checkpointStep
  for (const ref of [actor.run(run.id), actor.relocation, actor.placement]) await made.system.deactivate(ref)
  await host.resume()
  await until('it goes on', async () => monitor.step > standsAt)
  await run.pause()
  const { stepsReplayed, stepsLost, stepsDoubled } = await run.result
  t.deepEqual({ stepsReplayed, stepsLost, stepsDoubled }, none)
})

/** The Placement actor by itself; Relocation hears of it and does nothing. */
async function placementOf(t: ExecutionContext) {
  const store = memoryStore()
  const system = localActors({ store, clock: systemClock, onError: () => undefined })
  t.teardown(() => system.close())
  system.register(placementActor(DEFAULT_MEMBERSHIP))
  system.register({ type: 'Relocation', activate: () => null, handlers: { drain: () => [], joined: () => {}, relocate: () => {} } })
  await system.start()
  const join = (pnode: string, incarnation: string) => {
    const profile = { pnode, incarnation, computeClass: 'wasm', gflops: 1, memoryBytes: 1e9 }
    return call<'Placement', 'join'>(system, actor.placement, 'join', profile)
  }
  const stateIs = async () => {
    const members = await listMembers(system)
    return Object.fromEntries(members.map(({ pnode, state, drains }) => [pnode, drains ? { state, ...drains } : state]))
  }
  const drain = (pnode: string, by: 'operator' | 'host') =>
    call<'Placement', 'drain'>(system, actor.placement, 'drain', { pnode, by, reason: `for the ${by}` })
  const undrain = (pnode: string, by: 'operator' | 'host') =>
    call<'Placement', 'undrain'>(system, actor.placement, 'undrain', { pnode, by })
  return { system, join, stateIs, drain, undrain }
}

test('whoever runs the cluster and the owner of a machine take back what they asked for themselves, and nothing else', async (t) => {
  const { join, stateIs, drain, undrain } = await placementOf(t)
  await join('ann', 'a1')
  await drain('ann', 'operator')
  await drain('ann', 'host')
  t.deepEqual(await stateIs(), { ann: { state: 'draining', operator: 'for the operator', host: 'for the host' } })
  await undrain('ann', 'host')
  t.deepEqual(await stateIs(), { ann: { state: 'draining', operator: 'for the operator' } })
  await join('ann', 'a1')
  t.deepEqual(await stateIs(), { ann: { state: 'draining', operator: 'for the operator' } }, 'it has joined again')
  await undrain('ann', 'operator')
  t.deepEqual(await stateIs(), { ann: 'ready' })
  await undrain('ann', 'operator')
  t.deepEqual(await stateIs(), { ann: 'ready' }, 'harmless when repeated')
})

test('what whoever runs the cluster asked for outlives the host, and control; what the owner asked for does not outlive his process', async (t) => {
  const { system, join, stateIs, drain, undrain } = await placementOf(t)
  await join('ann', 'a1')
  await drain('ann', 'operator')
  await drain('ann', 'host')
  await call<'Placement', 'leave'>(system, actor.placement, 'leave', { pnode: 'ann', reason: 'gone' })
  t.like((await stateIs()).ann, { state: 'lost' })
  await system.deactivate(actor.placement)
  await join('ann', 'a2')
  t.deepEqual(await stateIs(), { ann: { state: 'draining', operator: 'for the operator' } })
  await call<'Placement', 'leave'>(system, actor.placement, 'leave', { pnode: 'ann', reason: 'gone' })
  await undrain('ann', 'operator')
  t.deepEqual(await stateIs(), { ann: 'lost' }, 'that it is gone is another matter')
})

test('a PNode that nobody knows, and one that is lost, cannot be drained', async (t) => {
  const { system, join, drain, undrain } = await placementOf(t)
  await join('ann', 'a1')
  const refusal = (work: Promise<unknown>) => t.throwsAsync(work) as Promise<Error & { code: string }>
  t.like(await refusal(drain('bob', 'operator')), {
    code: 'host.unknown',
    message: 'no PNode is called bob. See who is there with: swarmgrad pnodes',
  })
  t.like(await refusal(undrain('bob', 'operator')), { code: 'host.unknown' })
  await call<'Placement', 'leave'>(system, actor.placement, 'leave', { pnode: 'ann', reason: 'gone' })
  t.like(await refusal(drain('ann', 'operator')), { code: 'host.lost' })
  await t.notThrowsAsync(drain('ann', 'host'), 'a host that leaves does not care')
})
