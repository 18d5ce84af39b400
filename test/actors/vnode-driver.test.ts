/** One VNode's driver by itself: what it tells its run, and what it does with tombstones. */
import test from 'ava'
import type { Failure } from '../../actors/reports.js'
import { FrameForms } from '../../actors/pnode/frame-forms.js'
import { VNodeDriver } from '../../actors/pnode/vnode-driver.js'
import { SOURCE, type TrainingDefinition } from '../../components/definition.js'
import { systemClock } from '../../runtime/clock.js'
import type { ApplyOptions, ApplyRequest, Compute } from '../../runtime/compute/compute.js'
import { SwarmError } from '../../runtime/errors.js'
import { followerOf } from '../../runtime/followers.js'
import type { Grant } from '../../runtime/grant.js'
import { batchDigest } from '../../runtime/batch-digest.js'
import { decodeFrameOrTombstone, encodeFrame, encodeTombstone, MARK, TOMBSTONE_DIGEST } from '../../runtime/frame.js'
import { memoryStore } from '../../runtime/object-store/memory-store.js'
import { encodeSignal, subjectOf } from '../../runtime/signal.js'
import { memoryBroker } from '../../runtime/tensor-bus/memory-bus.js'
import { within } from '../conformance/within.js'
import type { Teardown } from '../support/servers.js'

const place = (position: number, marks = 0) => ({
  position,
  step: position,
  evaluation: 0,
  marks,
  run: 'r',
  vnode: SOURCE,
  generation: 1,
  term: 1,
})
const samples = (position: number) =>
  ({ dtype: 'float32', shape: [1, 1], bytes: new Uint8Array(Float32Array.of(position).buffer) }) as const
const labels = { dtype: 'int32', shape: [1], bytes: new Uint8Array(4) } as const
const batch = (position: number): string => batchDigest(samples(position), labels.bytes)

/** What the source sends. */
function output(position: number, marks = 0): Uint8Array {
  return encodeFrame({ header: { kind: 'output', ...place(position, marks) }, output: samples(position), labels, batch: batch(position) })
}
const TARGET = { kind: 'categorical', classes: 2 } as const
const m = { id: 'm', inputs: [SOURCE], inputShapes: [[1]], outputShape: [1], layers: [], hasHead: true, parameters: 1, cost: 1 }
const forms = new FrameForms(
  {
    network: { v: 1, input: [1], target: TARGET, vnodes: [m], output: 'm' },
    training: { batchSize: 1 } as TrainingDefinition,
    timetable: { epochs: 1, stepsPerEpoch: 100, evaluationBatches: 0, finalBatches: 0 },
  },
  'm',
)
const tombstone = (position: number): Uint8Array =>
  encodeTombstone({ header: { kind: 'tombstone', ...place(position) }, batch: batch(position) })

/** What each step takes. */
const BUSY_MS = 500

interface Report {
  readonly method: string
  readonly argument: unknown
  readonly signal: AbortSignal
}

interface Driven {
  readonly grant?: Partial<Pick<Grant, 'vnode' | 'skips' | 'until'>>
  readonly training?: Partial<TrainingDefinition>
  readonly refine?: Compute['refine']
}

