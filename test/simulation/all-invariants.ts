/** What must hold for each of the runs that share a cluster: each of them as if it were alone. */
import type { Head } from '../../runtime/head.js'
import type { SimulatedCluster, Watch } from './cluster.js'
import { Invariants } from './invariants.js'
import type { Evidence } from '../../actors/checks/evidence.js'
import type { Liars, Tally } from './justice.js'
import { referenceOf, type SimulatedRun } from './simulated-run.js'

export class AllInvariants {
  readonly #byRun: ReadonlyMap<string, Invariants>
  readonly #all: readonly Invariants[]
  readonly #first: Invariants
  readonly #classOf: (host: string) => string

  /** @param classOf compute class of a host @param liars absent: everybody is honest */
  constructor(runs: readonly SimulatedRun[], classOf: (host: string) => string, now: () => number, liars?: Liars) {
    this.#byRun = new Map(runs.map((run) => [run.id, new Invariants(run, referenceOf(run), now, liars)]))
    this.#all = [...this.#byRun.values()]
    this.#first = this.#all[0]
    this.#classOf = classOf
  }

  /** @throws the first violation */
  check(): void {
    for (const each of this.#all) each.check()
  }

  fail(what: string): void {
    this.#first.fail(what)
  }

  /** What the cluster tells, to the run that it is about. */
  get watch(): Omit<Watch, 'onError'> {
    const of = (run: string) => this.#byRun.get(run)
    return {
      onApply: (host, vnode, request) => of(request.header.run)?.onApply(host, vnode, request, this.#classOf(host)),
      onObservation: (host, observation) => of(observation.run)?.onObservation(host, observation),
      onMessage: (message) => of(message.subject.split('.')[1])?.onMessage(message),
      onCall: (to, { id }, method, argument) => of(id.slice(0, Math.max(0, id.indexOf('/'))))?.onCall(to, method, argument, id),
      onPut: (key, bytes) => this.#all.forEach((each) => each.onPut(key, bytes)),
      newestBlobs: () => this.#all.flatMap((each) => each.newestBlobs()),
      onRot: (key) => this.#all.forEach((each) => each.onRot(key)),
      isPaused: (run) => of(run)?.head?.status === 'paused',
    }
  }

  get areDone(): boolean {
    return this.#all.every(({ head }) => head?.status === 'done')
  }

  /** When the one that has waited longest for something new, of those that are not done, last had it; Infinity: all are done. */
  get progressAt(): number {
    return this.#all.reduce((oldest, { head, progressAt }) => (head?.status === 'done' ? oldest : Math.min(oldest, progressAt)), Infinity)
  }

  /** When anything new last came about. */
  get lastProgressAt(): number {
    return Math.max(...this.#all.map(({ progressAt }) => progressAt))
  }

  /** Of the first run. */
  get head(): Head | undefined {
    return this.#first.head
  }

  get stepsApplied(): number {
    return this.#all.reduce((sum, each) => sum + each.stepsApplied, 0)
  }

  /** Of the first run. */
  get tally(): Tally | undefined {
    return this.#first.justice?.tally
  }

  /** Why anybody was convicted. */
  get evidence(): readonly Evidence[] {
    return this.#first.justice?.evidence ?? []
  }

  get takeovers(): number {
    return this.#all.reduce((sum, each) => sum + each.takeovers, 0)
  }

  checkMemory(cluster: SimulatedCluster): void {
    for (const each of this.#all) each.checkMemory(cluster)
  }

  async checkEnd(...end: Parameters<Invariants['checkEnd']>): Promise<void> {
    for (const each of this.#all) await each.checkEnd(...end)
  }

  describe(): string {
    return this.#all.map((each) => each.describe()).join(' ')
  }
}
