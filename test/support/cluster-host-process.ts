/** A PNode of a test cluster, as a process of its own. Its only argument is `HostProcessArguments`, in JSON. */
import { startHost, type HostProcessOptions } from '../../actors/pnode/host-process.js'
import { systemClock } from '../../runtime/clock.js'
import { computePool } from '../../runtime/compute/thread-compute.js'
import { identityFrom } from '../../runtime/identity.js'
import { VERSION } from '../../runtime/version.js'
import { MACHINES } from './chaos-run.js'
import { pretendingPool } from './pretending-compute.js'
import type { PeerMessage } from './cluster-peer.js'

export type HostProcessArguments = Pick<
  HostProcessOptions,
  'url' | 'name' | 'owner' | 'key' | 'token' | 'appPort' | 'relay' | 'memoryBytes' | 'maxVNodes' | 'allowsCode' | 'cacheFolder'
> & {
  readonly sidecar: { readonly httpPort: number }
  readonly version?: string
  /** PKCS #8, PEM. */
  readonly identityPem: string
  /** It says 40 GFLOP/s; its steps take so many times as long as they need here. */
  readonly pretence?: { readonly slowness: number }
}

const say = (message: PeerMessage) => void process.send?.(message)
const options = JSON.parse(process.argv[2]) as HostProcessArguments
const onError = (error: { readonly code: string; readonly message: string }) => say({ error: { code: error.code, message: error.message } })
// Whoever started it is gone.
process.once('disconnect', () => process.exit(1))
const pool = computePool({ machines: MACHINES, clock: systemClock })
try {
  const host = await startHost({
    version: VERSION,
    ...options,
    identity: identityFrom(options.identityPem, options.name),
    sidecar: async () => options.sidecar,
    pool: options.pretence ? pretendingPool(pool, options.pretence.slowness) : pool,
    clock: systemClock,
    onJoined: (joined) => say({ joined }),
    onError,
  })
  process.on('message', () => say({ stats: host.pnode.stats }))
  process.once('SIGTERM', () => {
    host.leave('SIGTERM').then(
      () => process.exit(0),
      (error: unknown) => {
        onError(error as never)
        process.exit(1)
      },
    )
  })
  void host.denied.then((error) => {
    onError(error)
    process.exit(1)
  })
  say({ ready: {} })
} catch (error) {
  onError(error as never)
  process.exit(1)
}