/** The driver of `m` on one host, between a source and a reader on another. */
async function driven(
  t: Teardown,
  apply: (request: ApplyRequest, options?: ApplyOptions) => Promise<Uint8Array>,
  { grant = {}, training = {}, refine }: Driven = {},
) {
  const { connect } = memoryBroker()
  const [bus, other] = await Promise.all([connect('here'), connect('there')])
  const reports: Report[] = []
  let onReport = () => {}
  const compute = {
    load: async () => undefined,
    unload: async () => undefined,
    snapshot: async () => Uint8Array.of(1, 2, 3),
    refine,
    apply: async (_id: string, request: ApplyRequest, options?: ApplyOptions) => {
      return { frame: await apply(request, options), metrics: {}, busyMs: BUSY_MS }
    },
  } as unknown as Compute
  const driver = new VNodeDriver({
    host: {
      pnode: 'here',
      bus,
      compute,
      store: memoryStore(),
      clock: systemClock,
      report: (_run, method, argument, signal) => {
        reports.push({ method, argument, signal })
        onReport()
        // Nobody has heard it yet.
        return new Promise(() => undefined)
      },
      onError: (error) => {
        throw error
      },
      worked: () => undefined,
      observe: () => undefined,
    },
    definition: { vnode: { id: 'm', hasHead: true }, training } as never,
    forms,
    initial: undefined,
    computeClass: 'none',
    grant: {
      v: 1,
      run: 'r',
      generation: 1,
      vnode: 'm',
      term: 2,
      pnode: 'here',
      inputs: [{ vnode: SOURCE, pnode: 'there', term: 1 }],
      outputs: [{ vnode: 'z', pnode: 'there', term: 3 }],
      ...grant,
    },
    window: 4,
    maxAhead: Infinity,
  })
  t.teardown(() => driver.stop())
  const to = grant.vnode ?? 'm'
  const frames = other.subscribe(subjectOf('r', 'there', 'z', 'frame'), { capacity: 100 })[Symbol.asyncIterator]()
  await driver.start()
  other.publish(
    subjectOf('r', 'here', to, 'signal'),
    encodeSignal({ type: 'credit', vnode: 'z', generation: 1, term: 3, next: 1, upTo: 8, resend: true }),
  )
  return {
    driver,
    reports,
    send(this: void, bytes: Uint8Array) {
      other.publish(subjectOf('r', 'here', to, 'frame'), bytes)
    },
    /** The next frame that the reader gets. */
    async next(this: void) {
      const { value } = await within(5_000, 'the next frame', frames.next())
      if (value?.type !== 'message') throw new Error(`got ${value?.type}`)
      return decodeFrameOrTombstone(value.bytes)
    },
    reported: () =>
      within(
        5_000,
        'a report',
        new Promise<Report>((resolve) => {
          onReport = () => resolve(reports.at(-1)!)
          if (reports.length > 0) onReport()
        }),
      ),
  }
}

const applied = ({ header }: ApplyRequest): Promise<Uint8Array> => {
  return Promise.resolve(encodeFrame({ header, output: samples(0), labels, batch: batch(header.position) }))
}

test('what is skipped here or before is never given to the compute, and goes on as a tombstone in its turn', async (t) => {
  const steps: number[] = []
  const apply = async (request: ApplyRequest) => {
    steps.push(request.step)
    await new Promise((resolve) => setImmediate(resolve))
    return applied(request)
  }
  const { send, next } = await driven(t, apply, { grant: { skips: [2] } })
  for (const bytes of [output(1), output(2), tombstone(3), output(4)]) send(bytes)
  const kinds: unknown[] = []
  for (let i = 0; i < 4; i++) {
    const { header, batch: digest } = await next()
    kinds.push([header.position, header.kind, header.vnode, header.term, digest === batch(header.position)])
  }
  t.deepEqual(
    kinds,
    ['output', 'tombstone', 'tombstone', 'output'].map((kind, i) => [i + 1, kind, 'm', 2, true]),
  )
  t.deepEqual(steps, [1, 4])
})

test('a cut counts what was skipped with a digest of its own', async (t) => {
  const { send, reported } = await driven(t, applied, { grant: { skips: [2] } })
  for (const bytes of [output(1), output(2, 1)]) send(bytes)
  const { method, argument } = await reported()
  t.is(method, 'committed')
  const digests = Buffer.from((argument as { digests: string }).digests, 'base64')
  t.deepEqual([digests.length, digests.readUInt32LE(4)], [8, TOMBSTONE_DIGEST])
})

