/** One PNode of a cluster in a process of its own, with its daprd. Ends with whoever started it. */
import { once } from 'node:events'
import { join } from 'node:path'
import { startSidecar } from '../../actors/control/cluster-servers.js'
import { startHost } from '../../actors/pnode/host-process.js'
import { systemClock as clock } from '../../runtime/clock.js'
import { computePool } from '../../runtime/compute/thread-compute.js'
import { keepIdentity } from '../../runtime/identity.js'
import { type ServerProcess, stopAll } from '../../runtime/services/index.js'
import type { HostKey } from '../../runtime/tensor-bus/nats-authority.js'
import { VERSION } from '../../runtime/version.js'

/** What the first message says. */
export interface HostOrders {
  readonly url: string
  readonly token: string
  readonly name: string
  readonly key: HostKey
  readonly folder: string
  /** Its worker stops between two steps while this file exists. */
  readonly holdFile?: string
}

process.once('disconnect', () => process.exit(1))
const [orders] = (await once(process, 'message')) as [HostOrders]
const { url, token, name, key, folder, holdFile } = orders
// Workers read it: they are started with this process's environment.
if (holdFile) process.env.SWARMGRAD_BENCH_HOLD = holdFile
const machines = holdFile ? './cluster-held-machines.js' : '../../components/vnode-machine.js'
let daprd: ServerProcess | undefined
const host = await startHost({
  url,
  token,
  name,
  key,
  // The same folder again: the same machine.
  identity: await keepIdentity(join(folder, 'identity.pem')),
  owner: 'bench',
  sidecar: async (appPort, { placement, scheduler }) => {
    const started = await startSidecar(appPort, { folder, appId: name, placement, scheduler, role: 'pnode' })
    daprd = started
    return started
  },
  pool: computePool({ machines: new URL(machines, import.meta.url), clock }),
  memoryBytes: 4e9,
  allowsCode: [],
  cacheFolder: folder,
  version: VERSION,
  clock,
  onError: (error) => process.stderr.write(`${name}: ${error.message}\n`),
})
process.once('message', () => void stop())
process.send!({ daprd: daprd!.pid })

async function stop(): Promise<void> {
  await host.leave('the benchmark is over', AbortSignal.timeout(2_000))
  await stopAll()
  process.exit()
}
