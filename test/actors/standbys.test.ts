/** Standbys: followers of VNodes that take over when these are lost, and never hold a run up. */
import test from 'ava'
import { place } from '../../actors/placement/assignment.js'
import type { RunEvent } from '../../actors/events.js'
import type { LocalSwarm } from '../../actors/local-swarm.js'
import { demandsOf } from '../../actors/run/run-placing.js'
import { readDefinition } from '../../actors/run/run-definition.js'
import { local, type RunOptions, train } from '../../actors/train.js'
import { SOURCE } from '../../components/definition.js'
import { followersIn, vnodeOf } from '../../runtime/followers.js'
import { readHead } from '../../runtime/head-store.js'
import { openPools, renamed } from '../support/chaos-run.js'
import { openObjects, slowBranching, TRAINING } from '../support/small-runs.js'
import { until } from '../support/until.js'

const pools = openPools()
test.after.always(() => pools.close())
let names = 0
const pool = () => renamed(pools.inline, `standbys-${++names}-`)

const STEP_MS = 2
const LONG = { ...TRAINING, epochs: 10 }
const EVERY_STEPS = 30

async function begun(pnodes: number, options: RunOptions = {}) {
  const { store } = openObjects()
  const id = `s${++names}`
  let swarm: LocalSwarm | undefined
  const on = local({ pnodes, returnMs: Infinity })
  const run = train(
    slowBranching(STEP_MS),
    LONG,
    { on, store, checkpoint: { everySteps: EVERY_STEPS }, replicas: 1, ...options },
    { id, pool: pool(), onSwarm: (made) => (swarm = made) },
  )
  run.result.catch(() => undefined)
  const events: RunEvent[] = []
  void (async () => {
    for await (const event of run.events()) events.push(event)
  })()
  await until('it begins', () => swarm !== undefined)
  const directory = async () => (await readHead(store, id)).head.directory
  return { run, swarm: swarm!, store, events, id, directory }
}

let expected: string | undefined
test.before(async () => {
  const { run } = await begun(2, { replicas: 0 })
  expected = (await run.result).hash
})

test.serial('when a PNode is lost, whoever stood by goes on from where it was, not from the checkpoint', async (t) => {
  const { run, swarm, events, directory } = await begun(4)
  await until('standbys of all', async () => followersIn({ directory: await directory() }).length === 5)
  await until('checkpoints', () => swarm.monitor.checkpointStep >= 2 * EVERY_STEPS)
  await until('steps after it', () => swarm.monitor.step >= swarm.monitor.checkpointStep + EVERY_STEPS / 3)
  const before = await directory()
  const [, lost] = Object.entries(before).find(([vnode, { pnode }]) => vnode !== SOURCE && pnode !== before[SOURCE].pnode)!
  const vnodes = Object.keys(before).filter((vnode) => before[vnode].pnode === lost.pnode && vnodeOf(vnode) === vnode)
  const { checkpointStep } = swarm.monitor
  await swarm.killPNode(lost.pnode)
  const moved = () => events.filter((event) => event.type === 'relocated')
  await until('all of them go on', () => vnodes.every((vnode) => moved().some((event) => event.vnode === vnode)))
  const after = await directory()
  for (const vnode of vnodes) {
    t.is(after[vnode].pnode, before[`${vnode}~1`].pnode, `${vnode} is where its standby was`)
    const { fromStep } = moved().find((event) => event.vnode === vnode)!
    t.true(fromStep > checkpointStep, `${vnode} goes on after ${fromStep}, the checkpoint is of ${checkpointStep}`)
  }
  await until('others stand by', async () => followersIn({ directory: await directory() }).length === 5)
  const { hash, stepsLost, stepsDoubled } = await run.result
  t.deepEqual({ hash, stepsLost, stepsDoubled }, { hash: expected, stepsLost: 0, stepsDoubled: 0 })
})

