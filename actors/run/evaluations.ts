/** The evaluations of a run: what heads have answered so far, and the rows that are complete. */
import type { Timetable } from '../../runtime/timetable.js'
import type { ObjectStore } from '../../runtime/object-store/object-store.js'
import { type HistoryRow, means, readHistory, writeHistory } from './history.js'
import type { Evaluated } from '../reports.js'
import type { RunDefinition } from './run-definition.js'

export class Evaluations {
  readonly #store: ObjectStore
  readonly #run: string
  readonly #definition: RunDefinition
  readonly #timetable: Timetable
  readonly #open = new Map<number, Map<string, Evaluated['sums']>>()
  #rows: HistoryRow[]

  private constructor(store: ObjectStore, run: string, definition: RunDefinition, timetable: Timetable, rows: HistoryRow[]) {
    this.#store = store
    this.#run = run
    this.#definition = definition
    this.#timetable = timetable
    this.#rows = rows
  }

  static async read(store: ObjectStore, run: string, definition: RunDefinition, timetable: Timetable): Promise<Evaluations> {
    return new Evaluations(store, run, definition, timetable, await readHistory(store, run))
  }

  /** An evaluation comes after the checkpoint of its step: after the step that a run goes back to it is made again, with the same result. */
  goBackTo(step: number): void {
    this.#open.clear()
    this.#rows = this.#rows.filter((row) => row.step < step)
  }

  /** Whether an evaluation belongs after this step that is not there yet. */
  isMissing(step: number): boolean {
    return this.#timetable.evaluationsAfter(step) > 0 && !this.has(step)
  }

  /** Heads that have not answered the evaluation after this step; none if none belongs there, or it is complete. */
  missing(step: number): string[] {
    if (!this.isMissing(step)) return []
    return this.#heads.filter((vnode) => this.#open.get(step)?.has(vnode) !== true)
  }

  get #heads(): string[] {
    return this.#definition.network.vnodes.flatMap(({ id, hasHead }) => (hasHead ? [id] : []))
  }

  has(step: number): boolean {
    return this.#rows.some((row) => row.step === step)
  }

  /** Means over the last evaluation; none if there was none. */
  get final(): HistoryRow['metrics'] {
    return this.#rows.find(({ step }) => step === this.#timetable.totalSteps)?.metrics ?? {}
  }

  /** Takes one head's answer. The first word counts, of whoever has a head. */
  add({ vnode, step, sums }: Evaluated): void {
    if (this.has(step) || !this.#heads.includes(vnode)) return
    const results = this.#open.get(step) ?? new Map<string, Evaluated['sums']>()
    this.#open.set(step, results)
    if (!results.has(vnode)) results.set(vnode, sums)
  }

  /** A VNode has another owner, which answers for itself. */
  forget(vnode: string): void {
    for (const results of this.#open.values()) results.delete(vnode)
  }

  /** The first step from `from` on and before `before` whose evaluation is not complete. */
  firstMissing(from: number, before: number): number | undefined {
    for (let step = from; step < before; step++) if (this.isMissing(step)) return step
    return undefined
  }

  /** The row, stored, once all have answered. */
  async complete(step: number): Promise<HistoryRow | undefined> {
    const results = this.#open.get(step)
    const { network, data, validation } = this.#definition
    const heads = this.#heads
    if (!results || !heads.every((id) => results.has(id))) return undefined
    const isFinal = step === this.#timetable.totalSteps
    const split = (isFinal && data.splits.test !== undefined) || validation === 0 ? 'test' : 'validation'
    const vnodes = heads.map((id) => ({ vnode: id, metrics: means(results.get(id)!) }))
    const metrics = vnodes.find((row) => row.vnode === network.output)!.metrics
    const row: HistoryRow = { step, epoch: this.#timetable.epochOf(step), split, metrics, vnodes }
    await writeHistory(this.#store, this.#run, row)
    this.#rows = [...this.#rows, row]
    this.#open.delete(step)
    return row
  }
}
