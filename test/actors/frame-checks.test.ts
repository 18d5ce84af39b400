/** What every frame is checked for: each check fires, names its producer, and costs an honest run nothing. */
import test from 'ava'
import { CONTENT_REASONS, type ContentReason, FrameChecks, type FrameSuspicion } from '../../actors/pnode/frame-checks.js'
import { FrameForms } from '../../actors/pnode/frame-forms.js'
import { ENVELOPE, NormEnvelope } from '../../actors/pnode/norm-envelope.js'
import type { RunEvent } from '../../actors/events.js'
import type { LocalSwarm } from '../../actors/local-swarm.js'
import { strayBatches } from '../../actors/run/open-cuts.js'
import type { Commit } from '../../actors/reports.js'
import { readEvents } from '../../actors/run/event-log.js'
import { local, train } from '../../actors/train.js'
import type { TrainingOptions } from '../../actors/prepare.js'
import { SOURCE, type TrainingDefinition } from '../../components/definition.js'
import { categorical, dense, flatten, leakyRelu, block, network, relay, solo } from '../../index.js'
import type { Network } from '../../components/network.js'
import { batchDigest } from '../../runtime/batch-digest.js'
import { encodeFeedback, encodeFrame, MARK, readFrame, type TensorBytes } from '../../runtime/frame.js'
import { memoryBroker } from '../../runtime/tensor-bus/memory-bus.js'
import { openPools, renamed } from '../support/chaos-run.js'
import { forge, LIES, lyingBus } from '../support/forged-frames.js'
import { branching, chain, openObjects, TRAINING } from '../support/small-runs.js'

const pools = openPools()
test.after.always(() => pools.close())

/** Of VNodes `a` and `b`, of which `b` reads the source and `a`; `a` gets derivatives from `b`. */
const vnode = { inputShapes: [], outputShape: [4], layers: [], hasHead: true, parameters: 1, cost: 1 }
const DEFINITION = {
  network: {
    v: 1,
    input: [3],
    target: { kind: 'categorical', classes: 2 },
    vnodes: [
      { ...vnode, id: 'a', inputs: [SOURCE], feedback: { of: 'gradients', from: ['b'], to: [], lag: 1, window: 1 } },
      { ...vnode, id: 'b', inputs: [SOURCE, 'a'], feedback: { of: 'gradients', from: [], to: ['a'], lag: 1, window: 1 } },
    ],
    output: 'b',
  },
  training: { batchSize: 2 } as TrainingDefinition,
  timetable: { epochs: 1, stepsPerEpoch: 200, drains: 1, evaluationBatches: 0, finalBatches: 1 },
} as const

const floats = (shape: readonly number[], value = 1): TensorBytes => {
  const values = new Float32Array(shape.reduce((a, b) => a * b, 1)).fill(value)
  return { dtype: 'float32', shape, bytes: new Uint8Array(values.buffer) }
}
const labels: TensorBytes = { dtype: 'int32', shape: [2], bytes: new Uint8Array(8) }
const batch = batchDigest(floats([2, 3], 0), labels.bytes)
/** Every second position is a drain. */
const headerOf = (vnodeId: string, step: number, term = 1) =>
  ({ position: 2 * step - 1, step, evaluation: 0, marks: 0, run: 'r', vnode: vnodeId, generation: 1, term }) as const
const outputOf = (vnodeId: string, step: number, value = 1, term = 1): Uint8Array =>
  encodeFrame({
    header: { kind: 'output', ...headerOf(vnodeId, step, term) },
    output: floats([2, vnodeId === SOURCE ? 3 : 4], value),
    labels,
    batch,
  })
const derivative = (step: number, tensors: { readonly [name: string]: TensorBytes } = { a: floats([2, 4]) }): Uint8Array =>
  encodeFeedback({ header: { kind: 'feedback', ...headerOf('b', step), position: 2 * step }, tensors })

function checksOf(reader: 'a' | 'b', pnode = 'here') {
  const suspicions: FrameSuspicion[] = []
  const forms = new FrameForms(DEFINITION, reader)
  const checks = new FrameChecks({ run: 'r', forms, pnode, onSuspicion: (suspicion) => suspicions.push(suspicion) })
  const refusal = (bytes: Uint8Array, from = 'there') => checks.refusalOf(readFrame(bytes), bytes, from)
  return { refusal, suspicions }
}

