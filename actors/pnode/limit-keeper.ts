/** Keeps what the owner of a machine has allowed: looks at how it is used, and has its PNode hand over, pause and go on. */
import type { Clock } from '../../runtime/clock.js'
import { type SwarmError, toSwarmError } from '../../runtime/errors.js'
import type { MachineUseSource } from '../../runtime/machine-use.js'
import { HostLimits, type HostVerdict, type OwnersTerms } from './host-limits.js'
import type { PNodeHost } from './pnode.js'

export interface LimitKeeperOptions {
  readonly pnode: Pick<PNodeHost, 'pnode' | 'pause' | 'resume' | 'lend' | 'use'>
  readonly terms: OwnersTerms
  readonly source: MachineUseSource
  readonly clock: Clock
  /** Told of every change, after it was carried out. */
  readonly onVerdict?: (verdict: HostVerdict) => void
  readonly onError: (error: SwarmError) => void
}

export interface LimitKeeper {
  /** The owner allows more, or less. */
  change(terms: Partial<OwnersTerms>): void
  /** Looks no more; a pause goes on. */
  stop(): void
}

/** How often it is looked, in ms. */
export const LOOK_MS = 2_000

export function keepLimits({ pnode, terms, source, clock, onVerdict, onError }: LimitKeeperOptions): LimitKeeper {
  const limits = new HostLimits(terms)
  let told: HostVerdict = { pause: undefined, memoryBytes: terms.memoryBytes }
  let isStopped = false
  let cancel = () => {}
  const carryOut = async (verdict: HostVerdict) => {
    const { pause, memoryBytes } = verdict
    if (pause === told.pause && memoryBytes === told.memoryBytes) return
    if (memoryBytes !== told.memoryBytes) await pnode.lend({ memoryBytes })
    if (pause === undefined && told.pause !== undefined) await pnode.resume()
    else if (pause !== undefined && pause !== told.pause) await pnode.pause(pause)
    told = verdict
    onVerdict?.(verdict)
  }
  const look = async () => {
    try {
      const machine = await source.look()
      if (!isStopped) await carryOut(limits.judge({ ...machine, ...pnode.use(), nowMs: clock.now() }))
    } catch (error) {
      if (!isStopped) onError(toSwarmError(error, 'internal', `limits of ${pnode.pnode}`))
    }
    if (!isStopped) cancel = clock.after(LOOK_MS, () => void look())
  }
  void look()
  return {
    change: (changed) => limits.change(changed),
    stop() {
      isStopped = true
      cancel()
    },
  }
}
