/** Members as the placement service lists them. */
import type { Membership } from '../../actors/calls.js'

/** A PNode of 1 GFLOP/s that is busy all the time. */
export const member = (pnode: string, more: Partial<Membership> = {}): Membership => ({
  pnode,
  incarnation: '',
  computeClass: 'c',
  gflops: 1,
  memoryBytes: 1e9,
  state: 'ready',
  busyShare: 1,
  vnodes: [],
  ...more,
})