for (const reason of CONTENT_REASONS) {
  test(`a frame that is wrong in one thing is refused: ${reason}`, (t) => {
    const { refusal, suspicions } = checksOf('b')
    for (let step = 1; step <= ENVELOPE.warmUp; step++) t.is(refusal(outputOf('a', step)), undefined)
    const step = ENVELOPE.warmUp + 1
    t.is(refusal(outputOf(SOURCE, step)), undefined)
    t.is(refusal(forge(outputOf('a', step), LIES[reason])), reason)
    t.deepEqual(suspicions, [{ producer: 'a', pnode: 'there', term: 1, step: reason === 'step' ? step + 1 : step, reason }])
    // What should have come is good, and nothing is wrong behind it.
    t.is(refusal(outputOf('a', step)), undefined)
    t.is(refusal(outputOf('a', step + 1)), undefined)
  })
}

test('the timetable says what stands where: marks that change results, drains with samples, positions beyond the end', (t) => {
  const { refusal } = checksOf('b')
  const marked = (marks: number) => forge(outputOf('a', 1), (frame) => void (frame.marks = marks))
  t.is(refusal(marked(MARK.cut | MARK.pause)), undefined)
  for (const mark of ['evaluate', 'decision', 'end', 'drain'] as const) t.is(refusal(marked(MARK[mark])), 'step', mark)
  const drain = (samples: number) =>
    encodeFrame({
      header: { kind: 'output', ...headerOf('a', 1), position: 2, marks: MARK.drain },
      output: floats([samples, 4]),
      labels: { dtype: 'int32', shape: [samples], bytes: new Uint8Array(4 * samples) },
      batch: batchDigest(floats([0, 4]), new Uint8Array(4 * samples)),
    })
  t.is(refusal(drain(0)), undefined)
  t.is(refusal(drain(1)), 'shape')
  t.is(refusal(outputOf('a', 201)), 'step')
  t.is(refusal(forge(outputOf('a', 1), ({ tensors }) => void tensors.push({ ...tensors[0] }))), 'tensors')
  t.is(refusal(encodeFeedback({ header: { kind: 'feedback', ...headerOf('a', 1) }, tensors: { a: floats([2, 4]) } })), 'step')
})

test('derivatives are by name, of the shape of what they are by, and of a step that was; none are as good', (t) => {
  const { refusal } = checksOf('a')
  t.is(refusal(derivative(1)), undefined)
  t.is(refusal(derivative(2, {})), undefined)
  t.is(refusal(derivative(2, { b: floats([2, 4]) })), 'tensors')
  t.is(refusal(derivative(2, { a: floats([2, 4]), b: floats([2, 4]) })), 'tensors')
  t.is(refusal(derivative(2, { a: floats([2, 3]) })), 'shape')
  t.is(refusal(derivative(2, { a: floats([3, 4]) })), 'shape')
  t.is(refusal(derivative(2, { a: { ...floats([2, 4]), dtype: 'int32' } })), 'dtype')
  t.is(refusal(derivative(2, { a: floats([2, 4], Infinity) })), 'finite')
  t.is(refusal(forge(derivative(2), (frame) => void (frame.step = 3))), 'step')
  for (let step = 2; step <= ENVELOPE.warmUp + 1; step++) t.is(refusal(derivative(step)), undefined)
  // Where a batch is learnt, derivatives vanish, and a hard one brings them back.
  t.is(refusal(derivative(20, { a: floats([2, 4], 1e-12) })), undefined)
  t.is(refusal(derivative(21, { a: floats([2, 4], 1_000) })), undefined)
  t.is(refusal(derivative(22, { a: floats([2, 4], 1e9) })), 'norm')
})

test('what no honest producer makes is refused however often it comes; what is odd is believed when it is insisted on', (t) => {
  const { refusal, suspicions } = checksOf('b')
  for (let step = 1; step <= ENVELOPE.warmUp; step++) t.is(refusal(outputOf('a', step)), undefined)
  const step = ENVELOPE.warmUp + 1
  const wrong = outputOf('a', step, Number.NaN)
  for (let i = 0; i < 5; i++) t.is(refusal(wrong), 'finite')
  const odd = outputOf('a', step, 1e6)
  t.is(refusal(odd), 'norm')
  // Under another term it may be somebody else.
  t.is(refusal(outputOf('a', step, 1e6, 2)), 'norm')
  t.is(refusal(outputOf('a', step, 1e6, 2)), undefined)
  // So it is what it makes now.
  for (let more = 1; more <= 20; more++) t.is(refusal(outputOf('a', step + more, 1e6, 2)), undefined)
  t.deepEqual(
    suspicions.map(({ term, reason }) => `${reason} ${term}`),
    ['finite 1', 'norm 1', 'norm 2'],
  )
  // Nothing at all, and something again: each is asked for twice.
  t.is(refusal(outputOf('a', step + 21, 0, 2)), 'norm')
  t.is(refusal(outputOf('a', step + 21, 0, 2)), undefined)
  for (let more = 22; more <= 60; more++) t.is(refusal(outputOf('a', step + more, 0, 2)), undefined)
})

