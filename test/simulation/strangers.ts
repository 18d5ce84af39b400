/** Who simulated hosts are: strangers with keys of their own, of which some lie, and something may be known of others already. */
import type { Seams } from '../../actors/pnode/seams.js'
import { afterTold } from '../../actors/trust/host-record.js'
import { HostRecords } from '../../actors/trust/host-records.js'
import { DEFAULT_REPUTATION_RULES } from '../../actors/trust/reputation.js'
import { ADVERSARIES } from '../../adversaries/adversaries.js'
import { changedCompute } from '../../runtime/compute/changed-compute.js'
import { SwarmError } from '../../runtime/errors.js'
import type { Identity } from '../../runtime/identity.js'
import type { ObjectStore } from '../../runtime/object-store/object-store.js'
import { publicKeyOf, seededIdentity } from '../support/identities.js'
import type { HostPlan } from './cluster.js'

/** By name. */
const identities = new Map<string, { readonly own: Identity; readonly text: string }>()

export function identityOf(name: string): { readonly own: Identity; readonly text: string } {
  let known = identities.get(name)
  if (!known) identities.set(name, (known = { own: seededIdentity(name), text: publicKeyOf(name) }))
  return known
}

/** What a host computes and speaks with; absent adversary: honestly. */
export function disguised(honest: Seams, { adversary, isCheating }: Pick<HostPlan, 'adversary' | 'isCheating'>): Seams {
  if (adversary === undefined) return honest
  const liar = ADVERSARIES[adversary]({ ...honest, store: unlisted(honest.store) })
  if (!isCheating) return liar
  const compute = changedCompute(liar.compute, {
    apply: (id, request) => (isCheating(request) ? liar : honest).compute.apply(id, request),
  })
  return { ...liar, compute }
}

/** As control lets hosts use it: they read what they are told of, and may not look for more. */
const unlisted = (store: ObjectStore): ObjectStore => ({
  get: (key, options) => store.get(key, options),
  put: (key, bytes, options) => store.put(key, bytes, options),
  delete: (key, options) => store.delete(key, options),
  list(prefix) {
    throw new SwarmError('store.denied', { what: 'hosts list nothing', where: prefix })
  },
  close: () => store.close(),
})

/** Makes hosts of which so much was found to be right in runs before that they are on probation no more. */
export async function prove(store: ObjectStore, hosts: readonly string[]): Promise<void> {
  const records = new HostRecords({ store })
  for (const pnode of hosts) {
    const event = { pnode, event: 'verified', vnode: '', step: 0 } as const
    const events = Array.from({ length: DEFAULT_REPUTATION_RULES.probationSegments }, () => event)
    await records.change(pnode, (record) => afterTold(record, { key: 'before', run: '', events }, 0))
  }
}
