/** The manifests that somebody may have to begin at: the newest one, and those that open audits begin or end with. */
import { invariant, SwarmError } from '../../runtime/errors.js'
import { baseOf, type Head, type Manifest } from '../../runtime/head.js'
import type { ObjectStore } from '../../runtime/object-store/object-store.js'
import { readManifest } from '../run/checkpoints.js'

export class KeptManifests {
  readonly #head: () => Head
  readonly #byStep = new Map<number, Manifest>()
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

  /** It is about to be the newest: the head may say so before we hear that it does. */
  announce(manifest: Manifest): void {
    this.#byStep.set(manifest.step, manifest)
  }

  /** It is the newest; those that no audit needs are let go. */
  advance(manifest: Manifest | undefined): void {
    this.#newest = manifest
    if (manifest) this.#byStep.set(manifest.step, manifest)
    const needed = new Set([manifest?.step, ...(this.#head().audits ?? []).flatMap(({ from, to }) => [from, to])])
    for (const step of this.#byStep.keys()) if (!needed.has(step)) this.#byStep.delete(step)
  }
}