test('two frames for one place under one term: one of them is a lie, whichever is believed', (t) => {
  const { refusal, suspicions } = checksOf('b')
  for (let step = 1; step <= ENVELOPE.warmUp; step++) t.is(refusal(outputOf('a', step)), undefined)
  const step = ENVELOPE.warmUp + 1
  t.is(refusal(outputOf('a', step, 1e6)), 'norm')
  t.is(refusal(outputOf('a', step, 1e7)), 'norm')
  t.is(refusal(outputOf('a', step, 1)), undefined)
  t.deepEqual(
    suspicions.map(({ reason }) => reason),
    ['norm', 'changed'],
  )
})

test('numbers that are not finite in the data are asked for again, and then their readers say what becomes of them', (t) => {
  const { refusal } = checksOf('b')
  const bytes = outputOf(SOURCE, 1, Number.NaN)
  t.is(refusal(bytes), 'finite')
  t.is(refusal(bytes), undefined)
  // Nor is anything expected of their size.
  for (let step = 2; step <= 40; step++) t.is(refusal(outputOf(SOURCE, step, step % 2 === 0 ? 1 : 1e6)), undefined)
})

test('what the own worker has made is not measured again', (t) => {
  const { refusal } = checksOf('b', 'here')
  t.is(refusal(outputOf('a', 1, Number.NaN), 'here'), undefined)
  t.is(refusal(forge(outputOf('a', 1), LIES.shape), 'here'), 'shape')
})

test('the envelope follows what it learns, to both sides for outputs, upwards for derivatives', (t) => {
  for (const [kind, isTwoSided] of [
    ['outputs', true],
    ['feedback', false],
  ] as const) {
    const envelope = new NormEnvelope(kind)
    const factor = ENVELOPE[kind]
    for (let i = 0; i < ENVELOPE.warmUp; i++) {
      t.true(envelope.admits(1e30))
      envelope.learn(2)
    }
    t.true(envelope.admits(2 * factor))
    t.false(envelope.admits(2.001 * factor))
    t.true(envelope.admits(2 / factor))
    t.is(envelope.admits(1.999 / factor), !isTwoSided)
    for (let i = 0; i < 100; i++) envelope.learn(8)
    t.true(envelope.admits(7.99 * factor))
    envelope.restart()
    t.true(envelope.admits(1e30))
  }
})

interface Outcome {
  readonly hash: string
  readonly dropped: ReadonlyMap<string, number>
  readonly suspicions: readonly (RunEvent & { readonly type: 'suspected' })[]
}

async function learn(
  net: Network,
  training: TrainingOptions,
  lie: (frame: Uint8Array, from: string, to: string) => Uint8Array | undefined = () => undefined,
): Promise<Outcome> {
  const { store } = openObjects()
  let swarm: LocalSwarm | undefined
  const run = train(
    net,
    training,
    { on: local({ pnodes: 4, returnMs: 20 }), store, checkpoint: { everySteps: 10 } },
    {
      id: 'r',
      pool: renamed(pools.inline, `${crypto.randomUUID()}-`),
      connect: lyingBus(memoryBroker().connect, lie),
      onSwarm: (started) => (swarm = started),
    },
  )
  const { hash } = await run.result
  const suspicions: Outcome['suspicions'][number][] = []
  for await (const { events } of readEvents(store, 'r')) for (const event of events) if (event.type === 'suspected') suspicions.push(event)
  return { hash: hash!, dropped: swarm!.monitor.dropped, suspicions }
}

