import test from 'ava'
import { type CutPolicy, runSettings } from '../../actors/run/run-settings.js'
import { Batches } from '../../actors/pnode/batches.js'
import { SourceDriver } from '../../actors/pnode/source.js'
import { SOURCE } from '../../components/definition.js'
import { block, categorical, datasets, dense, flatten, local, network, pred, relu } from '../../index.js'
import type { LocalSwarm } from '../../actors/local-swarm.js'
import type { Failure } from '../../actors/reports.js'
import type { TrainingOptions } from '../../actors/prepare.js'
import { train } from '../../actors/train.js'
import { systemClock } from '../../runtime/clock.js'
import { decodeFrame, MARK } from '../../runtime/frame.js'
import { LogRoot } from '../../runtime/log-root.js'
import { memoryStore } from '../../runtime/object-store/memory-store.js'
import { encodeSignal, subjectOf } from '../../runtime/signal.js'
import { memoryBroker } from '../../runtime/tensor-bus/memory-bus.js'
import { Timetable } from '../../runtime/timetable.js'
import { within } from '../conformance/within.js'
import { until } from '../support/until.js'
import { chainRun } from '../simulation/simulated-run.js'

const net = network({ input: [28, 28, 1], target: categorical(10) }, [flatten(), block(dense(8), relu())])
const training = { data: datasets.glyphs({ train: 320, test: 160 }), batchSize: 32, epochs: 4, rule: pred() }

for (const everySteps of [1, 2, 3, 7]) {
  test(`with no room for retention but the least, evaluations never leave the source without a place for a cut (every ${everySteps} steps)`, async (t) => {
    t.timeout(60_000)
    const on = local({ pnodes: 1, threads: false, window: 1 })
    const run = train(net, training, { on, store: memoryStore(), checkpoint: { everySteps, retentionBytes: 0 } })
    t.is((await run.result).status, 'done')
  })
}

test('augmentation decides the hash, and nothing else does; evaluations see the images as they are', async (t) => {
  t.timeout(60_000)
  const augmentation = { crop: 3, flip: true }
  const begin = (pnodes: number, more: Partial<TrainingOptions> = {}) => {
    let swarm: LocalSwarm | undefined
    const store = memoryStore()
    const options = { on: local({ pnodes, threads: false }), store, checkpoint: { everySteps: 5 } }
    const { result } = train(net, { ...training, ...more }, options, { id: 'learnt', onSwarm: (made) => (swarm = made) })
    return { store, result, swarm: () => swarm }
  }
  const learnt = begin(1)
  const [plain, moved] = await Promise.all([learnt.result, begin(1, { augmentation }).result])
  t.not(moved.hash, plain.hash)
  const killed = begin(3, { augmentation })
  await until('some steps', () => (killed.swarm()?.monitor.step ?? 0) >= 12)
  await killed.swarm()!.killPNode(killed.swarm()!.monitor.pnodeOf(SOURCE)!)
  t.is((await killed.result).hash, moved.hash)
  // What has learnt and learns no more answers the test as it did.
  const still = { epochs: 1, learningRate: 1e-30, from: 'learnt' }
  const { store } = learnt
  const { metrics } = await train(net, { ...training, ...still, augmentation }, { on: local({ pnodes: 1, threads: false }), store }).result
  t.is(metrics.accuracy, plain.metrics.accuracy)
  t.is(metrics.loss, plain.metrics.loss)
})

test('augmentation of what is no image is refused before the run begins', async (t) => {
  const flat = network({ input: [784], target: categorical(10) }, [block(dense(8), relu())])
  const failing = (options: Partial<TrainingOptions>) =>
    train(flat, { ...training, ...options }, { on: local(), store: memoryStore() }).result
  t.regex((await t.throwsAsync(failing({ augmentation: { crop: 2 } }))).message, /augmentation: expected images.*got \[784\]/)
  t.regex((await t.throwsAsync(failing({ augmentation: {} }))).message, /augmentation: expected \{ crop: 1 to 64 pixels \}.*got \{\}/)
})

/** A source of 200 steps of which every log is compared, with one reader, and what it has made. */
async function reviewed(window: number) {
  const { definition, dataset, settings } = chainRun(1, { epochs: 1, stepsPerEpoch: 200 }, (made) => runSettings(made, { window }))
  const [reader] = definition.network.vnodes.map(({ id }) => id)
  const { connect } = memoryBroker()
  const [bus, other] = await Promise.all([connect('here'), connect('there')])
  const frames = other.subscribe(subjectOf('r', 'there', reader, 'frame'), { capacity: 1_000 })[Symbol.asyncIterator]()
  const made = { batches: 0 }
  const counted = {
    ...dataset,
    get splits() {
      made.batches++
      return dataset.splits
    },
  }
  const grant = { v: 1, run: 'r', generation: 1, vnode: SOURCE, term: 1, pnode: 'here', inputs: [] } as const
  const onFailure = ({ error }: Failure) => {
    throw new Error(error.message)
  }
  const source = new SourceDriver(
    { bus, clock: systemClock, window, cuts: settings.cuts, definition, dataset: counted, isReviewed: true, onFailure },
    { ...grant, outputs: [{ vnode: reader, pnode: 'there', term: 2 }] },
  )
  const next = async (position: number) => {
    const credit = { type: 'credit', vnode: reader, generation: 1, term: 2, next: position, upTo: position, resend: false } as const
    other.publish(subjectOf('r', 'here', SOURCE, 'signal'), encodeSignal(credit))
    const { value } = await within(10_000, `position ${position}`, frames.next())
    if (value?.type !== 'message') throw new Error(`got ${value?.type}`)
    return decodeFrame(value.bytes).header.position
  }
  const batches = new Batches(definition, dataset)
  const timetable = new Timetable(definition.timetable)
  const root = new LogRoot({ producer: SOURCE, kind: 'output', isOfSource: true }, 0)
  for (let position = 1; position <= 40; position++) root.addBatch(batches.batch(timetable.at(position)))
  return { source, made, next, rootAt: (position: number) => ({ output: root.at(position)!, inputs: {} }) }
}

