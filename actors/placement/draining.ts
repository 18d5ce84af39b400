/** Who wants a PNode to have nothing: whoever runs the cluster, or its own owner. Each takes back what he asked for, and nothing else. */
import { SwarmError } from '../../runtime/errors.js'
import type { Membership } from '../calls.js'

export type DrainedBy = 'operator' | 'host'
/** Why, for each of those who asked. */
export type Drains = { readonly [By in DrainedBy]?: string }

/** @param reason undefined: it is taken back */
export function asked(drains: Drains | undefined, by: DrainedBy, reason: string | undefined): Drains | undefined {
  const { [by]: _before, ...others } = drains ?? {}
  const all: Drains = reason === undefined ? others : { ...others, [by]: reason }
  return Object.keys(all).length > 0 ? all : undefined
}

/** A machine that was started again begins anew; what whoever runs the cluster asked for holds until he takes it back. */
export function keptAtRestart(drains: Drains | undefined): Drains | undefined {
  return drains?.operator === undefined ? undefined : { operator: drains.operator }
}

/**
 * Whether its VNodes go on computing there until somebody else can take them. Not if its owner wants it to stop: then they stand still, and wait.
 */
export function isPatient(drains: Drains | undefined): boolean {
  return drains?.host === undefined
}

/** @throws `host.unknown`, `host.lost`: there is nothing to drain */
export function assertDrainable(pnode: string, member: Pick<Membership, 'state'> | undefined): void {
  if (!member) throw unknownHost(pnode)
  if (member.state !== 'lost') return
  const fix = 'Drain it when it is back; until then it gets nothing'
  throw new SwarmError('host.lost', { what: `${pnode} is lost: what it had has been placed elsewhere`, fix })
}

export function unknownHost(pnode: string): SwarmError {
  return new SwarmError('host.unknown', { what: `no PNode is called ${pnode}`, fix: 'See who is there with: swarmgrad pnodes' })
}
