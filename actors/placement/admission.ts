/** Who may have VNodes, and how good a PNode is: pure functions of what was measured of it (M9). */
import type { Profile } from '../calls.js'

/** 1 is the best. */
export type Tier = 1 | 2 | 3

/** What was measured of a PNode. */
export type Capability = Pick<
  Profile,
  'gflops' | 'memoryBytes' | 'largestAllocationBytes' | 'uploadBytesPerS' | 'downloadBytesPerS' | 'roundTripMs'
>

/** What a tier wants: at least so much of each, and at most so many ms. What a PNode has no measure of, for want of a network, it need not have. */
export type Needs = { readonly [Measure in keyof Capability]-?: number }

/** Tiers 1, 2 and 3; whoever does not even reach the third is an observer. */
export type Tiers = readonly [Needs, Needs, Needs]

/**
 * Where the steps of a layer of 256 units and 128 samples decide: 155 MFLOP, with 131 kB of outputs.
 * - Tier 3 does one within a second: slower, and it alone would be the pace of any network. Its line carries one in four seconds, its memory
 *   holds such a layer, its optimizer and the outputs between two checkpoints.
 * - Tier 2 is a small computer or a phone: some 40 ms a step, eight outputs a second.
 * - Tier 1 is a laptop or more: 10 ms a step, and outputs that do not wait for the line.
 */
export const DEFAULT_TIERS: Tiers = [
  {
    gflops: 15,
    memoryBytes: 1e9,
    largestAllocationBytes: 256e6,
    uploadBytesPerS: 4e6,
    downloadBytesPerS: 4e6,
    roundTripMs: 60,
  },
  {
    gflops: 4,
    memoryBytes: 256e6,
    largestAllocationBytes: 128e6,
    uploadBytesPerS: 1e6,
    downloadBytesPerS: 1e6,
    roundTripMs: 200,
  },
  {
    gflops: 0.5,
    memoryBytes: 64e6,
    largestAllocationBytes: 32e6,
    uploadBytesPerS: 32e3,
    downloadBytesPerS: 32e3,
    roundTripMs: 1_000,
  },
]

/** The same without a floor: on a machine of one's own whoever is slow is better than nobody. */
export const TIERS_WITHOUT_FLOOR: Tiers = [
  DEFAULT_TIERS[0],
  DEFAULT_TIERS[1],
  { gflops: 0, memoryBytes: 0, largestAllocationBytes: 0, uploadBytesPerS: 0, downloadBytesPerS: 0, roundTripMs: Infinity },
]

/** Which measure is not enough. */
export interface Refusal {
  readonly measure: keyof Needs
  readonly needed: number
  /** Absent: it was not measured, or the measure is no number. */
  readonly got?: number
}

export type Admission = { readonly passes: true; readonly tier: Tier } | { readonly passes: false; readonly refusal: Refusal }

/** Without these nobody can be placed; the others need a network, or a process of one's own, to be measured. */
const REQUIRED: ReadonlySet<keyof Needs> = new Set(['gflops', 'memoryBytes'])
/** In the order in which they are told. */
const MEASURES = ['gflops', 'memoryBytes', 'largestAllocationBytes', 'uploadBytesPerS', 'downloadBytesPerS', 'roundTripMs'] as const

/** Whether a PNode may have VNodes, and its tier: the best whose needs it all meets. The reason is what the lowest tier misses. */
export function passesAdmission(capability: Capability, tiers: Tiers = DEFAULT_TIERS): Admission {
  const missed = tiers.map((needs) => missing(capability, needs))
  const best = missed.indexOf(undefined)
  return best >= 0 ? { passes: true, tier: (best + 1) as Tier } : { passes: false, refusal: missed[2]! }
}

/** The first need that is not met; undefined: all of them are. */
function missing(capability: Capability, needs: Needs): Refusal | undefined {
  for (const measure of MEASURES) {
    const got = capability[measure]
    const needed = needs[measure]
    if (got === undefined && !REQUIRED.has(measure)) continue
    // JSON has no NaN: over the wire it is null.
    if (typeof got !== 'number' || Number.isNaN(got) || got < 0) return { measure, needed }
    if (measure === 'roundTripMs' ? got > needed : got < needed) return { measure, needed, got }
  }
  return undefined
}

/** `0.3 GFLOP/s, at least 0.5 are needed`. */
export function describeRefusal({ measure, needed, got }: Refusal): string {
  const [name, unit, divisor] = UNITS[measure]
  const show = (value: number) => `${Number((value / divisor).toPrecision(2))}${unit}`
  const is = got === undefined ? `${name}: not measured` : `${name}: ${show(got)}`
  return measure === 'roundTripMs' ? `${is}, at most ${show(needed)} allowed` : `${is}, at least ${show(needed)} needed`
}

/** `its speed is too low`: the same for many. */
export function nameRefusal({ measure }: Pick<Refusal, 'measure'>): string {
  return `its ${UNITS[measure][0]} is too ${measure === 'roundTripMs' ? 'long' : 'low'}`
}

const UNITS: { readonly [Measure in keyof Needs]: readonly [name: string, unit: string, divisor: number] } = {
  gflops: ['speed', ' GFLOP/s', 1],
  memoryBytes: ['memory', ' MB', 1e6],
  largestAllocationBytes: ['largest allocation', ' MB', 1e6],
  uploadBytesPerS: ['upload', ' kB/s', 1e3],
  downloadBytesPerS: ['download', ' kB/s', 1e3],
  roundTripMs: ['round trip', ' ms', 1],
}

/** What steps have shown of a PNode's speed, where it is less than it says. */
export interface Rating {
  /** As its steps show; undefined: what it says counts again. */
  readonly gflops?: number
  readonly reason: string
  /** How often it was found slower than it says. */
  readonly strikes: number
  /** Until then only its steps can say that it is faster, ms since the epoch. */
  readonly untilMs: number
}

/** What it says of itself after a first strike counts again so late, in ms; after each further one twice as late. */
const FIRST_DOUBT_MS = 10 * 60_000
const LONGEST_DOUBT_MS = 24 * 3_600_000

/** The rating after its steps have shown `gflops`; undefined: as fast as it says. */
export function ratedBySteps(
  before: Rating | undefined,
  { gflops, reason }: { readonly gflops: number | undefined; readonly reason: string },
  nowMs: number,
): Rating {
  const strikes = before?.strikes ?? 0
  if (gflops === undefined) return { reason, strikes, untilMs: nowMs }
  // Another figure in the same stretch is no other strike.
  const isNew = before?.gflops === undefined
  const count = isNew ? strikes + 1 : strikes
  let doubtMs = FIRST_DOUBT_MS
  for (let i = 1; i < count && doubtMs < LONGEST_DOUBT_MS; i++) doubtMs *= 2
  return { gflops, reason, strikes: count, untilMs: isNew ? nowMs + Math.min(doubtMs, LONGEST_DOUBT_MS) : before.untilMs }
}

/** The rating after it has said anew how fast it is: believed when its time of doubt is over. */
export function ratedAnew(before: Rating | undefined, nowMs: number): Rating | undefined {
  if (before?.gflops === undefined || nowMs < before.untilMs) return before
  const { strikes, untilMs } = before
  return { reason: 'measured again', strikes, untilMs }
}

/** The speed that counts. */
export const believedGflops = (saidGflops: number, rating: Rating | undefined): number => Math.min(saidGflops, rating?.gflops ?? Infinity)
