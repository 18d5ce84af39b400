/** Which reports count: of whoever has the VNode, in this generation, and of what there can be. Anything else is dropped and counted. */
import type { Head } from '../../runtime/head.js'
import type { HeadWriter } from '../../runtime/head-store.js'
import type { Claim, Commit, Evaluated, Failure } from '../reports.js'
import { isOddClaim, isOddCommit, isOddEvaluation, isOddFailure, type Reach } from './odd-reports.js'
import type { RunMonitor } from './run-monitor.js'

export interface ReportGateOptions {
  readonly writer: Pick<HeadWriter, 'head' | 'confirm'>
  readonly monitor: Pick<RunMonitor, 'observe'>
  /** The run is, and is not going back. */
  readonly isUnderWay: () => boolean
  readonly reach: () => Reach
  /** Whether what VNodes put out is compared. */
  readonly isReviewed: () => boolean
}

export class ReportGate {
  readonly #options: ReportGateOptions

  constructor(options: ReportGateOptions) {
    this.#options = options
  }

  /** @throws `run.writer` another Run actor knows of it; as all of these do */
  async commits(commit: Commit): Promise<boolean> {
    if (!(await this.#isCurrent(commit, 'commit'))) return false
    const { computeClass } = this.#head
    return this.#isIn(
      commit,
      'commit',
      isOddCommit(commit, this.#options.reach(), { computeClass, isReviewed: this.#options.isReviewed() }),
    )
  }

  async claims(claim: Claim): Promise<boolean> {
    return (await this.#isCurrent(claim, 'claim')) && this.#isIn(claim, 'claim', isOddClaim(claim, this.#options.reach()))
  }

  async evaluates(result: Evaluated): Promise<boolean> {
    if (!(await this.#isCurrent(result, 'evaluation'))) return false
    const isOdd = isOddEvaluation(result, this.#options.reach(), { isReviewed: this.#options.isReviewed() })
    return this.#isIn(result, 'evaluation', isOdd)
  }

  /** Nobody has to be believed of what is odd; but it does not go on. */
  async fails(failure: Failure): Promise<{ readonly counts: boolean; readonly isOdd: boolean }> {
    return { counts: await this.#isCurrent(failure, 'failure'), isOdd: isOddFailure(failure, this.#options.reach()) }
  }

  /** Of the current owner and generation? */
  async #isCurrent({ vnode, generation, term }: Pick<Commit, 'vnode' | 'generation' | 'term'>, what: string): Promise<boolean> {
    const { writer, isUnderWay } = this.#options
    const { generation: current, directory, termCounter } = this.#head
    if (generation > current || term > termCounter) await writer.confirm()
    const isCurrent = isUnderWay() && generation === current && directory[vnode]?.term === term
    if (!isCurrent) this.#dropped(vnode, `late ${what}`)
    return isCurrent
  }

  #isIn({ vnode }: Pick<Commit, 'vnode'>, what: string, isOdd: boolean): boolean {
    if (isOdd) this.#dropped(vnode, `odd ${what}`)
    return !isOdd
  }

  #dropped(vnode: string, reason: string): void {
    this.#options.monitor.observe({ type: 'dropped', run: this.#head.run, vnode, reason })
  }

  get #head(): Head {
    return this.#options.writer.head
  }
}