test.serial('nobody stands by for a VNode on its own PNode; without room for standbys the run goes on without', async (t) => {
  const one = await begun(1)
  t.is((await one.run.result).hash, expected)
  t.deepEqual(followersIn({ directory: await one.directory() }), [])
  const two = await begun(2, { replicas: 3 })
  await until('standbys', async () => followersIn({ directory: await two.directory() }).length > 0)
  const directory = await two.directory()
  t.is(followersIn({ directory }).length, 5, 'one of each: there is only one other PNode')
  for (const id of followersIn({ directory })) t.not(directory[id].pnode, directory[vnodeOf(id)].pnode)
  // With one PNode left everything is there, standbys too: they go, and nothing waits for them.
  await two.swarm.killPNode(directory[SOURCE].pnode)
  t.is((await two.run.result).hash, expected)
})

test.serial('a PNode that goes hands over what it has; what only stood by there stands by elsewhere', async (t) => {
  const { run, swarm, events, directory } = await begun(3)
  await until('standbys of all', async () => followersIn({ directory: await directory() }).length === 5)
  const [leaving] = swarm.busyPNodes
  await swarm.drain(leaving)
  const places = Object.values(await directory()).map(({ pnode }) => pnode)
  t.false(places.includes(leaving))
  await until('standbys of all again', async () => followersIn({ directory: await directory() }).length === 5)
  const { hash, stepsReplayed } = await run.result
  t.deepEqual({ hash, stepsReplayed }, { hash: expected, stepsReplayed: 0 })
  t.true(events.some((event) => event.type === 'placed' && event.reason === 'stands by'))
})

test.serial('a worker that is lost takes its VNodes to whoever stands by, and its standbys along', async (t) => {
  const { run, swarm, directory } = await begun(3)
  await until('standbys of all', async () => followersIn({ directory: await directory() }).length === 5)
  for (const pnode of swarm.computingPNodes) {
    swarm.killWorker(pnode)
    await until('standbys of all again', async () => followersIn({ directory: await directory() }).length === 5)
  }
  t.is((await run.result).hash, expected)
})

test.serial('control that forgets everything finds standbys where they are', async (t) => {
  const { run, swarm, directory } = await begun(3)
  await until('standbys of all', async () => followersIn({ directory: await directory() }).length === 5)
  const before = await directory()
  await swarm.restartControl()
  t.deepEqual(await directory(), before)
  const [victim] = swarm.computingPNodes
  await swarm.killPNode(victim)
  await until('nothing is there any more', async () => Object.values(await directory()).every(({ pnode }) => pnode !== victim))
  t.is((await run.result).hash, expected)
})

test.serial('standbys are apart from their VNodes by owner, too', async (t) => {
  const { run, store, id } = await begun(1)
  await run.result
  const definition = await readDefinition(store, id)
  t.true(
    demandsOf(definition).every(({ spread }) => spread === undefined),
    'nothing is apart from nobody',
  )
  const [{ id: first }] = definition.network.vnodes
  const all = demandsOf(definition, [`${first}~1`, `${first}~2`])
  t.deepEqual(
    all.filter(({ spread }) => spread === first).map(({ vnode }) => vnode),
    [first, `${first}~1`, `${first}~2`],
  )
  const member = (pnode: string, owner: string) =>
    ({
      pnode,
      owner,
      incarnation: pnode,
      computeClass: 'c',
      gflops: 10,
      memoryBytes: 1e9,
      state: 'ready',
      busyShare: 0,
      vnodes: [],
    }) as const
  const members = [member('p1', 'ann'), member('p2', 'ann'), member('p3', 'bob'), member('p4', 'cyd')]
  const staying = Object.fromEntries(all.filter(({ vnode }) => vnodeOf(vnode) === vnode).map(({ vnode }) => [vnode, 'p1']))
  const decisions = place(members, { run: id, demands: all, staying, avoid: [], code: [] })
  t.deepEqual(decisions.map(({ pnode }) => pnode).toSorted(), ['p3', 'p4'])
})

for (const wrong of [-1, 9, 1.5]) {
  test.serial(`${wrong} standbys are refused`, async (t) => {
    const on = local({ pnodes: 1 })
    const run = train(slowBranching(0), TRAINING, { on, store: openObjects().store, replicas: wrong }, { pool: pool() })
    await t.throwsAsync(run.result, { code: 'usage', message: /replicas.*from 0 to 8/s })
  })
}
