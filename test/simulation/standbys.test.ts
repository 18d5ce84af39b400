import test from 'ava'
import { runSettings } from '../../actors/run/run-settings.js'
import { followersIn } from '../../runtime/followers.js'
import type { Head } from '../../runtime/head.js'
import { carriedOut, type Spectator } from './simulate.js'
import { chainRun } from './simulated-run.js'

test('whoever joins gets standbys of those that have much, at once, and no VNode stands still for it', async (t) => {
  const run = chainRun(6, { epochs: 1, stepsPerEpoch: 300 }, (definition) => runSettings(definition, { window: 4, replicas: 1 }))
  const hosts = ['a', 'b', 'c'].map((name) => ({ name, msPerCost: 20, gflops: 20, memoryBytes: 1e9, computeClass: 'c' }))
  const cluster = { run, hosts, latency: { leastMs: 1, mostMs: 2, jitterMs: 0 } }
  let seen: Head | undefined
  const asked: string[] = []
  const spectator: Spectator = {
    begin: (world, _cluster, head) => world.at(10_000, undefined, () => (seen = head())),
    onCall: (_target, method) => void asked.push(method),
  }
  const outcome = await carriedOut({ seed: 1, cluster, faults: [{ kind: 'join', host: 'd', atMs: 5_000 }] }, { spectator })
  const all = followersIn(seen!)
  t.is(all.length, 6)
  t.is(all.filter((id) => seen!.directory[id].pnode === 'd').length, 3)
  t.false(asked.includes('hold'))
  t.is(outcome.takeovers, 0)
})