test('a failure is told once, with its entry, and is told on until it is heard, whatever follows from it', async (t) => {
  const failure = new SwarmError('compute.failed', 'on purpose')
  // The machine is gone with the first step: those behind it are refused.
  const gone = new SwarmError('compute.not-loaded', 'no machine')
  const { send, reported, reports } = await driven(t, ({ step }) => Promise.reject(step === 1 ? failure : gone))
  for (const bytes of [output(1), output(2)]) send(bytes)
  const { method, argument, signal } = await reported()
  for (let i = 0; i < 10; i++) await new Promise((resolve) => setImmediate(resolve))
  t.is(reports.length, 1)
  t.false(signal.aborted)
  t.is(method, 'failed')
  const { vnode, term, error, entry, batch: digest } = argument as Failure
  t.deepEqual([vnode, term, error, digest], ['m', 2, failure.toJSON(), batch(1)])
  t.deepEqual(entry, { position: 1, step: 1, evaluation: 0, marks: 0 })
})

test('its queues count what came in, what a step took, what is kept, and what was refused', async (t) => {
  let go = () => {}
  const gate = new Promise<void>((resolve) => (go = resolve))
  const { driver, send, next } = await driven(t, async (request) => {
    await gate
    return applied(request)
  })
  const queues = () => driver.queues
  t.like(queues(), { inbound: { depth: 0, enqueued: 0, done: 0 }, refinement: { depth: 0 }, outbound: { depth: 0, enqueued: 0, done: 0 } })
  for (const bytes of [output(1), output(1), output(2), output(3), output(9)]) send(bytes)
  for (let i = 0; i < 10; i++) await new Promise((resolve) => setImmediate(resolve))
  // Two are with the compute, one waits; one came twice, one before its time.
  t.deepEqual(queues().inbound, { depth: 1, enqueued: 3, done: 2, dropped: { duplicate: 1, 'beyond-credit': 1 } })
  go()
  for (let i = 0; i < 3; i++) await next()
  t.like(queues(), { inbound: { depth: 0, enqueued: 3, done: 3 }, outbound: { depth: 3, enqueued: 3, done: 0 } })
  driver.manifest(2)
  t.like(queues(), { outbound: { depth: 1, enqueued: 3, done: 2 } })
})

test('a step has as long as any at first, then thirty times as long as the ones before; what is given up then says so', async (t) => {
  const deadlines: (number | undefined)[] = []
  const { driver, send, next } = await driven(t, (request, options) => {
    deadlines.push(options?.patienceMs)
    return request.step < 3 ? applied(request) : new Promise(() => undefined)
  })
  const hung = new SwarmError('compute.hung', { what: 'on purpose', retryable: true })
  send(output(1))
  await next()
  send(output(2))
  await next()
  t.deepEqual(deadlines, [undefined, 30 * BUSY_MS])
  send(output(3))
  while (deadlines.length < 3) await new Promise((resolve) => setImmediate(resolve))
  t.like(driver.culprit({ machine: driver.id, error: hung, isHasty: true }), { isHasty: true, entry: { position: 3 } })
  t.is(driver.culprit({ machine: driver.id, error: hung }).isHasty, undefined)
})

test('an output goes out before the updates that follow its step; they are asked for behind it, and counted', async (t) => {
  const asked: string[] = []
  const waiting: (() => void)[] = []
  const { driver, send, next } = await driven(
    t,
    (request) => {
      asked.push(`${request.step}${request.evaluation > 0 ? ' evaluation' : ''}`)
      return applied(request)
    },
    {
      training: { refinement: { passes: 2, inputs: 2 } },
      refine: (machine, { run, vnode, step, update }) => {
        asked.push(`${step}.${update}`)
        t.deepEqual([machine, run, vnode], [driver.id, 'r', 'm'])
        return new Promise((resolve) => waiting.push(() => resolve({ busyMs: 1 })))
      },
      grant: { skips: [3] },
    },
  )
  for (const bytes of [output(1), output(2), output(3)]) send(bytes)
  // Nothing is refined yet, and everything has gone out.
  for (const position of [1, 2, 3]) t.is((await next()).header.position, position)
  t.deepEqual(asked, ['1', '1.0', '1.1', '2', '2.0', '2.1', '2.2', '2.3'])
  t.deepEqual(driver.queues.refinement, { depth: 6, enqueued: 6, done: 0, dropped: {} })
  const hung = new SwarmError('compute.hung', { what: 'on purpose', retryable: true })
  t.like(driver.culprit({ machine: driver.id, error: hung }), { entry: { position: 1 } }, 'the step that is being refined')
  for (const done of waiting.splice(0, 2)) done()
  for (let i = 0; i < 10; i++) await new Promise((resolve) => setImmediate(resolve))
  t.like(driver.queues, { refinement: { depth: 4, enqueued: 6, done: 2 } })
  t.like(driver.culprit({ machine: driver.id, error: hung }), { entry: { position: 2 } })
})

