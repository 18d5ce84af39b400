/** Whose turn it is on a worker. */
import test from 'ava'
import { MISSED_MS, RANK, type Rank, type Turn, Turns } from '../../runtime/compute/turns.js'
import { inlineCompute } from '../../runtime/compute/inline-compute.js'
import { refinement, trainingStep } from '../conformance/compute-fixtures.js'

const MACHINES = new URL('../conformance/integer-machines.js', import.meta.url)
const claim = (machine: string, rank: Rank, run = 'r') => ({ machine, run, rank })

/** All that waits, in the order of its turns, each of which takes `ms`. */
function taken(turns: Turns<string>, ms = 1): string[] {
  const items: string[] = []
  for (let turn = turns.take(); turn; turn = turns.take()) {
    items.push(turn.item)
    turns.took(turn, ms)
  }
  return items
}

test('training goes before evaluation and both before refinement, and requests of one machine keep their order', (t) => {
  const turns = new Turns<string>()
  turns.add('a 1', claim('a', RANK.training))
  turns.add('a refinement', claim('a', RANK.refinement))
  turns.add('a state', claim('a', RANK.control))
  turns.add('a 2', claim('a', RANK.training))
  turns.add('b evaluation', claim('b', RANK.evaluation))
  turns.add('c 1', claim('c', RANK.training))
  turns.add('d load', claim('d', RANK.control))
  t.is(turns.size, 7)
  t.deepEqual(taken(turns), ['d load', 'a 1', 'c 1', 'b evaluation', 'a refinement', 'a state', 'a 2'])
  t.is(turns.size, 0)
})

test('runs get equal time, however long their steps are', (t) => {
  const turns = new Turns<string>()
  const stepMs: { readonly [run: string]: number } = { long: 90, short: 3, middle: 17 }
  const had: { [run: string]: number } = { long: 0, short: 0, middle: 0 }
  // Each run always has two steps waiting, as a window gives them.
  for (const run of Object.keys(stepMs)) for (const machine of ['1', '2']) turns.add(run, claim(`${run}/${machine}`, RANK.training, run))
  for (let i = 0; i < 3_000; i++) {
    const turn = turns.take()!
    had[turn.item] += stepMs[turn.item]
    turns.took(turn, stepMs[turn.item])
    turns.add(turn.item, turn.claim)
    const [least, , most] = Object.values(had).toSorted((a, b) => a - b)
    // Start-time fair queueing: never further apart than two of the longest steps.
    t.true(most - least <= 2 * 90, JSON.stringify(had))
  }
})

test('a run that comes late, or had nothing to do, gets no more than a second of what it has missed', (t) => {
  const turns = new Turns<string>()
  const step = (run: string) => turns.add(run, claim(run, RANK.training, run))
  for (let i = 0; i < 100; i++) {
    step('busy')
    turns.took(turns.take()!, 100)
  }
  let ahead = 0
  for (let i = 0; i < 200; i++) step('late')
  step('busy')
  for (let turn = turns.take(); turn?.item === 'late'; turn = turns.take()) {
    ahead += 10
    turns.took(turn, 10)
  }
  // Beyond that the step of the other that was the last, and one of its own.
  t.true(ahead >= MISSED_MS && ahead <= MISSED_MS + 100 + 10, `${ahead} ms`)
})

/**
 * How much of the time each of them had, on a worker that has two requests at once, as in engine-compute.ts: the next is chosen before whoever was answered asks again.
 * Each has two steps under way or waiting at all times. `audit 1` is background work of the run 'r', `s/1` is of the run 's'.
 */
function shares(stepMs: { readonly [machine: string]: number }, turns = new Turns<string>()) {
  const had = new Map(Object.keys(stepMs).map((machine) => [machine, 0]))
  const add = (machine: string) => {
    const run = machine.startsWith('s/') ? 's' : 'r'
    turns.add(machine, { ...claim(machine, RANK.training, run), isBackground: machine.startsWith('audit') })
  }
  for (const machine of had.keys()) for (let i = 0; i < 2; i++) add(machine)
  const order: string[] = []
  const underWay: Turn<string>[] = []
  const post = () => {
    for (let turn = turns.take(underWay); turn; turn = underWay.length < 2 ? turns.take(underWay) : undefined) underWay.push(turn)
  }
  let allMs = 0
  for (let i = 0; i < 6_000; i++) {
    if (underWay.length < 2) post()
    const turn = underWay.shift()!
    const ms = stepMs[turn.item]
    turns.took(turn, ms)
    had.set(turn.item, had.get(turn.item)! + ms)
    allMs += ms
    order.push(turn.item)
    post()
    add(turn.item)
  }
  return { order, share: (...machines: string[]) => machines.reduce((sum, machine) => sum + had.get(machine)!, 0) / allMs }
}