test.serial('a producer that lies once in every way on the wire: each is refused, counted, told, and asked for again', async (t) => {
  const honest = await learn(branching, TRAINING)
  t.deepEqual([honest.suspicions, CONTENT_REASONS.filter((reason) => honest.dropped.has(reason))], [[], []])
  const reasons = Object.keys(LIES) as ContentReason[]
  const liars = new Map<string, string>()
  const seen = new Map<number, number>()
  const lied = await learn(branching, TRAINING, (bytes, from, to) => {
    const { header } = readFrame(bytes)
    // What joins three edges: so there is something to compare the batch with.
    if (header.kind !== 'output' || header.vnode === SOURCE || to !== 'dense-4' || header.step < 24 || header.evaluation > 0)
      return undefined
    const reason = reasons[Math.floor((header.step - 24) / 3)]
    if (!reason || (header.step - 24) % 3 > 0 || liars.has(reason)) return undefined
    seen.set(header.position, (seen.get(header.position) ?? 0) + 1)
    // The last of the three for this step: the two others have said which batch it is.
    if (reason === 'batch' && seen.get(header.position)! < 3) return undefined
    liars.set(reason, `${header.vnode} ${from}`)
    return forge(bytes, LIES[reason])
  })
  t.deepEqual([...liars.keys()].toSorted(), reasons.toSorted())
  for (const reason of reasons) {
    t.is(lied.dropped.get(reason), 1, reason)
    const told = lied.suspicions.find((event) => event.reason === reason)
    t.is(told && `${told.vnode} ${told.pnode}`, liars.get(reason), reason)
    t.is(told?.by, 'dense-4')
  }
  t.is(lied.hash, honest.hash)
})
test.serial('lies against the graph are refused as well: derivatives, and a shared head', async (t) => {
  const part = () => block(dense(16), leakyRelu())
  const net = network({ input: [28, 28, 1], target: categorical(10) }, [flatten(), part(), part(), part()])
  for (const rule of [relay(), solo()]) {
    const training = { ...TRAINING, rule, epochs: 5 }
    const honest = await learn(net, training)
    t.deepEqual(honest.suspicions, [])
    const reasons = ['run', 'step', 'tensors', 'dtype', 'shape', 'finite'] as const
    const liars = new Map<string, string>()
    const lied = await learn(net, training, (bytes, from) => {
      const { header, tensors } = readFrame(bytes)
      const reason = reasons[liars.size]
      if (header.kind !== 'feedback' || tensors.length === 0 || !reason) return undefined
      liars.set(reason, from)
      // No step that can have been.
      return forge(bytes, reason === 'step' ? (frame) => void (frame.step += 1_000) : LIES[reason])
    })
    t.is(lied.hash, honest.hash, rule.name)
    const told = new Set(lied.suspicions.map(({ reason }) => reason))
    for (const reason of liars.keys()) t.true((lied.dropped.get(reason) ?? 0) > 0 && told.has(reason as never), `${rule.name}: ${reason}`)
    t.true(liars.size >= 2, rule.name)
  }
})

test.serial('a producer that insists on what is odd does not stop the run: it is believed, and stays under suspicion', async (t) => {
  const { suspicions, dropped } = await learn(branching, TRAINING, (bytes, _from, to) => {
    const { header } = readFrame(bytes)
    const isOdd = header.vnode === 'dense-1' && to === 'dense-2' && header.step >= 30 && header.evaluation === 0
    return isOdd ? forge(bytes, (frame) => LIES.norm(frame)) : undefined
  })
  t.true(dropped.get('norm')! >= 1)
  t.true(dropped.get('norm')! < 30, `${dropped.get('norm')} refused`)
  // What the one that was lied to makes of it is odd as well; but everybody sends the same again.
  t.deepEqual(
    [...new Set(suspicions.map(({ vnode: id, by, reason }) => `${id} to ${by}: ${reason}`))],
    ['dense-1 to dense-2: norm', 'dense-2 to dense-4: norm'],
  )
})

test.serial('other labels on one edge, whose digest fits them: nobody can see it there, and the commits tell them apart', async (t) => {
  const lie = (bytes: Uint8Array, _from: string, to: string) => {
    const { vnode: id, step, evaluation } = readFrame(bytes).header
    return id === 'dense-1' && to === 'dense-2' && step === 15 && evaluation === 0 ? forge(bytes, LIES.batch) : undefined
  }
  const { suspicions, dropped } = await learn(chain, TRAINING, lie)
  t.false(dropped.has('labels') || dropped.has('batch'))
  t.deepEqual(
    suspicions.map(({ vnode: id, by, reason }) => `${id} by ${by}: ${reason}`),
    ['dense-2 by dense-1: batch'],
  )
})

test('who has applied other batches than those that it reads from is named; what begins elsewhere is not compared', (t) => {
  const commit = (id: string, batches: string, firstStep = 1) => ({ vnode: id, batches, firstStep }) as Commit
  const vnodes = [
    { id: 'a', inputs: [SOURCE] },
    { id: 'b', inputs: [SOURCE] },
    { id: 'c', inputs: ['a', 'b'] },
    { id: 'd', inputs: ['c'] },
  ] as unknown as Parameters<typeof strayBatches>[1]['vnodes']
  const named = (...commits: Commit[]) => strayBatches(commits, { vnodes }).map(({ commit: { vnode: id }, by }) => `${id} by ${by}`)
  t.deepEqual(named(...['a', 'b', 'c', 'd'].map((id) => commit(id, 'x'))), [])
  t.deepEqual(named(commit('a', 'x'), commit('b', 'x'), commit('c', 'y'), commit('d', 'y')), ['c by a'])
  t.deepEqual(named(commit('a', 'x'), commit('b', 'y'), commit('c', 'x'), commit('d', 'x')), ['b by a', 'c by b'])
  t.deepEqual(named(commit('a', 'x'), commit('b', 'x'), commit('c', 'x'), commit('d', 'z', 3)), [])
})
