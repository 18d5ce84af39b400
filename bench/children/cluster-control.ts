/** The servers of a cluster and its control host in one process: what `children/cluster-parts.ts` starts. Ends with whoever started it. */
import { startClusterServers, startSidecar } from '../../actors/control/cluster-servers.js'
import { startControl } from '../../actors/control/control-process.js'
import { systemClock as clock } from '../../runtime/clock.js'
import { type ServerProcess, stopAll } from '../../runtime/services/index.js'
import { VERSION } from '../../runtime/version.js'
import { countingProxy } from './cluster-proxy.js'

const [, , folder, isCounted] = process.argv
process.once('disconnect', () => process.exit(1))

const servers = await startClusterServers({ folder, clock })
const { broker, placement, scheduler } = servers
const proxy = isCounted === 'counted' ? await countingProxy(broker) : undefined
let daprd: ServerProcess | undefined
const control = await startControl({
  listen: { host: '127.0.0.1', port: 0 },
  store: servers.store,
  broker: { servers: [broker], ...(proxy && { publicServers: [proxy.url] }) },
  placement,
  scheduler,
  sidecar: async (appPort) => {
    const started = await startSidecar(appPort, { folder, appId: 'control', placement, scheduler, role: 'control' })
    daprd = started
    return started
  },
  version: VERSION,
  clock,
  onError: (error) => process.stderr.write(`control: ${error.message}\n`),
})
process.on('message', (message: 'count' | 'stop') => {
  if (message === 'count') process.send!({ counted: proxy?.counted() })
  else void stop()
})
const own = Object.entries({ ...servers.servers, daprd }).map(([name, server]) => [name, server!.pid])
const { url, trainerToken, joinToken } = control
process.send!({ url, trainerToken, joinToken, pids: Object.fromEntries(own) })

async function stop(): Promise<void> {
  await control.close()
  proxy?.close()
  await stopAll()
  process.exit()
}
