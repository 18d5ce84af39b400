/** Hosts that lie, beside others that apply the same log: each is found out within one segment, and the run ends with the hash of an honest one. */
import test from 'ava'
import { local, train } from '../../actors/train.js'
import type { LocalSwarm } from '../../actors/local-swarm.js'
import { openPools, renamed } from '../support/chaos-run.js'
import { poisonedNetwork, poisonFile } from '../support/poisoned-runs.js'
import { ADVERSARIES, type AdversaryName, HARMLESS } from '../../adversaries/adversaries.js'
import { openObjects, slowBranching, TRAINING } from '../support/small-runs.js'
import { type Arrangement, ended as endedBeside, EVERY_STEPS } from './beside-liars.js'

const pools = openPools()
test.after.always(() => pools.close())
const ended = (arrangement: Arrangement) => endedBeside(pools, { ...arrangement, options: { redundancy: 2, ...arrangement.options } })

let honest: string | undefined
test.before(async () => {
  honest = (await ended({ pnodes: 2, options: { redundancy: 1 } })).hash
})

test.serial('where nobody lies nobody is convicted, and the hash is the same', async (t) => {
  const { hash, head, evidence } = await ended({ pnodes: 4 })
  t.is(hash, honest)
  t.is(head.excluded, undefined)
  t.deepEqual(evidence, [])
})

for (const name of HARMLESS) {
  test.serial(`${name}: nobody is believed alone, and the same hash`, async (t) => {
    const { hash, head } = await ended({ pnodes: 5, liars: { 'pnode-2': name }, trusted: ['pnode-5'] })
    t.is(hash, honest)
    t.is(head.excluded, undefined)
  })
}

/** It lies where the source is (source.test.ts). */
const NOT_HERE: AdversaryName = 'poisoned-source'
for (const name of (Object.keys(ADVERSARIES) as AdversaryName[]).filter((each) => !HARMLESS.includes(each) && each !== NOT_HERE)) {
  test.serial(`${name}: out within one segment by the word of an arbiter, and the same hash`, async (t) => {
    const { hash, head, events, evidence } = await ended({ pnodes: 5, liars: { 'pnode-2': name }, trusted: ['pnode-5'] })
    t.is(hash, honest)
    t.deepEqual(head.excluded, ['pnode-2'])
    t.true(events.some((event) => event.type === 'convicted' && event.pnode === 'pnode-2' && event.by === 'arbiter'))
    t.true(evidence.length > 0 && evidence.every(({ convicted }) => convicted.every(({ host }) => host === 'pnode-2')))
  })
}

for (const name of ['sign-flip', 'forger', 'slanderer', 'nan-bomber'] as const) {
  test.serial(`${name}: a panel of three finds out who it is`, async (t) => {
    const { hash, head, evidence } = await ended({ pnodes: 4, liars: { 'pnode-2': name } })
    t.is(hash, honest)
    t.deepEqual(head.excluded, ['pnode-2'])
    t.true(evidence.every(({ by, wrongWith }) => by === 'panel' && wrongWith < 0.5))
  })
}

test.serial('seven of sixteen lie, each in its own way; a trusted one applies everything, too', async (t) => {
  const names: readonly AdversaryName[] = ['sign-flip', 'label-flip', 'lazy', 'forger', 'slanderer', 'nan-bomber', 'other-batch']
  const liars = Object.fromEntries(names.map((name, i) => [`pnode-${2 * i + 2}`, name]))
  const { hash, head, evidence } = await ended({
    pnodes: 16,
    liars,
    trusted: ['pnode-1'],
    options: { constraints: { areFollowersTrusted: true } },
  })
  t.is(hash, honest)
  for (const pnode of head.excluded ?? []) t.true(pnode in liars, `${pnode} is honest`)
  t.true(evidence.length > 0)
})

test.serial('a trusted follower that takes over needs nobody to agree, as it did not before', async (t) => {
  const { hash, events } = await ended({
    pnodes: 4,
    trusted: ['pnode-4'],
    leaves: { pnode: 'pnode-2', step: EVERY_STEPS + EVERY_STEPS / 2 },
    options: { constraints: { areFollowersTrusted: true } },
  })
  t.is(hash, honest)
  t.true(events.some((event) => event.type === 'placed' && event.reason.includes('it stood by') && event.pnode === 'pnode-4'))
  t.false(events.some(({ type }) => type === 'waiting'))
})

test.serial('who lies and is gone before the checkpoint leaves a lie behind that is found all the same', async (t) => {
  const leaves = { pnode: 'pnode-2', step: EVERY_STEPS + EVERY_STEPS / 2 }
  const { hash, head, events } = await ended({
    pnodes: 5,
    liars: { 'pnode-2': 'sign-flip' },
    leaves,
    options: { checkpoint: { everySteps: 4 * EVERY_STEPS } },
  })
  t.is(hash, honest)
  t.is(head.excluded, undefined)
  t.true(
    events.some((event) => event.type === 'rolledBack' && event.reason.includes('has not put out')),
    'the run went back',
  )
})

test.serial('a step that fails wherever it is tried is given up as ever: others confirm it', async (t) => {
  const poison = await poisonFile()
  t.teardown(() => poison.remove())
  const net = poisonedNetwork({ at: [EVERY_STEPS + 3], file: poison.file })
  const alone = await ended({ net, pnodes: 3, options: { redundancy: 1 } })
  const { hash, head, deadLetters } = await ended({ net, pnodes: 5 })
  t.is(alone.deadLetters, 1)
  t.is(deadLetters, 1)
  t.is(hash, alone.hash)
  t.is(head.excluded, undefined)
})

test.serial('with nobody who could agree the run waits, and says so; it goes on when there is somebody', async (t) => {
  const { store } = openObjects()
  let swarm: LocalSwarm | undefined
  const run = train(
    slowBranching(1),
    TRAINING,
    { on: local({ pnodes: 1 }), store, checkpoint: { everySteps: EVERY_STEPS }, redundancy: 2 },
    { id: 'alone', pool: renamed(pools.inline, 'alone-'), onSwarm: (made) => (swarm = made) },
  )
  for await (const event of run.events()) {
    if (event.type !== 'waiting') continue
    t.regex(event.reason, /no PNode for dense-1~1.*2 have to apply each VNode/)
    break
  }
  await swarm!.add('pnode-2')
  t.is((await run.result).status, 'done')
})
