import test from 'ava'
import { BROKEN_RUNS } from '../support/broken-step-logs.js'
import { drawGraph } from '../support/step-log-graph.js'
import { type Defects, type Outcome, simulate } from '../support/step-log-simulator.js'

const SEEDS = Array.from({ length: 300 }, (_, i) => i + 1)
/** Replays one seed: `SWARMGRAD_SEED=29 npx ava dist/test/runtime/step-log-simulation.test.js`. */
const only = Number(process.env.SWARMGRAD_SEED ?? 0)

test('whatever is lost, doubled, delayed or restored, every VNode ends as in the undisturbed run', (t) => {
  const outcomes = (only ? [only] : SEEDS).map((seed) => simulate(seed))
  const sum = (count: (outcome: Outcome) => number) => outcomes.reduce((total, outcome) => total + count(outcome), 0)
  const losses = sum((outcome) => outcome.losses)
  const rollbacks = sum((outcome) => outcome.rollbacks)
  t.log(`${outcomes.length} runs, ${sum(({ events }) => events)} events, ${losses} owners lost, ${rollbacks} rollbacks`)
  if (only) return t.pass()
  // The simulation is worth something only if all this happens.
  t.true(losses > 1_000)
  t.true(rollbacks > 50)
  for (const reason of ['generation', 'term', 'ungranted', 'duplicate', 'behind-manifest', 'beyond-credit'])
    t.true(sum(({ drops }) => drops.get(reason) ?? 0) > 0, `nothing was dropped for '${reason}'`)
  for (const window of [1, 2, 64])
    t.true(
      outcomes.some(({ graph }) => graph.window === window),
      `no window of ${window}`,
    )
})

test('equal seeds give equal simulations', (t) => {
  for (const seed of [1, 7, 29, 300]) {
    const [a, b] = [simulate(seed), simulate(seed)]
    t.deepEqual([a.events, a.losses, [...a.drops]], [b.events, b.losses, [...b.drops]])
  }
})

test('without faults nothing is dropped and nothing is lost', (t) => {
  for (const seed of [10, 20, 30, 40, 50, 60]) {
    const { losses, drops, graph } = simulate(seed)
    t.is(losses, 0)
    // A greeting and a grant may both ask for the first entries.
    const doubled = drops.get('duplicate') ?? 0
    t.true(doubled <= 2 * graph.window * graph.vnodes.length ** 2, `${doubled} duplicates, seed ${seed}`)
    t.deepEqual(
      [...drops.keys()].filter((reason) => reason !== 'duplicate'),
      [],
    )
  }
})

test('the seeds cover chains, joins, VNodes with several consumers, such as skip, and feedback', (t) => {
  const graphs = SEEDS.map(drawGraph)
  const joins = graphs.filter(({ inputs }) => [...inputs.values()].some((producers) => producers.length > 1))
  const branches = graphs.filter(({ outputs }) => [...outputs.values()].some((consumers) => consumers.length > 1))
  const chains = graphs.filter(({ outputs }) => [...outputs.values()].every((consumers) => consumers.length <= 1))
  const skipping = graphs.filter(({ skips }) => skips.size > 0)
  const kinds = [joins, branches, chains, skipping]
  kinds.push(
    graphs.filter(({ feedback, timetable }) => feedback.from.size > 0 && timetable.positionOf(1) > 1),
    graphs.filter(({ feedback }) => feedback.lag > 1),
  )
  for (const kind of kinds) t.true(kind.length > 40)
})

for (const [fault, defects] of Object.entries(BROKEN_RUNS)) {
  test(`the simulation catches a run that ${fault}`, (t) => {
    const found = firstFailure(defects)
    t.log(found ?? 'not found')
    t.truthy(found)
  })
}

/** What the first failing seed says. */
function firstFailure(defects: Defects): string | undefined {
  for (const seed of SEEDS) {
    try {
      simulate(seed, defects)
    } catch (error) {
      return (error as Error).message.slice(0, 150)
    }
  }
  return undefined
}
