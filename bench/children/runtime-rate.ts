/** Steady samples per second of a run in this process, and its processor time for a step: the first steps, in which code is compiled, are left out. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { local, pred } from '../../index.js'
import type { Network } from '../../index.js'
import { SOURCE } from '../../components/definition.js'
import type { BackendChoice } from '../../components/backends.js'
import { type RunOptions, train } from '../../actors/train.js'
import { afterTold } from '../../actors/trust/host-record.js'
import { HostRecords } from '../../actors/trust/host-records.js'
import { DEFAULT_REPUTATION_RULES } from '../../actors/trust/reputation.js'
import { fileStore } from '../../runtime/object-store/file-store.js'
import type { COUNTED } from '../turns.js'
import { BATCH, noise } from './networks.js'

export interface RateOptions {
  /** Default: 1. */
  readonly pnodes?: number
  /** In all. */
  readonly steps: number
  /** Default: 1. */
  readonly epochs?: number
  /** So many of them come before. */
  readonly warmUp: number
  /** Default: wasm. */
  readonly backend?: BackendChoice
  /** How the work is checked, and how often there is a checkpoint. */
  readonly execution?: Pick<RunOptions, 'audits' | 'redundancy' | 'checkpoint'>
  /** The PNodes are on probation no more. */
  readonly areProven?: boolean
  /** What is counted begins, or ends. */
  readonly onCounted?: (edge: keyof typeof COUNTED) => void
}

/** Processor time is of all threads; it says more than the clock where others use the machine. */
export interface Rate {
  readonly samplesPerSecond: number
  readonly cpuMsPerStep: number
  /** Of all that VNodes have applied, so much was applied by somebody else as well. */
  readonly auditedShare: number
}

export async function runtimeRate(
  network: Network,
  { pnodes = 1, steps, epochs = 1, warmUp, backend = 'wasm', execution, areProven = false, onCounted }: RateOptions,
): Promise<Rate> {
  const store = await mkdtemp(join(tmpdir(), 'swarmgrad-bench-'))
  const times: number[] = []
  const used: number[] = []
  let [appliedSteps, auditedSteps] = [0, 0]
  const isCounted = () => times[warmUp] !== undefined && times[steps] === undefined
  try {
    const data = noise((BATCH * steps) / epochs, ...network.input)
    if (areProven) await prove(store, pnodes)
    const run = train(
      network,
      { data, rule: pred(), epochs, batchSize: BATCH },
      { on: local({ pnodes, backend }), store, ...execution },
      {
        // Of a step the last VNode is the last that applies it.
        onObservation: (seen) => {
          if (seen.type !== 'applied' || seen.entry.evaluation > 0) return
          const { step } = seen.entry
          appliedSteps += isCounted() ? 1 : 0
          times[step] = performance.now()
          // Asking is half a millisecond where threads are busy.
          if (step !== warmUp && step !== steps) return
          const { user, system } = process.cpuUsage()
          used[step] = (user + system) / 1000
          onCounted?.(step === steps ? 'ends' : 'begins')
        },
      },
    )
    const checkpoints = [0]
    for await (const event of run.events()) {
      if (event.type === 'checkpoint') checkpoints.push(event.step)
      if (event.type !== 'audited' || event.vnode === SOURCE || !isCounted()) continue
      auditedSteps += event.step - checkpoints.findLast((step) => step < event.step)!
    }
    await run.result
  } finally {
    await rm(store, { recursive: true, force: true })
  }
  const counted = steps - warmUp
  return {
    samplesPerSecond: (counted * BATCH * 1000) / (times[steps] - times[warmUp]),
    cpuMsPerStep: (used[steps] - used[warmUp]) / counted,
    auditedShare: auditedSteps / appliedSteps,
  }
}

/** So much of each PNode was found to be right before. */
async function prove(folder: string, pnodes: number): Promise<void> {
  const store = fileStore({ root: folder })
  const records = new HostRecords({ store, signal: new AbortController().signal, onDamaged: () => undefined })
  for (let i = 1; i <= pnodes; i++) {
    const pnode = `pnode-${i}`
    const event = { pnode, event: 'verified', vnode: '', step: 0 } as const
    const events = Array.from({ length: DEFAULT_REPUTATION_RULES.probationSegments }, () => event)
    await records.change(pnode, (record) => afterTold(record, { key: 'before', run: '', events }, 0))
  }
  await store.close()
}