test('a source whose log is compared makes each batch once, however far it is ahead of its readers', async (t) => {
  const { source, made, next, rootAt } = await reviewed(1)
  source.start()
  for (let position = 1; position <= 40; position++) t.is(await next(position), position)
  t.is(made.batches, 40)
  t.deepEqual(source.rootsAt(40), rootAt(40))
  t.deepEqual(source.rootsAt(7), rootAt(7))
  t.is(source.rootsAt(201), undefined)
  await source.stop()
})

test('a source that goes on behind another one counts what only that one has sent', async (t) => {
  const { source, made, next, rootAt } = await reviewed(1)
  source.start()
  t.is(await next(30), 30)
  t.is(await next(31), 31)
  t.deepEqual(source.rootsAt(12), rootAt(12))
  t.deepEqual(source.rootsAt(31), rootAt(31))
  // None of it when it is asked: that may be long after.
  t.is(made.batches, 31)
  // It is asked about what it has made for nobody yet.
  t.deepEqual(source.rootsAt(33), rootAt(33))
  t.is(await next(35), 35)
  t.deepEqual(source.rootsAt(35), rootAt(35))
  await source.stop()
})

/**
 * Positions of the cuts that a source asks for, up to its last step.
 * @param isComplete whether a cut completes, when its reader has it
 * @param lag so far behind its reader every position is a checkpoint
 */
async function cutsOf(isComplete: (position: number) => boolean, more: Partial<CutPolicy> = {}, lag = Infinity): Promise<number[]> {
  const window = 1
  const { definition, dataset, settings } = chainRun(1, { epochs: 1, stepsPerEpoch: 200 }, (made) =>
    runSettings(made, { checkpoint: { everySteps: 5 }, window }),
  )
  const [reader] = definition.network.vnodes.map(({ id }) => id)
  const { connect } = memoryBroker()
  const [bus, other] = await Promise.all([connect('here'), connect('there')])
  const frames = other.subscribe(subjectOf('r', 'there', reader, 'frame'), { capacity: 1_000 })[Symbol.asyncIterator]()
  const onFailure = ({ error }: Failure) => {
    throw new Error(error.message)
  }
  const place = { v: 1, run: 'r', generation: 1, vnode: SOURCE, term: 1, pnode: 'here' } as const
  const grant = { ...place, inputs: [], outputs: [{ vnode: reader, pnode: 'there', term: 2 }] }
  const source = new SourceDriver(
    { bus, clock: systemClock, window, cuts: { ...settings.cuts, ...more }, definition, dataset, onFailure },
    grant,
  )
  source.start()
  const ask = (next: number) => {
    const credit = { type: 'credit', vnode: reader, generation: 1, term: 2, next, upTo: next, resend: false } as const
    other.publish(subjectOf('r', 'here', SOURCE, 'signal'), encodeSignal(credit))
  }
  ask(1)
  const cuts: number[] = []
  for (let position = 0; position < 200;) {
    const { value } = await within(10_000, `what comes after ${position}`, frames.next())
    if (value?.type !== 'message') throw new Error(`got ${value?.type}`)
    const { header } = decodeFrame(value.bytes)
    position = header.position
    ask(position + 1)
    if (position > lag) source.manifest(position - lag)
    if ((header.marks & MARK.cut) === 0) continue
    cuts.push(position)
    if (isComplete(position)) source.manifest(position)
  }
  await source.stop()
  return cuts
}

test('where a cut does not complete another one is asked for, later each time: whoever passed it before it was asked for has no part in it', async (t) => {
  t.deepEqual(await cutsOf(() => false), [5, 15, 35, 75, 155, 200])
})

test('after one that completes it goes on as ever', async (t) => {
  const cuts = await cutsOf((position) => position >= 15)
  t.deepEqual(cuts.slice(0, 2), [5, 15])
  // The source is a few steps ahead of what it is told.
  t.true(cuts.length > 15, cuts.join(' '))
})

test('checkpoints that come close together do not each have a cut where retention ends, and that one another', async (t) => {
  // It is eight steps ahead of its reader: always where retention ends.
  const cuts = await cutsOf(() => false, { everySteps: 10_000, everyMs: 1e9, maxAhead: 32 }, 24)
  const gaps = cuts.slice(1, -1).map((cut, i) => cut - cuts[i])
  t.true(gaps.length > 3 && gaps.every((gap) => gap >= 4), cuts.join(' '))
})
