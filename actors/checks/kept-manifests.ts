/** The manifests that somebody may have to begin at: the newest one, and those that open audits begin or end with. */
import { canonicalJson } from '../../runtime/canonical-json.js'
import { invariant, SwarmError } from '../../runtime/errors.js'
import { baseOf, type Head, type Manifest } from '../../runtime/head.js'
import type { ObjectStore } from '../../runtime/object-store/object-store.js'
import type { Commit } from '../reports.js'
import { readManifest } from '../run/checkpoints.js'

export class KeptManifests {
  readonly #head: () => Head
  readonly #byStep = new Map<number, Manifest>()
  /** Whose words each of them is, by step and VNode, as far as this owner of the run has heard them itself. */
  readonly #saidBy = new Map<number, ReadonlyMap<string, string>>()
  #newest: Manifest | undefined

  constructor(head: () => Head) {
    this.#head = head
  }

  get newest(): Manifest | undefined {
    return this.#newest
  }

  /** Everything begins anew, from this one. */
  clear(manifest: Manifest | undefined): void {
    this.#byStep.clear()
    this.#saidBy.clear()
    this.advance(manifest)
  }

  /** Those of open audits are read. @throws codes of the store */
  async read(store: ObjectStore, vnodes: readonly string[]): Promise<void> {
    const { audits = [], manifests } = this.#head()
    for (const step of new Set(audits.flatMap(({ from, to }) => [from, to]))) {
      const ref = manifests.find((each) => each.step === step)
      invariant(ref !== undefined || step === 0, () => `no manifest of step ${step}, of an open audit`)
      if (ref && !this.#byStep.has(step)) this.#byStep.set(step, await readManifest(store, ref, vnodes))
    }
  }

  /** @param step default: where everybody is to be able to begin. What is behind that is kept @returns undefined: the seed */
  at(step = baseOf(this.#head())): Manifest | undefined {
    return this.#byStep.get(step)
  }

  /** The same, for a grant. @throws `actor.busy` (retryable): it is not known yet, or not any more */
  startOf(step = baseOf(this.#head())): Manifest | undefined {
    const manifest = this.#byStep.get(step)
    if (manifest || step === 0) return manifest
    throw new SwarmError('actor.busy', { what: `the checkpoint of step ${step} is not at hand`, retryable: true })
  }

  /** It is about to be the newest: the head may say so before we hear that it does. @param saidBy the PNode whose word it is, by VNode */
  announce(manifest: Manifest, saidBy: ReadonlyMap<string, string>): void {
    this.#byStep.set(manifest.step, manifest)
    this.#saidBy.set(manifest.step, saidBy)
  }

  /** Whether a VNode is said to end with something else than one of them says. */
  contradict({ vnode, step, hash, roots }: Commit): boolean {
    const said = this.#byStep.get(step)?.vnodes.find((entry) => entry.vnode === vnode)
    return said !== undefined && (said.hash !== hash || canonicalJson(said.roots ?? {}) !== canonicalJson(roots ?? {}))
  }

  /** The PNode that has said what a kept manifest says of a VNode; undefined: it is not known, or not any more. */
  whoSaid({ vnode, step }: Pick<Commit, 'vnode' | 'step'>): string | undefined {
    return this.#saidBy.get(step)?.get(vnode)
  }

  /** It is the newest; those that no audit needs are let go. */
  advance(manifest: Manifest | undefined): void {
    this.#newest = manifest
    if (manifest) this.#byStep.set(manifest.step, manifest)
    const needed = new Set([manifest?.step, ...(this.#head().audits ?? []).flatMap(({ from, to }) => [from, to])])
    for (const step of this.#byStep.keys()) {
      if (needed.has(step)) continue
      this.#byStep.delete(step)
      this.#saidBy.delete(step)
    }
  }
}
