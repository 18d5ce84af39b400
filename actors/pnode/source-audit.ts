/** Makes the batches of one segment once more, sends them to nobody, and says what they come to (PROTOCOL.md rule 28). */
import type { Dataset } from '../../components/datasets/index.js'
import { SOURCE } from '../../components/definition.js'
import type { Clock } from '../../runtime/clock.js'
import { invariant, toSwarmError } from '../../runtime/errors.js'
import type { Grant } from '../../runtime/grant.js'
import { LogRoot } from '../../runtime/log-root.js'
import { Timetable } from '../../runtime/timetable.js'
import type { Claim, Failure, Whereabouts } from '../reports.js'
import type { RunDefinition } from '../run/run-definition.js'
import { Batches } from './batches.js'
import { NO_QUEUES, type Queues } from './queues.js'

export interface SourceAuditOptions {
  readonly clock: Clock
  readonly definition: RunDefinition
  readonly dataset: Dataset
  readonly onClaim: (claim: Claim) => void
  readonly onFailure: (failure: Failure) => void
}

/** Batches that are made in one go: others have their turn in between. */
const AT_ONCE = 4

export class SourceAudit {
  readonly grant: Grant
  readonly vnode = SOURCE
  readonly isFollower = true
  readonly #options: SourceAuditOptions
  readonly #timetable: Timetable
  readonly #batches: Batches
  readonly #root: LogRoot
  readonly #until: NonNullable<Grant['until']>
  readonly #from: number
  #applied: number
  #isStopped = false
  #claim: Claim | undefined

  /** @param grant of a follower of the source, which says up to where */
  constructor(options: SourceAuditOptions, grant: Grant) {
    const { until, checkpoint } = grant
    invariant(until !== undefined, () => `${grant.vnode} follows the source without an end`)
    this.#options = options
    this.grant = grant
    this.#until = until
    this.#timetable = new Timetable(options.definition.timetable)
    this.#batches = new Batches(options.definition, options.dataset)
    this.#from = checkpoint?.position ?? 0
    this.#applied = this.#from
    this.#root = new LogRoot({ producer: SOURCE, kind: 'output', isOfSource: true }, this.#from, checkpoint?.roots?.output)
  }

  /** Positions, as of any VNode: nothing comes in, nothing is kept. */
  get stats() {
    return { applied: this.#applied, waiting: 0, retained: 0, restored: this.#from, manifest: this.#from }
  }

  get whereabouts(): Whereabouts {
    return { applied: this.#applied, wants: {} }
  }

  get queues(): Queues {
    return NO_QUEUES
  }

  start(): void {
    this.#goOn()
  }

  /** The run has a new owner, which does not know what was said. */
  tellAgain(): void {
    if (this.#claim) this.#options.onClaim(this.#claim)
  }

  async stop(): Promise<void> {
    this.#isStopped = true
  }

  crash(): void {
    this.#isStopped = true
  }

  /** It has no neighbours, needs nothing that is kept, and is no source. */
  neighbour(): void {}
  manifest(): void {}
  hold(): void {}
  release(): void {}
  promote(): boolean {
    return false
  }

  #goOn(): void {
    if (this.#isStopped) return
    const { clock, onFailure, onClaim } = this.#options
    const { vnode, generation, term } = this.grant
    const { step, position } = this.#until
    try {
      const last = Math.min(position, this.#applied + AT_ONCE)
      while (this.#applied < last) {
        const entry = this.#timetable.at(this.#applied + 1)
        this.#root.addBatch(this.#batches.batch(entry))
        this.#root.release(entry.position)
        this.#applied = entry.position
      }
    } catch (error) {
      this.#isStopped = true
      return onFailure({ vnode, term, generation, error: toSwarmError(error, 'internal', vnode).toJSON() })
    }
    if (this.#applied < position) {
      clock.after(0, () => this.#goOn())
      return
    }
    const output = this.#root.at(position)!
    // A source has no state: what it has sent stands for it.
    this.#claim = { vnode, term, generation, step, position, hash: output, roots: { output, inputs: {} } }
    onClaim(this.#claim)
  }
}
