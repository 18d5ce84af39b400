/** The quarantine on the command line. */
import { join } from 'node:path'
import test from 'ava'
import { clusterStore } from '../../actors/cluster.js'
import { actor, call, type Told } from '../../actors/calls.js'
import { hostToken } from '../../actors/control/cluster-keys.js'
import { afterTold, newRecord, released } from '../../actors/trust/host-record.js'
import { hostRecordKey, HostRecords } from '../../actors/trust/host-records.js'
import { systemClock } from '../../runtime/clock.js'
import { fileStore } from '../../runtime/object-store/file-store.js'
import { memoryCluster } from '../support/memory-cluster.js'
import { folderOf, swarmgrad } from './command.js'
import { on } from './on-cluster.js'

const EVIDENCE = 'runs/r1/evidence/1-40-dense-1'
const told = (pnode: string, evidence = EVIDENCE): Told => ({
  key: evidence,
  run: 'r1',
  events: [{ pnode, event: 'convicted', vnode: 'dense-1', step: 40, evidence }],
})

test.serial('who is in quarantine, why, and released: in a folder', async (t) => {
  const folder = await folderOf(t)
  const run = (...words: readonly string[]) => swarmgrad(t, folder, ['quarantine', ...words])
  const none = await run('list')
  t.deepEqual([none.status, none.stdout], [0, ''])
  t.regex(none.stderr, /nobody is in quarantine in \.\/runs/)

  const store = fileStore({ root: join(folder, 'runs') })
  const records = new HostRecords({ store })
  await records.change('bob', (record) => afterTold(record, told('bob'), systemClock.now()))
  await records.change('cyd', () => released(afterTold(newRecord('cyd'), told('cyd', 'gone'), systemClock.now())))
  const opinions = [{ id: 'dense-1', pnode: 'bob', hash: 'a'.repeat(64) }]
  await store.put(EVIDENCE, new TextEncoder().encode(JSON.stringify({ opinions })))
  const [list, lines, shown, shownLines, gone] = await Promise.all([
    run('list'),
    run('list', '--json'),
    run('show', 'bob'),
    run('show', 'bob', '--json'),
    run('show', 'cyd'),
  ])
  t.regex(list.stdout, /bob +– +\d{4}-.* 1 +convicted over dense-1 at step 40 of run r1/)
  t.notRegex(list.stdout, /cyd/)
  t.is(lines.lines.length, 1)
  t.like(lines.lines[0], { type: 'quarantine', pnode: 'bob', isOnProbation: true, convictions: [{ run: 'r1', evidence: EVIDENCE }] })
  t.regex(shown.stdout, /^bob: in quarantine until .*: convicted over dense-1/)
  t.regex(shown.stdout, /evidence +runs\/r1\/evidence\/1-40-dense-1\n +bob says of dense-1: state aaaaaaaaaaaa\n/)
  t.like(shownLines.lines[0], { evidence: [{ opinions }] })
  t.regex(gone.stdout, /^cyd: in no quarantine[^]*evidence +gone \(deleted with its run\)/)

  const [first, again] = [await run('release', 'bob', '--json'), await run('release', 'bob')]
  t.like(first.lines[0], { type: 'released', pnode: 'bob', wasQuarantined: true })
  t.regex(again.stdout, /bob is in no quarantine/)
  t.is((await run('list', '--json')).lines.length, 0)
  t.regex((await run('show', 'bob')).stdout, /on probation[^]*convicted +\d{4}/)

  const [unknown, nameless, wrong] = await Promise.all([run('release', 'eve', '--json'), run('show'), run('lift', 'bob')])
  t.is(unknown.status, 1)
  t.like(unknown.lines.at(-1), { type: 'error', code: 'host.unknown' })
  t.deepEqual([nameless.status, wrong.status], [2, 2])
  t.regex(nameless.stderr, /whom to show: expected the name of a PNode/)
  t.regex(wrong.stderr, /unknown action 'lift': expected list, show, release/)
})

test.serial('on a cluster control alone releases, and nobody else writes what is known of hosts', async (t) => {
  const folder = await folderOf(t)
  const made = await memoryCluster(t)
  const { keys, url, system, host } = made
  await call<'Quarantine', 'tell'>(system, actor.quarantine, 'tell', told('bob'))
  const there = on(made)
  const state = () => host.members.find(({ pnode }) => pnode === 'bob')?.state
  t.is(state(), 'quarantined')
  t.like((await there.run(t, folder, ['quarantine', 'list', '--json'])).lines[0], { pnode: 'bob' })
  t.regex((await there.run(t, folder, ['pnodes'])).stdout, /bob is in quarantine until .*: convicted over dense-1/)

  const trainer = clusterStore({ url, token: keys.trainerToken })
  const key = hostRecordKey('bob')
  const { bytes } = await trainer.get(key)
  const liar = clusterStore({ url, token: hostToken(keys, 'bob') })
  for (const refused of [trainer.put(key, bytes), trainer.delete(key), liar.put(key, bytes), liar.delete(key), liar.get(key)])
    await t.throwsAsync(refused, { code: 'store.denied' })

  const done = await there.run(t, folder, ['quarantine', 'release', 'bob'])
  t.regex(done.stdout, /bob may have VNodes again/, done.stderr)
  t.is(state(), 'ready')
  const unknown = await there.run(t, folder, ['quarantine', 'release', 'eve', '--json'])
  t.deepEqual([unknown.status, unknown.lines.at(-1)?.code], [1, 'host.unknown'])
  t.deepEqual(made.errors, [])
})
