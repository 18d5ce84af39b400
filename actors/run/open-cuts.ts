/** Cuts that not every VNode has committed yet. Several may be open: the last that retention has room for comes whatever became of the one before. */
import { type NetworkDefinition, SOURCE } from '../../components/definition.js'
import type { Head } from '../../runtime/head.js'
import type { RunEventBody } from '../events.js'
import type { Commit } from '../reports.js'

export class OpenCuts {
  readonly #vnodes: readonly string[]
  readonly #commits = new Map<number, Map<string, Commit>>()

  /** @param vnodes all of them, in graph order */
  constructor(vnodes: readonly string[]) {
    this.#vnodes = vnodes
  }

  /** Takes a commit; all of its cut, in graph order, if it was the last one missing. */
  add(commit: Commit): readonly Commit[] | undefined {
    const commits = this.#commits.get(commit.step) ?? new Map<string, Commit>()
    this.#commits.set(commit.step, commits)
    // Nobody takes his word back.
    if (!commits.has(commit.vnode)) commits.set(commit.vnode, commit)
    const all = this.#vnodes.map((vnode) => commits.get(vnode))
    return all.every((one) => one !== undefined) ? all : undefined
  }

  /** The newest one, and who has not committed it. */
  get newest(): { readonly position: number; readonly missing: readonly string[] } | undefined {
    const commits = this.#commits.get(Math.max(...this.#commits.keys()))
    const [first] = commits?.values() ?? []
    return first && { position: first.position, missing: this.#vnodes.filter((vnode) => !commits!.has(vnode)) }
  }

  /** Step of the newest one that anybody has committed; 0: there is none. */
  get newestStep(): number {
    return Math.max(0, ...this.#commits.keys())
  }

  /** Who has not committed the cut after this step. */
  missingAt(step: number): readonly string[] {
    return this.#vnodes.filter((vnode) => this.#commits.get(step)?.has(vnode) !== true)
  }

  /** A cut is complete: those before it never will be needed. */
  close(step: number): void {
    for (const open of this.#commits.keys()) if (open <= step) this.#commits.delete(open)
  }

  /** A VNode has a new owner, which commits anew. */
  forget(vnode: string): void {
    for (const commits of this.#commits.values()) commits.delete(vnode)
  }

  clear(): void {
    this.#commits.clear()
  }
}

/** What the run's events tell of a complete cut. @param after as for `stallsIn` */
export function toldBy(
  commits: readonly Commit[],
  after: number,
  network: Pick<NetworkDefinition, 'vnodes'>,
  { directory }: Head,
): RunEventBody[] {
  const strays = strayBatches(commits, network).map(({ commit: { vnode, term, step }, by }): RunEventBody => {
    const [pnode, byPnode] = [vnode, by].map((id) => directory[id]?.pnode ?? '')
    return { type: 'suspected', vnode, pnode, term, step, reason: 'batch', by, byPnode }
  })
  return [...stallsIn(commits, after), ...strays]
}

/**
 * Those who say that they have applied other batches than a VNode that they read, or, reading the source, than another that does: one of the two lies, or was
 * sent something else than what is said. Commits that begin at different steps are not compared.
 */
export function strayBatches(
  commits: readonly Commit[],
  { vnodes }: Pick<NetworkDefinition, 'vnodes'>,
): { readonly commit: Commit; readonly by: string }[] {
  const of = new Map(commits.map((commit) => [commit.vnode, commit]))
  const first = vnodes.find(({ inputs }) => inputs.includes(SOURCE))?.id
  return vnodes.flatMap(({ id, inputs }) => {
    const commit = of.get(id)
    const others = inputs.map((input) => of.get(input === SOURCE ? (first ?? '') : input))
    const other = others.find((each) => each && commit && each.firstStep === commit.firstStep && each.batches !== commit.batches)
    return commit && other ? [{ commit, by: other.vnode }] : []
  })
}

/** What VNodes have decided between two checkpoints, in the order of steps. @param after the step of the one before: what was decided until then was told */
export function stallsIn(commits: readonly Commit[], after: number): RunEventBody[] {
  const stalls = commits.flatMap(({ vnode, stalls: all = [] }) => all.map((stall) => ({ type: 'stalled' as const, vnode, ...stall })))
  return stalls.filter(({ step }) => step > after).toSorted((a, b) => a.step - b.step)
}
