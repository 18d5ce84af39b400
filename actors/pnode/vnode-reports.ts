/** What a VNode tells the owner of its run: at once, and again to an owner that starts anew. A follower tells it when it is promoted. */
import { type Stall, stallOf } from '../../components/convergence.js'
import { keys } from '../../runtime/head.js'
import { type Entry, isTraining } from '../../runtime/step-log.js'
import type { Evaluated, RunReport, Whereabouts } from '../reports.js'
import { storeState } from './stored-state.js'
import type { VNodeHost } from './vnode-host.js'

export interface VNodeReportsOptions {
  readonly host: VNodeHost
  readonly run: string
  /** In its first grant. */
  readonly id: string
  readonly generation: number
  /** Under which it speaks now. */
  readonly term: () => number
  readonly isSilent: boolean
  readonly signal: AbortSignal
  readonly onFailure: (error: unknown) => void
}

interface Told {
  readonly report: RunReport
  readonly position: number
  /** The state that a commit is about, where it is not in the store yet. */
  readonly blob?: Uint8Array
}

export class VNodeReports {
  readonly #options: VNodeReportsOptions
  /** Since the newest manifest. */
  #told: Told[] = []
  /** What it has said of its states as a follower, since then. */
  #claims: Told[] = []
  /** Decisions since then. Each commit has all of them up to its cut: one that never completes takes none away. */
  #stalls: { readonly position: number; readonly stall: Stall }[] = []
  #isSilent: boolean
  /** States on their way to the object store, in the order of their cuts. */
  readonly #storing = new Set<Told>()
  /** Numbers of reports that the run's owner has not confirmed. */
  readonly #saying = new Set<number>()
  #said = 0

  constructor(options: VNodeReportsOptions) {
    this.#options = options
    this.#isSilent = options.isSilent
  }

  /** What is not done yet. */
  get open(): Pick<Whereabouts, 'storing' | 'untold'> {
    const [first] = this.#storing
    const [untold] = this.#saying
    const bytes = [...this.#storing].reduce((sum, { blob }) => sum + (blob?.byteLength ?? 0), 0)
    return { ...(first && { storing: { position: first.position, bytes } }), ...(untold !== undefined && { untold }) }
  }

  /**
   * A state after a cut, by its hash, and the report of it. A follower keeps the newest one (who had the VNode may have stored it, or not), and says what it
   * makes of it, where that is compared.
   */
  async committed({ method, argument }: RunReport & { readonly method: 'committed' }, blob: Uint8Array): Promise<void> {
    const { position } = argument
    const stalls = this.#stalls.filter((one) => one.position <= position).map(({ stall }) => stall)
    const report = { method, argument: { ...argument, ...(stalls.length > 0 && { stalls }) } }
    if (!this.#isSilent) return this.#store({ report, position, blob })
    this.#told = this.#told.filter((told) => told.blob === undefined)
    this.#told.push({ report, position, blob })
    const { vnode: _followed, term, generation, step, hash, roots } = argument
    if (!roots) return
    const claim: RunReport = { method: 'claimed', argument: { vnode: this.#options.id, term, generation, step, position, hash, roots } }
    this.#claims.push({ report: claim, position })
    this.#send(claim)
  }

  /** A step is applied: what its VNode has decided is told with the next commit. */
  applied(entry: Entry, metrics: { readonly [name: string]: number }): void {
    const stall = isTraining(entry) ? stallOf(entry.step, metrics) : undefined
    if (stall) this.#stalls.push({ position: entry.position, stall })
  }

  /** What its head has answered. A follower keeps it, and says so, too, where that is compared. */
  evaluated(result: Evaluated, position: number): void {
    this.#tell({ method: 'evaluated', argument: result }, position)
    if (!this.#isSilent || !result.roots) return
    const claim: RunReport = { method: 'evaluated', argument: { ...result, vnode: this.#options.id } }
    this.#claims.push({ report: claim, position })
    this.#send(claim)
  }

  #tell(report: RunReport, position: number): void {
    if (this.#options.signal.aborted) return
    this.#told.push({ report, position })
    if (!this.#isSilent) this.#send(report)
  }

  /** The run has a new owner, which does not know what the one before was told. */
  again(): void {
    for (const { report } of this.#isSilent ? this.#claims : this.#told) this.#send(report)
  }

  /** Nothing before this position is asked about again. */
  manifest(position: number): void {
    this.#told = this.#told.filter((told) => told.position >= position)
    this.#claims = this.#claims.filter((claim) => claim.position >= position)
    this.#stalls = this.#stalls.filter((stall) => stall.position > position)
  }

  /** A follower is promoted. */
  speak(): void {
    this.#isSilent = false
    const told = this.#told
    this.#told = told.filter(({ blob }) => !blob)
    for (const one of told) {
      if (one.blob) this.#store(one).catch(this.#options.onFailure)
      else this.#send(one.report)
    }
  }

  /** Tells one thing, once. */
  async say({ method, argument }: RunReport): Promise<void> {
    const { host, run, signal, term } = this.#options
    const number = ++this.#said
    this.#saying.add(number)
    await host
      .report(run, method, { ...argument, term: term() }, signal)
      .catch((error: unknown) => {
        if (!signal.aborted) throw error
      })
      .finally(() => this.#saying.delete(number))
  }

  async #store(told: Told): Promise<void> {
    const { host, run, generation, signal } = this.#options
    const { report, position, blob } = told
    if (report.method !== 'committed' || !blob) return
    this.#storing.add(told)
    await storeState(host.store, keys.blob(run, generation, report.argument.hash), blob, signal)
    this.#storing.delete(told)
    this.#tell(report, position)
  }

  #send(report: RunReport): void {
    this.say(report).catch(this.#options.onFailure)
  }
}
