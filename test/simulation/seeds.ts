/** Many seeds, one after the other; what fails is made small. */
import type { Fault } from './faults.js'
import { drawLiarPlan } from './liars.js'
import { carryOut, drawPlan, type Outcome, type Plan } from './simulate.js'

export interface SeedFailure {
  readonly seed: number
  readonly message: string
  /** The faults that are left when none more can be taken away, by their place in the seed's list. */
  readonly needed: readonly number[]
  readonly faults: readonly Fault[]
  /** What to type to see it again. */
  readonly replay: string
}

export type SeedResult = { readonly ok: true; readonly outcome: Outcome } | { readonly ok: false; readonly failure: SeedFailure }

/** Every so many seeds one is simulated twice, and must give the same history. */
export const TWICE_EVERY = 10
/** Simulations that the shortening of a list of faults may take. */
const MAX_TRIES = 150

/** One seed, alone in a turn of the event loop. @param only places in its list of faults; default: all @param areLiars some of its hosts lie */
export async function trySeed(
  seed: number,
  {
    only,
    shrink = true,
    areLiars = false,
  }: { readonly only?: readonly number[]; readonly shrink?: boolean; readonly areLiars?: boolean } = {},
): Promise<SeedResult> {
  const drawn = areLiars ? drawLiarPlan(seed) : drawPlan(seed)
  const places = only ?? drawn.faults.map((_, i) => i)
  const plan = choose(drawn, places)
  const first = await attempt(plan)
  if (typeof first !== 'string') {
    if (seed % TWICE_EVERY !== 0) return { ok: true, outcome: first }
    const again = await attempt(plan)
    const isSame = typeof again !== 'string' && again.trace === first.trace
    if (isSame) return { ok: true, outcome: first }
    const message = `two histories: ${first.trace} and ${typeof again === 'string' ? again : again.trace}`
    return { ok: false, failure: failureOf(drawn, places, message) }
  }
  const needed = shrink ? await shorten(drawn, places) : places
  return { ok: false, failure: failureOf(drawn, needed, first) }
}

function failureOf({ seed, faults, liars }: Plan, needed: readonly number[], message: string): SeedFailure {
  const some = needed.length < faults.length ? ` --faults ${needed.join(',') || 'none'}` : ''
  return {
    seed,
    message,
    needed,
    faults: needed.map((i) => faults[i]),
    replay: `npm run simulate -- ${liars ? '--liars ' : ''}--first-seed ${seed} --seeds 1${some}`,
  }
}

const choose = (plan: Plan, places: readonly number[]): Plan => ({ ...plan, faults: places.map((i) => plan.faults[i]) })

const describe = (error: unknown): string => (error instanceof Error ? (error.stack ?? error.message) : JSON.stringify(error))

const unhandled: unknown[] = []
process.on('unhandledRejection', (error) => unhandled.push(error))

/** The outcome, or what was violated. */
async function attempt(plan: Plan): Promise<Outcome | string> {
  return new Promise((resolve) => {
    // In a turn of its own: microtasks can be run only where none runs.
    setImmediate(() => {
      let outcome: Outcome | string
      try {
        outcome = carryOut(plan)
      } catch (error) {
        outcome = error instanceof Error ? error.message : String(error)
      }
      // Promises that nobody heeds are told of when this turn is over.
      setImmediate(() => {
        const [error] = unhandled.splice(0)
        resolve(
          error === undefined || typeof outcome === 'string' ? outcome : `a promise was rejected and nobody heard: ${describe(error)}`,
        )
      })
    })
  })
}

/** Takes faults away, halves of them first, as long as something still fails. */
async function shorten(plan: Plan, places: readonly number[]): Promise<readonly number[]> {
  let left = places
  let tries = 0
  for (let size = Math.max(1, left.length >> 1); ; size >>= 1) {
    for (let from = 0; from < left.length && tries < MAX_TRIES;) {
      const fewer = [...left.slice(0, from), ...left.slice(from + size)]
      tries++
      if (typeof (await attempt(choose(plan, fewer))) === 'string') left = fewer
      else from += size
    }
    if (size <= 1 || tries >= MAX_TRIES) return left
  }
}
