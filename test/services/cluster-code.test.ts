/** Users' code goes where its owner let it in, and nowhere else. */
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import test, { registerCompletionHandler } from 'ava'
import type { RunEvent } from '../../actors/events.js'
import { readDefinition } from '../../actors/run/run-definition.js'
import { folderOf, swarmgrad } from '../cli/command.js'
import { embedded, outcomeOf } from '../support/cluster-runs.js'
import { eventOf, TestCluster, untilStep } from '../support/cluster.js'
import { chain, TRAINING } from '../support/small-runs.js'

const LONGER = { ...TRAINING, epochs: 12 } as const

// A run whose test has failed waits for its cluster for ever.
registerCompletionHandler(() => process.exit())

test('a block of the user trains on the PNodes that allowed its bundle, and on no others; where nobody did, the run waits', async (t) => {
  t.timeout(120_000)
  const expected = await embedded(chain, LONGER)
  const cluster = await TestCluster.start(t, { hosts: [] })
  await Promise.all([cluster.join('none', { allowsCode: [] }), cluster.join('other', { allowsCode: ['0'.repeat(64)] })])
  await cluster.untilWhole()
  const run = cluster.train(chain, LONGER, { id: 'code', everySteps: 20 })
  const placed = placements(run.events())
  const waiting = await eventOf(run, ({ type }) => type === 'waiting')
  const { bundles, network } = await readDefinition(cluster.store, run.id)
  t.is(bundles.length, 1)
  const refusal = `its owner does not allow the code ${bundles[0].slice(0, 12)}…`
  const env = { SWARMGRAD_CLUSTER: cluster.url, SWARMGRAD_TOKEN: cluster.token }
  const explain = async () => {
    const { status, lines, stdout, stderr } = await swarmgrad(t, await folderOf(t), ['explain', network.output, '--json'], { env })
    t.is(status, 0, stdout + stderr)
    return lines[0]
  }
  const why = await explain()
  t.like(why, { type: 'waiting', reason: (waiting as RunEvent & { type: 'waiting' }).reason })
  for (const name of ['none', 'other']) t.true(String(why.reason).includes(`${name}: ${refusal}`), String(why.reason))

  await Promise.all([cluster.join('first'), cluster.join('second')])
  await untilStep(run, 40)
  await cluster.host('first').kill()
  const { result, ...outcome } = await outcomeOf(cluster, run)
  t.deepEqual(outcome, expected)
  t.like(result, { stepsLost: 0, stepsDoubled: 0 })
  t.like(await explain(), { type: 'placed', pnode: 'second' })
  for (const { pnode, candidates } of await placed) {
    t.true(['first', 'second'].includes(pnode), pnode)
    const refused = candidates.filter(({ reason }) => reason === refusal).map((candidate) => candidate.pnode)
    t.deepEqual(refused, ['none', 'other'])
  }
  for (const name of ['none', 'other', 'second']) {
    const loaded = await readdir(join(cluster.folder, name, 'code')).catch(() => [])
    t.is(loaded.length, name === 'second' ? 1 : 0, `bundles on ${name}`)
  }
})

/** All placements of a run, once it has ended. */
async function placements(events: AsyncIterable<RunEvent>): Promise<(RunEvent & { type: 'placed' })[]> {
  const all: (RunEvent & { type: 'placed' })[] = []
  for await (const event of events) if (event.type === 'placed') all.push(event)
  return all
}
