/** The control host of a test cluster, as a process of its own. Its only argument is `ControlProcessArguments`, in JSON. */
import { startControl, type ControlProcessOptions } from '../../actors/control/control-process.js'
import { systemClock } from '../../runtime/clock.js'
import { VERSION } from '../../runtime/version.js'
import type { PeerMessage } from './cluster-peer.js'

export type ControlProcessArguments = Pick<
  ControlProcessOptions,
  'listen' | 'store' | 'broker' | 'placement' | 'scheduler' | 'appPort' | 'membership'
> & { readonly sidecar: { readonly httpPort: number } }

const say = (message: PeerMessage) => void process.send?.(message)
const options = JSON.parse(process.argv[2]) as ControlProcessArguments
const onError = (error: { readonly code: string; readonly message: string }) => say({ error: { code: error.code, message: error.message } })
// Whoever started it is gone.
process.once('disconnect', () => process.exit(1))
try {
  const control = await startControl({ ...options, version: VERSION, clock: systemClock, onError })
  process.once('SIGTERM', () => void control.close().finally(() => process.exit(0)))
  say({ ready: { url: control.url, trainerToken: control.trainerToken, joinToken: control.joinToken, adminToken: control.adminToken } })
} catch (error) {
  onError(error as never)
  process.exit(1)
}