test('an audit gets as much as all else of its run, however long steps are; other runs lose nothing by it', (t) => {
  const isNear = (value: number, expected: number) => t.true(Math.abs(value - expected) < 0.02, `${value}, not ${expected}`)
  isNear(shares({ own: 10, 'audit 1': 10 }).share('own'), 1 / 2)
  isNear(shares({ own: 10, 'audit 1': 100 }).share('own'), 1 / 2)
  isNear(shares({ own: 10, other: 10, 'audit 1': 30 }).share('own', 'other'), 1 / 2)
  // Whoever has more to audit does more of it.
  const three = shares({ own: 10, 'audit 1': 10, 'audit 2': 10, 'audit 3': 30 })
  isNear(three.share('own'), 1 / 4)
  isNear(three.share('audit 3'), 1 / 4)
  const two = shares({ own: 10, 'audit 1': 10, 'audit 2': 10, 's/1': 20 })
  isNear(two.share('s/1'), 1 / 2)
  isNear(two.share('own'), 1 / 6)
  // Short steps, of which two are asked for at once: two of them for each step of the run.
  isNear(shares({ own: 100, 'audit 1': 10 }).share('own'), 100 / 120)
  // Where its run has nothing else to do, an audit has the time of the run.
  isNear(shares({ 'audit 1': 10, 's/1': 20 }).share('s/1'), 1 / 2)
})

test('background work begins with no claim to what it has missed, and does not keep the time that it had to itself', (t) => {
  const turns = new Turns<string>()
  const step = (machine: string, isBackground = false) => turns.add(machine, { ...claim(machine, RANK.training), isBackground })
  for (let i = 0; i < 100; i++) {
    step('own')
    turns.took(turns.take()!, 10)
  }
  const { order } = shares({ own: 10, 'audit 1': 10 }, turns)
  t.true(order.slice(0, 12).filter((machine) => machine === 'audit 1').length <= 7, order.slice(0, 12).join())
  turns.clear()
  // Nobody else wants the worker for long.
  for (let i = 0; i < 500; i++) {
    step('audit 1', true)
    t.is(turns.take()!.item, 'audit 1')
  }
  const later = shares({ own: 10, 'audit 1': 10 }, turns)
  t.true(Math.abs(later.share('own') - 1 / 2) < 0.02, `${later.share('own')}`)
  t.true(later.order.indexOf('audit 1') <= 5 + MISSED_MS / 10, `${later.order.indexOf('audit 1')}`)
})

test('a step whose time is not known yet is charged when it is; another that comes meanwhile sees what such steps took', (t) => {
  const turns = new Turns<string>()
  for (const run of ['a', 'b', 'a', 'b', 'b']) turns.add(run, claim(run, RANK.training, run))
  const [first, second] = [turns.take()!, turns.take()!]
  turns.took(first, 50)
  turns.took(second, 5)
  // 'a' has had 50 ms and 'b' 5: it is its turn, and it is charged 5 at once.
  t.deepEqual([first.item, second.item], ['a', 'b'])
  t.deepEqual(
    [turns.take(), turns.take()].map((turn) => [turn?.item, turn?.chargedMs]),
    [
      ['b', 5],
      ['b', 5],
    ],
  )
  t.is(turns.take()?.item, 'a')
})

test('what is given up does not get its turn, and of what is gone nothing is remembered', (t) => {
  const turns = new Turns<string>()
  for (const item of ['1', '2', '3']) turns.add(item, claim('a', RANK.training))
  t.true(turns.delete('2'))
  t.false(turns.delete('2'))
  t.deepEqual(turns.clear(), ['1', '3'])
  t.is(turns.take(), undefined)
  turns.forget('a')
})

test('on a worker with much to refine the steps of other machines come first, and all of it is done in the end', async (t) => {
  const compute = inlineCompute({ machines: MACHINES })
  t.teardown(() => compute.close())
  await Promise.all(['a', 'b'].map((machine) => compute.load(machine, { seed: 1 }, undefined)))
  const order: string[] = []
  const ask = (what: string, request: Promise<unknown>) => request.then(() => void order.push(what))
  const all = [ask('a 1', compute.apply('a', trainingStep(1)))]
  for (let update = 0; update < 6; update++) all.push(ask(`a refinement ${update}`, compute.refine('a', refinement(1, update))))
  for (let step = 1; step <= 4; step++) all.push(ask(`b ${step}`, compute.apply('b', trainingStep(step))))
  await Promise.all(all)
  // Two were with the worker already when the others came.
  t.deepEqual(order.slice(0, 6), ['a 1', 'a refinement 0', 'b 1', 'b 2', 'b 3', 'b 4'])
  t.deepEqual(
    order.slice(6),
    [1, 2, 3, 4, 5].map((update) => `a refinement ${update}`),
  )
})

test('background work that was asked for before is done behind the steps of others', async (t) => {
  const compute = inlineCompute({ machines: MACHINES })
  t.teardown(() => compute.close())
  await Promise.all(['audit', 'own'].map((machine) => compute.load(machine, { seed: 1 }, undefined)))
  const order: string[] = []
  const ask = (machine: string, step: number, isBackground: boolean) =>
    compute.apply(machine, trainingStep(step), { isBackground }).then(() => void order.push(machine))
  const steps = [1, 2, 3, 4]
  await Promise.all([...steps.map((step) => ask('audit', step, true)), ...steps.map((step) => ask('own', step, false))])
  // Two were with the worker already when the others came.
  t.deepEqual(order, ['audit', 'audit', 'own', 'own', 'own', 'own', 'audit', 'audit'])
})
