/** What placement keeps of a PNode, and what others see of it. */
import type { Membership, Profile } from '../calls.js'
import { type Admission, believedGflops, type Rating } from './admission.js'

/** A PNode that has joined. */
export interface Member extends Profile {
  state: Membership['state']
  busyShare: number
  drains?: Membership['drains']
  vnodes: readonly string[]
  heardAtMs: number
  isDraining: boolean
  /** What its steps have shown. */
  rating?: Rating
  admission?: Admission
  quarantine?: Membership['quarantine']
  pushedAtMs?: number
  deliveredAtMs?: number
}

/** What is kept of a member. */
export type Known = Profile & { readonly rating?: Rating; readonly drains?: Membership['drains'] }

const PROFILE = [
  'pnode',
  'incarnation',
  'computeClass',
  'gflops',
  'memoryBytes',
  'largestAllocationBytes',
  'uploadBytesPerS',
  'downloadBytesPerS',
  'roundTripMs',
  'owner',
  'maxVNodes',
  'allowsCode',
  'isRelayed',
] as const

/** What it says of itself, and nothing else. */
export const profileOf = (member: Profile): Profile =>
  Object.fromEntries(PROFILE.flatMap((field) => (member[field] === undefined ? [] : [[field, member[field]]]))) as unknown as Profile

/** One that has just joined, or was there before this actor: it is still to be heard of. */
export const newMember = (profile: Known, heardAtMs: number): Member => ({
  ...profile,
  state: 'suspect',
  busyShare: 0,
  vnodes: [],
  heardAtMs,
  isDraining: profile.drains !== undefined,
})

/** As it is listed. */
export const view = (member: Member): Membership => {
  const { state, drains, quarantine, busyShare, vnodes, gflops: said, rating, admission } = member
  const gflops = believedGflops(said, rating)
  const rated = gflops < said ? { saidGflops: said, ratedBecause: rating!.reason } : {}
  const standing = admission && (admission.passes ? { tier: admission.tier } : { refusal: admission.refusal })
  const why = { ...(drains && { drains }), ...(quarantine && { quarantine }) }
  return { ...profileOf(member), gflops, ...rated, state, ...why, busyShare, vnodes, ...standing }
}
