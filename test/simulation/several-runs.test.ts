/** Runs that share PNodes in simulated time: how they share, and how one waits for room. Simulated times are exact, so that these figures are, too. */
import test from 'ava'
import { OVERTAKEN_MS } from '../../actors/placement/waiting-runs.js'
import { drawPlan } from './simulate.js'
import { carriedOut, host, LATENCY, runOf } from './undisturbed.js'

test.serial('on one worker a run of steps of 20 ms and one of 0.5 ms have the same share of the time, while both have work', async (t) => {
  const long = runOf('long', 1, { cost: 200, steps: 100 })
  const short = runOf('short', 2, { cost: 5, steps: 4_000 })
  const { worked } = await carriedOut({ run: long, others: [{ run: short, atMs: 1 }], hosts: [host(1e9)], latency: LATENCY })
  const of = (id: string) => worked.filter(({ run }) => run === id)
  const fromMs = Math.max(...['long', 'short'].map((id) => of(id)[0].atMs))
  const toMs = Math.min(...['long', 'short'].map((id) => of(id).at(-1)!.atMs))
  const shareOf = (id: string) =>
    of(id).reduce((sum, { atMs, busyMs }) => sum + (atMs > fromMs && atMs < toMs ? busyMs : 0), 0) / (toMs - fromMs)
  const [ofLong, ofShort] = [shareOf('long'), shareOf('short')]
  t.log(`${(100 * ofLong).toFixed(1)} % and ${(100 * ofShort).toFixed(1)} % of ${((toMs - fromMs) / 1000).toFixed(1)} s`)
  t.true(toMs - fromMs > 2_000)
  t.true(ofLong / ofShort < 1.1 && ofShort / ofLong < 1.1, `${ofLong} and ${ofShort}`)
  // Nobody waits longer than for two steps of the other.
  const ends = of('short')
    .map(({ atMs }) => atMs)
    .filter((atMs) => atMs > fromMs && atMs < toMs)
  const longest = Math.max(...ends.slice(1).map((atMs, i) => atMs - ends[i]))
  t.log(`the short run waits ${longest.toFixed(1)} ms at most`)
  t.true(longest <= 2 * 20 + 1, `${longest} ms`)
})

test.serial('a third run that its PNodes have no memory for waits, says why, and begins when one of the others has ended', async (t) => {
  // Each needs about 43 MB, for its parameters and what belongs to them.
  const size = { cost: 20, steps: 100, parameters: 600_000 }
  const [a, b, c] = ['a', 'b', 'c'].map((id, i) => runOf(id, i + 1, size))
  const others = [b, c].map((run, i) => ({ run, atMs: 200 * (i + 1) }))
  const { worked, waits } = await carriedOut({ run: a, others, hosts: [host(100e6)], latency: LATENCY })
  const spans = ['a', 'b', 'c'].map((id) => {
    const times = worked.filter(({ run }) => run === id).map(({ atMs }) => atMs)
    return { id, fromMs: times[0], toMs: times.at(-1)! }
  })
  const [first, second, third] = spans.toSorted((one, other) => one.fromMs - other.fromMs)
  t.log(spans.map(({ id, fromMs, toMs }) => `${id} ${fromMs.toFixed(0)}–${toMs.toFixed(0)} ms`).join(', '))
  t.true(second.fromMs < first.toMs, 'two run side by side')
  const endMs = Math.min(first.toMs, second.toMs)
  // A heartbeat says that there is room, and runs that wait are looked at every two seconds.
  t.true(third.fromMs > endMs && third.fromMs < endMs + 4_000, 'the third one begins when one of them has ended')
  t.deepEqual([...new Set(waits.map(([run]) => run))], [third.id])
  t.true(waits[0][1] < third.fromMs)
})

test.serial('a large run is overtaken by small ones for a minute, and then it is next', async (t) => {
  // Small ones come all the time, and there is never room for the large one beside any two of them.
  const [small, large] = [
    { cost: 700, steps: 40, parameters: 400_000 },
    { cost: 20, steps: 20, parameters: 1_200_000 },
  ]
  const others = Array.from({ length: 16 }, (_, i) => ({ run: runOf(`small-${i + 1}`, i + 2, small), atMs: 100 + 8_000 * (i + 1) }))
  const atMs = 9_000
  const { worked, waits } = await carriedOut({
    run: runOf('small-0', 1, small),
    others: [...others, { run: runOf('large', 99, large), atMs }],
    hosts: [host(100e6)],
    latency: LATENCY,
  })
  const begun = new Map(others.map(({ run }) => [run.id, worked.find((each) => each.run === run.id)!.atMs]))
  const largeMs = worked.find(({ run }) => run === 'large')!.atMs
  const overtook = others.filter(({ run, atMs: askedMs }) => askedMs > atMs && begun.get(run.id)! < largeMs)
  t.log(`the large one is asked for at ${atMs / 1000} s and begins at ${(largeMs / 1000).toFixed(1)} s, after ${overtook.length} others`)
  t.true(overtook.length >= 3)
  for (const { run } of overtook) t.true(begun.get(run.id)! <= atMs + OVERTAKEN_MS + 2_000, `${run.id} begins at ${begun.get(run.id)} ms`)
  t.true(others.length - overtook.length >= 4)
  t.true(waits.some(([run, , reason]) => run.startsWith('small') && reason.includes('no turn for run')))
})

test('in every fourth cluster there are several runs, of which some are refined, and some poisoned', (t) => {
  const others = Array.from({ length: 1_000 }, (_, i) => drawPlan(i + 1).cluster.others ?? [])
  t.true(others.filter((runs) => runs.length > 0).length > 200)
  const all = others.flat().map(({ run }) => run)
  t.true(all.filter(({ poison }) => poison).length > 30 && all.filter(({ definition }) => definition.training.refinement).length > 60)
})

test.serial('outputs do not wait for refinement: the first step comes to the end of the network just as soon', async (t) => {
  const hosts = ['h1', 'h2', 'h3'].map((name) => ({ ...host(1e9), name }))
  const times = []
  for (const refinement of [undefined, { passes: 2, inputs: 4 }]) {
    const { worked } = await carriedOut({ run: runOf('r', 1, { cost: 100, steps: 10, refinement }), hosts, latency: LATENCY })
    const stepsOf = (step: number) => worked.filter((each) => each.step === step).map(({ atMs }) => atMs)
    times.push({ first: Math.max(...stepsOf(1)) - Math.min(...stepsOf(1)), all: worked.at(-1)!.atMs - worked[0].atMs })
  }
  const [plain, refined] = times
  t.log(
    `the first step: ${plain.first.toFixed(2)} and ${refined.first.toFixed(2)} ms; ten steps: ${plain.all.toFixed(0)} and ${refined.all.toFixed(0)} ms`,
  )
  t.is(refined.first.toFixed(6), plain.first.toFixed(6))
  t.true(refined.all > 4 * plain.all)
})
