/** A PNode that can only dial out, as behind a home router: calls to its actors come over its connection to the broker. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { connect } from 'node:net'
import test, { registerCompletionHandler } from 'ava'
import { readHead } from '../../runtime/head-store.js'
import { folderOf, start } from '../cli/command.js'
import { embedded, outcomeOf } from '../support/cluster-runs.js'
import { TestCluster } from '../support/cluster.js'
import { homeNetwork, type HomeNetwork } from '../support/home-network.js'
import { pathToPrograms } from '../support/servers.js'
import { chain, TRAINING } from '../support/small-runs.js'

const LONGER = { ...TRAINING, epochs: 10 } as const
/** Long enough for a neighbour to answer. */
const CONNECT_MS = 1_500

// A run whose test has failed waits for its cluster for ever.
registerCompletionHandler(() => process.exit())

test('a PNode that can only dial out trains in a run, to the same hash', async (t) => {
  t.timeout(120_000)
  let network: HomeNetwork
  try {
    network = await homeNetwork(t)
  } catch (error) {
    t.log(`not tested: this machine forbids network namespaces: ${(error as Error).message}`)
    return t.pass()
  }
  const folder = await folderOf(t)
  const cluster = await TestCluster.start(t, { hosts: [], hostIp: network.outside })
  const { store, broker, placement, scheduler } = cluster.servers
  const dialled = [cluster.url, store.endpoint, broker, `tcp://${placement}`, `tcp://${scheduler}`].map((url) => Number(new URL(url).port))
  await network.allow([...dialled, cluster.control.daprd.ports.internalGrpc])
  const env = { ...(await pathToPrograms()), SWARMGRAD_TOKEN: cluster.joinToken }
  const words = ['host', cluster.url, '--name', 'inside', '--relay', 'auto', '--allow-code', cluster.code, '--json']
  const host = start(t, folder, words, { env, within: network.within })
  // Nobody has it all: what is inside gets work.
  const [expected] = await Promise.all([
    embedded(chain, LONGER),
    cluster.join('outside', { relay: 'auto', maxVNodes: 2 }),
    host.until(({ type }) => type === 'ready'),
    t.notThrowsAsync(isClosed(network)),
  ])
  const pnodes = (await cluster.client.pnodes()).map(({ pnode, isRelayed }) => [pnode, isRelayed])
  t.deepEqual(pnodes, [
    ['inside', true],
    ['outside', false],
  ])
  const run = cluster.train(chain, LONGER, { id: 'home', everySteps: 20 })
  const { result, ...outcome } = await outcomeOf(cluster, run)
  t.deepEqual(outcome, expected)
  t.like(result, { moves: 0, stepsReplayed: 0, stepsLost: 0, stepsDoubled: 0 })
  const { directory } = (await readHead(cluster.store, run.id)).head
  const inside = Object.keys(directory).filter((vnode) => directory[vnode].pnode === 'inside')
  t.is(inside.length, 2)
  host.child.kill('SIGTERM')
  t.is((await host.ended).status, 0)
})

/** Somebody who listens there cannot be reached from here. @throws if he can */
async function isClosed({ inside, within }: HomeNetwork): Promise<void> {
  const listens = `const s = require('node:net').createServer(() => {}).listen(0, '0.0.0.0', () => console.log(s.address().port))`
  const [program, ...words] = [...within, process.execPath, '-e', listens]
  const listener = spawn(program, words, { stdio: ['ignore', 'pipe', 'inherit'] })
  try {
    const [port] = (await once(listener.stdout, 'data')) as [Buffer]
    const socket = connect({ host: inside, port: Number(String(port)), signal: AbortSignal.timeout(CONNECT_MS) })
    const isReached = await once(socket, 'connect').then(
      () => true,
      () => false,
    )
    socket.destroy()
    if (isReached) throw new Error(`${inside}:${String(port)} can be reached`)
  } finally {
    listener.kill('SIGKILL')
  }
}
