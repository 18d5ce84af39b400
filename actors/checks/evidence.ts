/** Why somebody was convicted, for good: `runs/<run>/evidence/<generation>-<step>-<vnode>`. */
import { canonicalJson } from '../../runtime/canonical-json.js'
import type { Head } from '../../runtime/head.js'
import type { ObjectStore } from '../../runtime/object-store/object-store.js'
import type { Conviction } from '../trust/dispute.js'
import type { Opinion } from './review.js'

const EVIDENCE_VERSION = 1

export interface Evidence {
  readonly v: typeof EVIDENCE_VERSION
  readonly run: string
  readonly generation: number
  readonly step: number
  readonly vnode: string
  readonly opinions: readonly Opinion[]
  readonly convicted: readonly Conviction[]
  /** Who said so. */
  readonly by: 'agreement' | 'arbiter' | 'panel'
  /** Of a panel: the probability that one of its size has a lying majority, if a majority of all hosts does not lie. Else 0. */
  readonly wrongWith: number
}

/** What was found. */
export type Found = Omit<Evidence, 'v' | 'run' | 'generation'>

export const evidencePrefix = (run: string): string => `runs/${run}/evidence/`

/** @returns its key */
export async function keepEvidence(
  store: ObjectStore,
  { run, generation }: Pick<Head, 'run' | 'generation'>,
  found: Found,
): Promise<string> {
  const evidence: Evidence = { v: EVIDENCE_VERSION, run, generation, ...found }
  const key = `${evidencePrefix(run)}${generation}-${found.step}-${found.vnode}`
  await store.put(key, new TextEncoder().encode(canonicalJson(evidence)))
  return key
}
