import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { cluster, ClusterRun, clusterStore } from '../../actors/cluster.js'
import { readDeadLetters } from '../../actors/run/dead-letters.js'
import type { RunEvent } from '../../actors/events.js'
import { exportRun } from '../../actors/export-model.js'
import { local, type Run, train } from '../../actors/train.js'
import { predsim } from '../../components/rules/index.js'
import { readHead } from '../../runtime/head-store.js'
import { memoryStore } from '../../runtime/object-store/memory-store.js'
import { within } from '../conformance/within.js'
import { memoryCluster } from '../support/memory-cluster.js'
import { poisonedNetwork, poisonFile } from '../support/poisoned-runs.js'
import { chain, chainsOf, TOTAL_STEPS, TRAINING } from '../support/small-runs.js'

async function eventsOf(run: Run): Promise<RunEvent[]> {
  const events: RunEvent[] = []
  for await (const event of run.events()) events.push(event)
  return events
}

/** What tells one event from all others, without progress, of which readers see more or less. */
const storyOf = (events: readonly RunEvent[]): string[] =>
  events.filter(({ type }) => type !== 'progress').map((event) => JSON.stringify(event))

function isWithoutRepetition(t: ExecutionContext, events: readonly RunEvent[]): void {
  const story = storyOf(events)
  t.is(new Set(story).size, story.length)
}

test('a run on a cluster ends with the bits of one on this machine', async (t) => {
  const embedded = memoryStore()
  const expected = train(chain, TRAINING, { on: local({ pnodes: 3, threads: false }), store: embedded }, { id: 'r' })
  const { hash } = await expected.result
  const { url, keys, store, errors } = await memoryCluster(t)
  const run = train(chain, TRAINING, { on: cluster(url, { token: keys.trainerToken }) }, { id: 'r' })
  t.true(run instanceof ClusterRun)
  const [result, events] = await Promise.all([run.result, eventsOf(run)])
  t.like(result, { status: 'done', run: 'r', steps: TOTAL_STEPS, hash, moves: 0, stepsReplayed: 0, stepsLost: 0, stepsDoubled: 0 })
  t.deepEqual(await chainsOf(store, 'r'), await chainsOf(embedded, 'r'))
  t.deepEqual(await run.history(), await expected.history())
  t.is(events[0].type, 'snapshot')
  t.is(events.at(-1)?.type, 'done')
  t.is(events.filter(({ type }) => type === 'started').length, 1)
  isWithoutRepetition(t, events)
  // Nobody has asked for it: hosts of a cluster are strangers, and all that they do on probation is looked at.
  const audited = events.flatMap((event) => (event.type === 'audited' ? [event] : []))
  const { directory } = (await readHead(store, 'r')).head
  t.deepEqual([...new Set(audited.map(({ vnode }) => vnode))].toSorted(), Object.keys(directory).toSorted())
  t.true(audited.every(({ pnode, by }) => by.length > 0 && !by.includes(pnode)))
  t.false(events.some(({ type }) => type === 'unaudited'))
  t.deepEqual(errors, [])
})

test('a run on a cluster is not audited where its trainer wants none, and nothing of it is on one machine', async (t) => {
  const { url, keys } = await memoryCluster(t)
  const believed = await eventsOf(train(chain, TRAINING, { on: cluster(url, { token: keys.trainerToken }), audits: 0 }, { id: 'r' }))
  const own = await eventsOf(train(chain, TRAINING, { on: local({ pnodes: 3, threads: false }), store: memoryStore() }, { id: 'r' }))
  for (const events of [believed, own]) t.false(events.some(({ type }) => type === 'audited' || type === 'unaudited'))
})

test('a run on a cluster begins with a file of the trainer, and its weights are exported from there', async (t) => {
  const embedded = memoryStore()
  const folder = await mkdtemp(join(tmpdir(), 'swarmgrad-cluster-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  const here = { on: local({ pnodes: 2, threads: false }), store: embedded }
  await train(chain, { ...TRAINING, epochs: 1 }, here, { id: 'r' }).result
  const [from] = (await exportRun(embedded, 'r', join(folder, 'r.safetensors'))).files
  const training = { ...TRAINING, epochs: 1, rule: predsim(), from }
  const { hash } = await train(chain, training, here, { id: 's' }).result
  const { url, keys, errors } = await memoryCluster(t)
  const on = cluster(url, { token: keys.trainerToken })
  const run = train(chain, training, { on }, { id: 's' })
  const [result, events] = await Promise.all([run.result, eventsOf(run)])
  t.is(result.hash, hash)
  const warnings = events.flatMap((event) => (event.type === 'warning' ? event.error.message : []))
  t.is(warnings.length, 1)
  t.regex(warnings[0], /begin from the seed, since they were learnt with rule 'pred', and this run has 'predsim'/)
  const [there, home] = [join(folder, 'there.safetensors'), join(folder, 'here.safetensors')]
  await exportRun(clusterStore(on), 's', there)
  await exportRun(embedded, 's', home)
  t.deepEqual(await readFile(there), await readFile(home), 'the same run, the same bytes')
  t.deepEqual(errors, [])
})

test('a step that fails on two PNodes of a cluster is given up there, and the trainer can read why', async (t) => {
  const bait = await poisonFile()
  t.teardown(() => bait.remove())
  const net = poisonedNetwork({ at: [23], file: bait.file })
  const { hash } = await train(net, TRAINING, { on: local({ pnodes: 3, threads: false }), store: memoryStore() }, { id: 'r' }).result
  const { url, keys, errors } = await memoryCluster(t)
  const on = cluster(url, { token: keys.trainerToken })
  const run = train(net, TRAINING, { on }, { id: 'r' })
  const [result, events] = await Promise.all([run.result, eventsOf(run)])
  t.like(result, { status: 'done', hash, deadLetters: 1, stepsLost: 0, stepsDoubled: 0 })
  t.is(events.filter(({ type }) => type === 'deadLettered').length, 1)
  const [letter] = await readDeadLetters(clusterStore(on), 'r')
  t.like(letter, { id: '25-dense-2', step: 23, error: { code: 'compute.failed' } })
  t.deepEqual(errors, [])
})

test('a run that nobody may have is begun all the same: it waits, says so once, and goes on when somebody joins', async (t) => {
  const made = await memoryCluster(t, { pnodes: [] })
  const run = train(chain, TRAINING, { on: cluster(made.url, { token: made.keys.trainerToken }) }, { id: 'r' }) as ClusterRun
  const story = eventsOf(run)
  // Long before the trainer would give up on control.
  await within(20_000, 'control has the run', run.started)
  await made.addPNode('late')
  const { hash } = await run.result
  t.is(typeof hash, 'string')
  t.is((await story).filter(({ type }) => type === 'waiting').length, 1)
})
