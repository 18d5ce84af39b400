/** Hosts that lie, started by hand among real processes: who they are is found out, and the run ends as if there had been none. */
import { join } from 'node:path'
import test, { type ExecutionContext, registerCompletionHandler } from 'ava'
import type { AdversaryName } from '../../adversaries/adversaries.js'
import type { RunEvent } from '../../actors/events.js'
import { train } from '../../actors/train.js'
import { readHead } from '../../runtime/head-store.js'
import { systemClock } from '../../runtime/clock.js'
import { followed, vnodeOf } from '../../runtime/followers.js'
import { start, type Started, swarmgrad } from '../cli/command.js'
import { networks } from '../support/chaos-run.js'
import { embedded, outcomeOf } from '../support/cluster-runs.js'
import { TestCluster } from '../support/cluster.js'
import { forFile, pathToPrograms } from '../support/servers.js'
import { TRAINING } from '../support/small-runs.js'

const EVERY_STEPS = 10
const HONEST = ['ann', 'bob', 'cyd', 'dan'] as const
/** Control vouches for it. */
const ARBITER = 'dan'
/** One of the others is of the same owner: that takes nothing from its word. */
const OWNERS = { ann: 'ann', bob: 'bob', cyd: 'cyd', dan: 'ann' } as const

const file = forFile()
// A run whose test has failed waits for its cluster for ever.
registerCompletionHandler(() => process.exit())
let cluster: TestCluster
let expected: string

test.before(async () => {
  expected = (await embedded(networks.branching, TRAINING)).hash
  // How fast they are decides nothing here.
  cluster = await TestCluster.start(file, { hosts: [], membership: { rateMs: 1e9, standstillMs: 3_000 } })
  for (const name of HONEST) await cluster.join(name, { owner: OWNERS[name] })
})
test.after.always(async (t) => {
  await file.end()
  if (cluster) t.deepEqual(await cluster.processes(), [], 'processes left behind')
})

/** `swarmgrad host … --adversary`, as a person starts it. */
async function liarOf(t: ExecutionContext, name: AdversaryName): Promise<Started> {
  const words = [
    'host',
    cluster.url,
    '--name',
    name,
    '--owner',
    'mallory',
    '--adversary',
    name,
    '--folder',
    join(cluster.folder, name),
    '--yes',
    '--json',
  ]
  const env = { ...(await pathToPrograms()), SWARMGRAD_TOKEN: cluster.joinToken, SWARMGRAD_ALLOW_ADVERSARIES: '1' }
  const liar = start(t, cluster.folder, [...words, '--allow-code', cluster.code, '--max-memory', '2GB', '--leave-within', '1'], { env })
  await liar.until(({ type }) => type === 'ready')
  return liar
}

async function trust(t: ExecutionContext, action: 'grant' | 'revoke', host: string): Promise<void> {
  const env = { SWARMGRAD_CLUSTER: cluster.url, SWARMGRAD_TOKEN: cluster.adminToken }
  const { status, stdout, lines } = await swarmgrad(t, cluster.folder, ['trust', action, host, '--json'], { env })
  t.is(status, 0, stdout)
  t.is(lines[0].state, action === 'grant' ? 'trusted' : 'revoked')
}

/** Before its time: another run is to have it. */
async function release(t: ExecutionContext, host: string): Promise<void> {
  const env = { SWARMGRAD_CLUSTER: cluster.url, SWARMGRAD_TOKEN: cluster.token }
  const { status, stdout } = await swarmgrad(t, cluster.folder, ['quarantine', 'release', host, '--json'], { env })
  t.is(status, 0, stdout)
}

/** Runs in which a liar may have had nothing to lie about: how much it gets depends on how fast the machine was when it was measured. */
const MOST_TRIES = 4

type Convicted = RunEvent & { readonly type: 'convicted' }

/** A run among those that are there, of whom one lies. */
async function convictedOf(t: ExecutionContext, name: AdversaryName, id: string, tries = 1): Promise<Convicted[]> {
  await cluster.untilWhole()
  const liar = await liarOf(t, name)
  const beganMs = systemClock.now()
  const run = train(networks.branching, TRAINING, { on: cluster.on(), checkpoint: { everySteps: EVERY_STEPS }, redundancy: 2 }, { id })
  const events: RunEvent[] = []
  const story = (async () => {
    for await (const event of run.events()) events.push(event)
  })()
  const { hash } = await outcomeOf(cluster, run)
  await story
  const seconds = ((systemClock.now() - beganMs) / 1000).toFixed(1)
  liar.child.kill('SIGTERM')
  await liar.ended
  t.is(hash, expected)
  const { head } = await readHead(cluster.store, id)
  for (const pnode of head.excluded ?? []) t.is(pnode, name, 'the liar, and nobody else')
  const convicted = events.filter((event) => event.type === 'convicted')
  t.log(`${seconds} s: ${convicted.map(({ vnode, step, by, for: what }) => `${vnode} at ${step}, for its ${what}, by ${by}`).join('; ')}`)
  for (const { pnode } of convicted) t.is(pnode, name)
  // What it says of VNodes of the arbiter may come too late to count.
  const { directory } = head
  const canLie = (vnode: string) => name !== 'slanderer' || (followed(vnode) !== undefined && directory[vnodeOf(vnode)].pnode !== ARBITER)
  const hasLied = events.some((event) => event.type === 'placed' && event.pnode === name && canLie(event.vnode))
  const isEnough = convicted.length > 0 || hasLied || tries === MOST_TRIES
  return isEnough ? convicted : convictedOf(t, name, `${id}-again`, tries + 1)
}

for (const name of ['sign-flip', 'slanderer', 'forger'] as const) {
  test.serial(`${name}: convicted by the word of a host that control vouches for, and the hash of an honest run`, async (t) => {
    t.timeout(180_000)
    if (name === 'sign-flip') await trust(t, 'grant', ARBITER)
    const convicted = await convictedOf(t, name, `lied-to-by-${name}`)
    t.true(convicted.length > 0 && convicted.every(({ by }) => by === 'arbiter'))
    if (name === 'slanderer') t.true(convicted.every((one) => one.for === 'slander'))
  })
}

test.serial('when that is taken back nobody’s word is enough: a panel of three finds out who it is', async (t) => {
  t.timeout(180_000)
  await trust(t, 'revoke', ARBITER)
  await release(t, 'forger')
  const convicted = await convictedOf(t, 'forger', 'after-revocation')
  t.true(convicted.length > 0 && convicted.every(({ by }) => by === 'panel'))
})

test.serial('copier: the store shows it nothing of what others have, so it has nothing to say, and harms nobody', async (t) => {
  t.timeout(180_000)
  // What it has not computed it cannot say of an evaluation, either, and may be found out by that.
  await convictedOf(t, 'copier', 'copied')
})