test('an update that fails is a failure of the step that it comes after', async (t) => {
  const failure = new SwarmError('run.diverged', 'on purpose')
  const { send, next, reported } = await driven(t, applied, {
    training: { refinement: { passes: 1, inputs: 1 } },
    refine: (_machine, { step }) => (step === 2 ? Promise.reject(failure) : Promise.resolve({ busyMs: 1 })),
  })
  for (const bytes of [output(1), output(2)]) send(bytes)
  for (const position of [1, 2]) t.is((await next()).header.position, position)
  const { method, argument } = await reported()
  t.is(method, 'failed')
  t.like(argument, { vnode: 'm', error: { code: 'run.diverged' }, entry: { position: 2, step: 2 }, batch: batch(2) })
})

test('word of the past neither stops a VNode that was told to go on, nor sets one going that was asked again', async (t) => {
  const { driver, send, next, reports } = await driven(t, applied)
  /** Sends a step that is a cut, and resolves to what its commit says of standing still. */
  const cut = async (position: number): Promise<unknown> => {
    send(output(position, MARK.cut))
    t.is((await next()).header.position, position)
    const isTold = () => reports.find(({ argument }) => (argument as { step: number }).step === position)
    while (!isTold()) await new Promise((resolve) => setImmediate(resolve))
    return (isTold()!.argument as { heldAsOf?: number }).heldAsOf
  }
  driver.hold(3)
  t.is(await cut(1), 3)
  driver.release(5)
  // Asked before it was told to go on, and heard later.
  driver.hold(4)
  t.is(await cut(2), undefined)
  driver.hold(5)
  driver.release(5)
  t.is(await cut(3), 5)
  send(output(4))
  driver.release(4)
  driver.release(6)
  t.is((await next()).header.position, 4)
  // Asked again before it hears that it was to go on: it goes on to the next cut.
  driver.hold(6)
  t.is(await cut(5), 6)
  driver.hold(8)
  driver.release(8)
  t.is(await cut(6), 8)
})

test('what an auditor applies is background work, with all that follows; what an owner and a follower apply is waited for', async (t) => {
  const follower = followerOf('m', 1)
  for (const [vnode, until] of [['m'], [follower], [follower, { step: 2, position: 2 }]] as const) {
    const asked: (boolean | undefined)[] = []
    const { send, driver } = await driven(
      t,
      (request, options) => {
        asked.push(options?.isBackground)
        return applied(request)
      },
      {
        grant: { vnode, ...(until && { until }) },
        training: { refinement: { passes: 1, inputs: 1 } },
        refine: async (_machine, _request, options) => {
          asked.push(options?.isBackground)
          return { busyMs: 1 }
        },
      },
    )
    for (const bytes of [output(1), output(2)]) send(bytes)
    await within(
      5_000,
      'both steps',
      (async () => {
        while (driver.queues.refinement.done < 2) await new Promise((resolve) => setImmediate(resolve))
      })(),
    )
    const isAudit = until !== undefined
    t.deepEqual(asked, [isAudit, isAudit, isAudit, isAudit], vnode)
  }
})
