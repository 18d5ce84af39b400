import test from 'ava'
import { DEFAULT_TIERS } from '../../actors/placement/admission.js'
import { memoryCluster } from '../support/memory-cluster.js'
import { pretending } from '../support/pretending-compute.js'
import { folderOf } from './command.js'
import { on } from './on-cluster.js'

const LONG = ['train', 'tiny.yaml', '--epochs', '3000', '--checkpoint-every', '20', '--audits', '0', '--json']

test.serial('a PNode is drained until nothing is left there, and taken back', async (t) => {
  const folder = await folderOf(t)
  const cluster = await memoryCluster(t, { pnodes: ['ann', 'bob'] })
  const there = on(cluster)
  t.is((await there.run(t, folder, [...LONG, '--id', 'long', '--detach'])).status, 0)
  const drained = await there.run(t, folder, ['drain', 'ann', '--json'])
  t.is(drained.status, 0, drained.stdout)
  t.deepEqual(drained.lines.at(-1), { v: 1, type: 'drained', pnode: 'ann', left: [] })
  const rows = (await there.run(t, folder, ['pnodes', '--json'])).lines
  t.deepEqual(
    rows.map(({ pnode, state, drains }) => [pnode, state, drains ?? null]),
    [
      ['ann', 'draining', { operator: 'it is drained' }],
      ['bob', 'ready', null],
    ],
  )
  const only = await there.run(t, folder, ['drain', 'bob', '--no-wait', '--json'])
  t.deepEqual((only.lines.at(-1)!.left as string[]).toSorted(), ['long/dense-1', 'long/dense-2', 'long/source'])
  const back = await there.run(t, folder, ['drain', 'ann', '--undo'])
  t.is(back.status, 0)
  t.is(back.stdout, 'ann may have VNodes again\n')
  const moved = await there.run(t, folder, ['drain', 'bob'])
  t.is(moved.stdout, `bob has nothing left, and gets nothing · take it back with: swarmgrad drain bob --undo --cluster ${cluster.url}\n`)
  t.is((await there.run(t, folder, ['pause', 'long'])).status, 0)
  t.like(cluster.host.monitorOf('long')!.counters, { stepsReplayed: 0, stepsLost: 0, stepsDoubled: 0 })
})

test('a fresh machine is listed with its tier and what was measured of it; one that is not good enough with the reason', async (t) => {
  const saidGflops: { readonly [name: string]: number } = { laptop: 40, phone: 6, pi: 0.25 }
  const made = await memoryCluster(t, {
    pnodes: Object.keys(saidGflops),
    isMeasured: true,
    // This machine's line to itself is as fast as it is not busy.
    membership: {
      tiers: DEFAULT_TIERS.map((needs) => ({ ...needs, uploadBytesPerS: 1, downloadBytesPerS: 1, roundTripMs: 60_000 })) as never,
    },
    compute: (name, own) => pretending(own, { saidGflops: () => saidGflops[name], stepMs: () => 1 }),
  })
  const there = on(made)
  const folder = await folderOf(t)
  const { lines } = await there.run(t, folder, ['pnodes', '--json'])
  t.deepEqual(
    lines.map(({ pnode, state, tier }) => [pnode, state, tier]),
    [
      ['laptop', 'ready', 1],
      ['phone', 'ready', 2],
      ['pi', 'observer', null],
    ],
  )
  t.deepEqual(lines[2].refusal, { measure: 'gflops', needed: 0.5, got: 0.25 })
  for (const line of lines)
    for (const measure of ['roundTripMs', 'uploadBytesPerS', 'downloadBytesPerS', 'largestAllocationBytes'])
      t.true(Number(line[measure]) > 0, `${String(line.pnode)}: ${measure} ${String(line[measure])}`)
  const { stdout } = await there.run(t, folder, ['pnodes'])
  const [head, laptop, , pi, why] = stdout.trimEnd().split('\n')
  t.regex(head, /^pnode +state +tier +owner +Gflop\/s +memory +up +down +round trip +busy +VNodes/)
  t.regex(laptop, /^laptop +ready +1 +– +40\.0 +4\.0 GB +[\d.]+ \w?B\/s +[\d.]+ \w?B\/s +[\d.]+ ms/)
  t.regex(pi, /^pi +observer +– +– +0\.3 /)
  t.is(why, 'pi gets no VNodes: speed: 0.25 GFLOP/s, at least 0.5 GFLOP/s needed')
})
