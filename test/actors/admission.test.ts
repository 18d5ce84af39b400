import test from 'ava'
import {
  believedGflops,
  DEFAULT_TIERS,
  describeRefusal,
  passesAdmission,
  ratedAnew,
  ratedBySteps,
} from '../../actors/placement/admission.js'

const LAPTOP = {
  gflops: 40,
  memoryBytes: 8e9,
  largestAllocationBytes: 1e9,
  uploadBytesPerS: 10e6,
  downloadBytesPerS: 40e6,
  roundTripMs: 12,
}

const tierOf = (more: Partial<typeof LAPTOP>) => {
  const admission = passesAdmission({ ...LAPTOP, ...more })
  return admission.passes ? admission.tier : admission.refusal
}

test('a PNode has the best tier whose needs it all meets: its worst measure decides', (t) => {
  t.is(tierOf({}), 1)
  t.is(tierOf({ gflops: 14.9 }), 2)
  t.is(tierOf({ memoryBytes: 100e6 }), 3)
  t.is(tierOf({ uploadBytesPerS: 70e3 }), 3)
  t.is(tierOf({ roundTripMs: 61 }), 2)
  t.is(tierOf({ gflops: 3, uploadBytesPerS: 1e6 }), 3)
})

test('exactly what is needed is enough, and a little less is not', (t) => {
  for (const [i, needs] of DEFAULT_TIERS.entries()) {
    t.deepEqual(passesAdmission(needs), { passes: true, tier: i + 1 } as never)
    for (const measure of Object.keys(needs) as (keyof typeof needs)[]) {
      const worse = { ...needs, [measure]: needs[measure] * (measure === 'roundTripMs' ? 1.001 : 0.999) }
      const admission = passesAdmission(worse)
      t.deepEqual(admission.passes ? admission.tier : admission.refusal.measure, i < 2 ? ((i + 2) as never) : measure)
    }
  }
})

test('below the floor the refusal names the measure, what is needed and what there is', (t) => {
  t.deepEqual(tierOf({ gflops: 0.3 }), { measure: 'gflops', needed: 0.5, got: 0.3 })
  t.deepEqual(tierOf({ gflops: 0 }), { measure: 'gflops', needed: 0.5, got: 0 })
  t.deepEqual(tierOf({ roundTripMs: 2_000 }), { measure: 'roundTripMs', needed: 1_000, got: 2_000 })
  t.deepEqual(tierOf({ uploadBytesPerS: 0 }), { measure: 'uploadBytesPerS', needed: 32e3, got: 0 })
})

test('what is no number is refused, whatever it is called', (t) => {
  for (const wrong of [Number.NaN, -1, null, '40', undefined] as never[]) {
    t.deepEqual(tierOf({ gflops: wrong }), { measure: 'gflops', needed: 0.5 })
    t.deepEqual(tierOf({ memoryBytes: wrong }), { measure: 'memoryBytes', needed: 64e6 })
    if (wrong !== undefined) t.deepEqual(tierOf({ uploadBytesPerS: wrong }), { measure: 'uploadBytesPerS', needed: 32e3 })
  }
  t.is(tierOf({ uploadBytesPerS: Infinity }), 1)
})

test('where there is no network nothing is asked of it', (t) => {
  t.deepEqual(passesAdmission({ gflops: 40, memoryBytes: 64e9 }), { passes: true, tier: 1 })
})

test('tiers are the cluster’s to set', (t) => {
  const least = { ...DEFAULT_TIERS[2], gflops: 20 }
  t.deepEqual(passesAdmission({ gflops: 19, memoryBytes: 1e9 }, [least, least, least]), {
    passes: false,
    refusal: { measure: 'gflops', needed: 20, got: 19 },
  })
})

test('a refusal reads as a sentence', (t) => {
  t.is(describeRefusal({ measure: 'gflops', needed: 0.5, got: 0.312 }), 'speed: 0.31 GFLOP/s, at least 0.5 GFLOP/s needed')
  t.is(describeRefusal({ measure: 'memoryBytes', needed: 64e6 }), 'memory: not measured, at least 64 MB needed')
  t.is(describeRefusal({ measure: 'roundTripMs', needed: 1_000, got: 1_800 }), 'round trip: 1800 ms, at most 1000 ms allowed')
})

const MINUTE = 60_000
const slow = { gflops: 4, reason: 'slow' }

test('what steps show counts at once; what it says itself only when its time of doubt is over', (t) => {
  const rating = ratedBySteps(undefined, slow, 0)
  t.is(believedGflops(40, rating), 4)
  t.is(believedGflops(3, rating), 3, 'less than was shown is believed at once')
  t.is(believedGflops(40, ratedAnew(rating, 10 * MINUTE - 1)), 4)
  t.is(believedGflops(40, ratedAnew(rating, 10 * MINUTE)), 40)
  t.is(believedGflops(40, ratedBySteps(rating, { gflops: undefined, reason: 'fast' }, 1)), 40, 'steps restore it at once')
  t.is(believedGflops(40, undefined), 40)
  t.is(ratedAnew(undefined, 0), undefined)
})

test('each strike doubles the time of doubt, up to a day; another figure in the same stretch is none', (t) => {
  let now = 0
  let rating = ratedBySteps(undefined, slow, now)
  t.is(ratedBySteps(rating, { gflops: 2, reason: 'slower' }, 5 * MINUTE).untilMs, 10 * MINUTE)
  const doubts: number[] = []
  for (let i = 0; i < 12; i++) {
    doubts.push((rating.untilMs - now) / MINUTE)
    now = rating.untilMs
    rating = ratedBySteps(ratedAnew(rating, now), slow, now)
  }
  t.deepEqual(doubts.slice(0, 4), [10, 20, 40, 80])
  t.is(doubts.at(-1), 24 * 60)
})
