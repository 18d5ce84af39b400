/** The local updates of one VNode after its training steps (PROTOCOL.md rule 22): asked for behind each step, counted, and nobody waits for them. */
import type { VNodeMachineDefinition } from '../../components/definition.js'
import { updatesAfter } from '../../components/refinement.js'
import type { Compute } from '../../runtime/compute/compute.js'
import type { Grant } from '../../runtime/grant.js'
import { type Entry, isTraining } from '../../runtime/step-log.js'
import type { QueueStats } from './queues.js'
import { StepDeadline } from './step-deadline.js'

export interface RefinementQueueOptions {
  readonly compute: Compute
  readonly definition: VNodeMachineDefinition
  readonly run: Grant['run']
  /** Of the machine. */
  readonly machine: string
  /** Default false. */
  readonly isBackground?: boolean
}

export class RefinementQueue {
  readonly #options: RefinementQueueOptions
  readonly #deadline = new StepDeadline()
  #enqueued = 0
  #done = 0
  #busyMs = 0

  constructor(options: RefinementQueueOptions) {
    this.#options = options
  }

  get stats(): QueueStats {
    return { depth: this.#enqueued - this.#done, enqueued: this.#enqueued, done: this.#done, dropped: {} }
  }

  /**
   * Asks for all updates behind an entry: call it right after the entry was asked for, so that nothing comes between.
   * @returns when they are done, with what `Compute.refine` throws; undefined if none follow
   */
  after(entry: Entry): Promise<void> | undefined {
    const { compute, machine, run, definition, isBackground } = this.#options
    const { vnode, training } = definition
    const { step } = entry
    const count = isTraining(entry) ? updatesAfter(step, vnode, training.refinement) : 0
    if (count === 0) return undefined
    const update = async (number: number): Promise<void> => {
      const request = { run, vnode: vnode.id, step, update: number }
      const { busyMs } = await compute.refine(machine, request, { patienceMs: this.#deadline.ms, isBackground })
      this.#deadline.took(busyMs)
      this.#busyMs += busyMs
      this.#done++
    }
    this.#enqueued += count
    const all = Promise.all(Array.from({ length: count }, (_, number) => update(number))).then(() => undefined)
    // Whoever asked may have failed at the step itself, and not look here any more.
    all.catch(() => undefined)
    return all
  }

  /** How long the updates took that have ended since this was called before, in ms. */
  takeBusyMs(): number {
    const busyMs = this.#busyMs
    this.#busyMs = 0
    return busyMs
  }
}
