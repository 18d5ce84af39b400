/** Faults on purpose: `kill:pnode:every=2s`, `kill:worker@step=100`, `kill:process@step=50`. Seeded, so that a bad run can be had again. */
import type { LocalSwarm } from '../actors/local-swarm.js'
import type { Observation } from '../actors/reports.js'
import type { Clock } from '../runtime/clock.js'
import { SwarmError } from '../runtime/errors.js'
import { RandomStream } from '../runtime/random.js'
import { isTraining } from '../runtime/step-log.js'

/** One fault. */
export interface ChaosSpec {
  /** `process` is SIGKILL to this very process. */
  readonly kill: 'pnode' | 'worker' | 'process'
  /** Again and again, in ms. */
  readonly everyMs?: number
  /** When the first VNode applies this step. */
  readonly atStep?: number
}

const ACCEPTED = 'kill:pnode:every=2s, kill:pnode@step=300, kill:worker:every=500ms, kill:worker@step=100 or kill:process@step=50'
const UNITS_MS = { ms: 1, s: 1_000, m: 60_000 } as const
/** Below this a PNode cannot even restore what it is given, and the run makes no progress. */
const MIN_EVERY_MS = 50

/** @throws `usage` saying what is accepted */
export function parseChaos(spec: string): ChaosSpec {
  const [, kill, amount, unit, step] = /^kill:(pnode|worker|process)(?::every=(\d+(?:\.\d+)?)(ms|s|m)|@step=(\d+))$/.exec(spec) ?? []
  const everyMs = amount === undefined ? undefined : Number(amount) * UNITS_MS[unit as keyof typeof UNITS_MS]
  const isValid = kill !== undefined && (everyMs === undefined ? Number(step) >= 1 : everyMs >= MIN_EVERY_MS && kill !== 'process')
  if (!isValid) {
    const fix = everyMs !== undefined && everyMs < MIN_EVERY_MS ? `The shortest interval is ${MIN_EVERY_MS}ms` : undefined
    throw new SwarmError('usage', { what: '--chaos', expected: ACCEPTED, got: `'${spec}'`, fix })
  }
  return { kill: kill as ChaosSpec['kill'], ...(everyMs === undefined ? { atStep: Number(step) } : { everyMs }) }
}

/** Faults of one run. */
export class Chaos {
  readonly #specs: readonly ChaosSpec[]
  readonly #random: RandomStream
  readonly #clock: Clock
  readonly #cancels = new Set<() => void>()
  readonly #waiting: Set<ChaosSpec>
  #swarm: LocalSwarm | undefined

  constructor(specs: readonly ChaosSpec[], { seed, clock }: { readonly seed: number; readonly clock: Clock }) {
    this.#specs = specs
    this.#random = new RandomStream(seed, 'chaos')
    this.#clock = clock
    this.#waiting = new Set(specs.filter(({ atStep }) => atStep !== undefined))
  }

  /** The swarm is up. */
  begin(swarm: LocalSwarm): void {
    this.#swarm = swarm
    for (const { kill, everyMs } of this.#specs) {
      if (everyMs === undefined) continue
      let cancel: () => void
      const strike = () => {
        this.#cancels.delete(cancel)
        this.strike(kill)
        plan()
      }
      const plan = () => {
        cancel = this.#clock.after(everyMs, strike)
        this.#cancels.add(cancel)
      }
      plan()
    }
  }

  /** Looks at every step that is applied. */
  observe(observation: Observation): void {
    if (this.#waiting.size === 0 || observation.type !== 'applied' || !isTraining(observation.entry)) return
    for (const spec of this.#waiting) {
      if (spec.atStep !== observation.entry.step) continue
      this.#waiting.delete(spec)
      // Whoever is observed must not find itself killed in the middle of its own turn.
      setImmediate(() => this.strike(spec.kill))
    }
  }

  /** One fault now, on a PNode that hosts a VNode. */
  strike(kill: ChaosSpec['kill'], reason = 'chaos'): void {
    if (kill === 'process') process.kill(process.pid, 'SIGKILL')
    const swarm = this.#swarm
    const busy = (kill === 'worker' ? swarm?.computingPNodes : swarm?.busyPNodes) ?? []
    if (!swarm || busy.length === 0) return
    const victim = busy[this.#random.below(busy.length)]
    if (kill === 'worker') swarm.killWorker(victim, reason)
    // The swarm may be closing: then there is nothing left to kill.
    else void swarm.killPNode(victim, reason).catch(() => undefined)
  }

  end(): void {
    this.#swarm = undefined
    this.#waiting.clear()
    for (const cancel of this.#cancels) cancel()
    this.#cancels.clear()
  }
}
