import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import test from 'ava'
import type { Compute, ComputePool } from '../../runtime/compute/compute.js'
import { inlineCompute, inlinePool } from '../../runtime/compute/inline-compute.js'
import { computePool } from '../../runtime/compute/thread-compute.js'
import { type EdgeEntry, edgeEntryOf } from '../../runtime/edge-root.js'
import { isSwarmError } from '../../runtime/errors.js'
import type { ConformanceCase } from '../conformance/case.js'
import { computeSuite, type ComputeFactory } from '../conformance/compute.js'
import {
  headerOf,
  hex,
  inputFrame,
  nextLoss,
  outcome,
  refused,
  resolved,
  stepWithFeedback,
  trainingStep,
} from '../conformance/compute-fixtures.js'
import { BROKEN_COMPUTES, IGNORES_THE_DEADLINE, type Breakage } from '../support/broken-computes.js'
import { fakeClock } from '../support/fake-clock.js'

const MACHINES = new URL('../conformance/integer-machines.js', import.meta.url)
const WHOLE = { seed: 7 }

// One pool for all cases, so that each starts on a warm spare; a case has its own compute in it.
const threads = computePool({ machines: MACHINES, spares: 2 })
test.after.always(() => threads.close())

function factoryOn(hasThreads: boolean, breakage: Breakage = (inner) => inner, limitMs?: number): ComputeFactory {
  let made = 0
  return {
    hasThreads,
    limitMs,
    make(machines) {
      made += 1
      const compute = hasThreads ? threads.compute(`case-${made}-${limitMs}`) : inlineCompute({ machines })
      return { compute: breakage(compute) }
    },
  }
}

for (const [place, hasThreads] of [
  ['threads', true],
  ['inline', false],
] as const) {
  for (const check of computeSuite(factoryOn(hasThreads))) {
    test.serial(`${place}: ${check.title}`, async (t) => {
      await t.notThrowsAsync(check.run())
    })
  }
}

test.serial('a worker hashes what it makes, where that is compared, as whoever reads it does', async (t) => {
  const compute = threads.compute('compared')
  t.teardown(() => compute.close())
  await compute.load('m', WHOLE, undefined)
  const request = stepWithFeedback(1, [1])
  const { frame, feedback, entries } = await compute.apply('m', { ...request, isCompared: true })
  t.deepEqual(plain(entries!.frame), plain(edgeEntryOf(frame)))
  t.deepEqual(plain(entries!.feedback!), plain(edgeEntryOf(feedback!)))
  t.is((await compute.apply('m', stepWithFeedback(2, [1]))).entries, undefined)
})

const plain = ({ position, digest }: EdgeEntry) => ({ position, digest: hex(digest) })

const CATCH_LIMIT_MS = 1_500 // a broken compute may leave a case waiting for what never comes

for (const [fault, breakage] of Object.entries(BROKEN_COMPUTES)) {
  test.serial(`the suite catches a compute that ${fault}`, async (t) => {
    const checks = computeSuite(factoryOn(false, breakage, CATCH_LIMIT_MS))
    const caughtBy = await firstToCatch(checks)
    t.log(caughtBy)
    t.truthy(caughtBy)
  })
}

test.serial('the suite catches a compute that ignores the deadline', async (t) => {
  // Only that case: the others start workers, which on a loaded machine may take longer than the limit.
  const checks = computeSuite(factoryOn(true, IGNORES_THE_DEADLINE, CATCH_LIMIT_MS)).filter(({ title }) => title.includes('hangs'))
  t.is(checks.length, 1)
  t.truthy(await firstToCatch(checks))
})

async function firstToCatch(checks: readonly ConformanceCase[]): Promise<string | undefined> {
  for (const check of checks) {
    try {
      await check.run()
    } catch {
      return check.title
    }
  }
  return undefined
}

test.serial('a deadline counts from when the request before was answered, not from when it was sent', async (t) => {
  const clock = fakeClock()
  const pool = computePool({ machines: MACHINES, clock, spares: 0 })
  const compute = pool.compute('p')
  const gate = new Int32Array(new SharedArrayBuffer(4))
  await compute.load('a', { ...WHOLE, gate }, undefined)
  const [first, second, third] = [1, 2, 3].map((step) => outcome(compute.apply('a', trainingStep(step), { deadlineMs: 1_000 })))
  for (const [i, pending] of [first, second].entries()) {
    await clock.advance(900)
    Atomics.store(gate, 0, i + 1)
    Atomics.notify(gate, 0)
    await resolved(pending, `step ${i + 1}, answered after 900 ms`)
  }
  const lost = nextLoss(compute)
  let isOver = false
  void third.then(() => (isOver = true))
  await clock.advance(999)
  t.false(isOver, 'step 3 after 999 ms')
  await clock.advance(1)
  const error = await refused(third, 'compute.hung', 'step 3 after 1000 ms')
  t.is(error.message, "worker 'p/worker-1' did not answer within 1000 ms: apply of machine 'a' (vnode 'v', step 3)")
  const reason = "hung: apply of machine 'a' (vnode 'v', step 3)"
  t.deepEqual(await lost, { worker: 'p/worker-1', reason, machines: ['a'], culprit: { machine: 'a', error } })
  await pool.close()
})

for (const [patienceMs, afterMs, isHasty] of [
  [300, 300, true],
  [5_000, 1_000, undefined],
] as const) {
  test.serial(`a step is given up after its patience of ${patienceMs} ms or its deadline of 1000, and says which it was`, async (t) => {
    const clock = fakeClock()
    const pool = computePool({ machines: MACHINES, clock, deadlineMs: 1_000, spares: 0 })
    const compute = pool.compute('p')
    await compute.load('a', { ...WHOLE, gate: new Int32Array(new SharedArrayBuffer(4)) }, undefined)
    const step = outcome(compute.apply('a', trainingStep(1), { patienceMs }))
    const lost = nextLoss(compute)
    await clock.advance(afterMs)
    const error = await refused(step, 'compute.hung', `step 1 after ${afterMs} ms`)
    t.deepEqual((await lost).culprit, { machine: 'a', error, ...(isHasty && { isHasty }) })
    await pool.close()
  })
}

test.serial('a shorter deadline behind a longer one is heeded when its turn comes', async (t) => {
  const clock = fakeClock()
  const pool = computePool({ machines: MACHINES, clock, spares: 0 })
  const compute = pool.compute('p')
  const gate = new Int32Array(new SharedArrayBuffer(4))
  await compute.load('a', { ...WHOLE, gate }, undefined)
  const first = outcome(compute.apply('a', trainingStep(1)))
  const second = outcome(compute.apply('a', trainingStep(2), { deadlineMs: 10 }))
  await clock.advance(30_000)
  Atomics.store(gate, 0, 1)
  Atomics.notify(gate, 0)
  await resolved(first, 'step 1 after 30 s')
  await clock.advance(10)
  t.truthy(await refused(second, 'compute.hung', 'step 2 after 10 ms'))
  await pool.close()
})

test.serial('many computes start with bounded starts at once, each on a worker of its own', async (t) => {
  const pool = computePool({ machines: MACHINES, startsAtOnce: 2 })
  const computes = ['a', 'b', 'c', 'd', 'e'].map((name) => pool.compute(name))
  t.is(pool.compute('a'), computes[0])
  await Promise.all(computes.map((compute) => compute.start()))
  const losses = computes.map(nextLoss)
  for (const compute of computes) compute.kill('all of them at once')
  const workers = (await Promise.all(losses)).map(({ worker }) => worker)
  t.is(new Set(workers.map((worker) => worker.split('/')[1])).size, 5)
  await Promise.all(computes.map((compute) => compute.start()))
  const waiting = outcome(pool.compute('late').start())
  await pool.close()
  t.truthy(await refused(waiting, 'compute.closed', 'a start under way'))
  t.truthy(await refused(outcome(computes[0].memory()), 'compute.closed', 'a request after close'))
})

const POOLS: Readonly<Record<string, (machines: URL) => ComputePool>> = {
  threads: (machines) => computePool({ machines, spares: 0 }),
  inline: (machines) => inlinePool({ machines }),
}

for (const [place, make] of Object.entries(POOLS)) {
  test.serial(`${place}: a module without machines, or that cannot be loaded or started, is a terminal error that says so`, async (t) => {
    const modules = {
      'export const other = 1': /startMachines/,
      'throw new Error("on line one")': /on line one/,
      'export const startMachines = async () => { throw new Error("no backend") }': /no backend/,
    }
    for (const [source, message] of Object.entries(modules)) {
      const pool = make(moduleOf(source))
      const compute = pool.compute('p')
      for (const attempt of [1, 2]) {
        const error = await refused(outcome(compute.start()), 'compute.failed', `${source}, attempt ${attempt}`)
        t.regex(error.message, message)
        t.false(error.retryable)
      }
      await pool.close()
    }
  })
}

/** Machines whose `apply` runs `body`. */
const machinesThat = (body: string): URL =>
  moduleOf(`export const startMachines = async () => ({
    computeClass: 'bad', memory: () => ({ tensors: 0, bytes: 0 }), benchmark: () => ({ gflops: 1 }),
    load: async () => ({ apply() { ${body} }, snapshot: () => new Uint8Array(8), dispose() {} }),
  })`)

const moduleOf = (source: string): URL => new URL(`data:text/javascript,${encodeURIComponent(source)}`)

const ENDINGS = {
  'runs out of memory': ['const all = []; for (;;) all.push(new Array(100_000).fill(all.length + 0.5))', /memory/],
  'throws outside of a step': [
    'setImmediate(() => { throw new Error("out of nowhere") }); for (let i = 0; i < 1e7; i++);',
    /out of nowhere/,
  ],
  'leaves a rejection unhandled': ['Promise.reject(new Error("never awaited"))', /never awaited/],
} as const

for (const [ending, [body, reason]] of Object.entries(ENDINGS)) {
  test.serial(`a worker that ${ending} is lost with the reason, and the process goes on`, async (t) => {
    const pool = computePool({ machines: machinesThat(body), spares: 0, resourceLimits: { maxOldGenerationSizeMb: 24 } })
    const compute = pool.compute('p')
    await compute.load('a', {}, undefined)
    const lost = nextLoss(compute)
    const applied = await outcome(compute.apply('a', trainingStep(1)))
    t.true('error' in applied && isSwarmError(applied.error, 'compute.lost', 'compute.failed'))
    // The worker may be idle when it ends, and an idle worker does not keep this process alive.
    const alive = setInterval(() => {}, 1_000)
    t.regex((await lost).reason, reason)
    clearInterval(alive)
    await t.notThrowsAsync(compute.load('a', {}, undefined))
    await pool.close()
  })
}

test.serial('metrics that are no numbers are refused before they reach another thread', async (t) => {
  const body = `return { output: { dtype: 'int32', shape: [1], bytes: new Uint8Array(4) }, metrics: { odd: () => 1 } }`
  for (const make of Object.values(POOLS)) {
    const pool = make(machinesThat(body))
    const compute = pool.compute('p')
    await compute.load('a', {}, undefined)
    const error = await refused(outcome(compute.apply('a', trainingStep(1))), 'compute.failed', 'a metric that is a function')
    t.regex(error.message, /metric 'odd'.*'v'.*step 1/)
    await pool.close()
  }
})

test.serial('idle workers do not keep the process alive, and what user code prints goes to stderr', async (t) => {
  const compute = new URL('../../runtime/compute/thread-compute.js', import.meta.url).href
  const machines = machinesThat(`console.log('from the worker'); throw new Error('printed')`).href
  const script = `
    import { computePool } from ${JSON.stringify(compute)}
    const p = computePool({ machines: new URL(${JSON.stringify(machines)}) }).compute('p')
    await p.load('a', {}, undefined)
    const request = { step: 1, evaluation: 0, inputs: [Buffer.from('${hex(inputFrame(1))}', 'hex')], header: ${JSON.stringify(headerOf('v', 1))} }
    await p.apply('a', request).catch((error) => console.log(error.code, error.message))`
  const { stdout, stderr } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', script], { timeout: 60_000 })
  t.is(stdout, "compute.failed vnode 'v', step 1: printed\n")
  t.is(stderr, 'from the worker\n')
})

test.serial('inline: the event loop turns between requests', async (t) => {
  const compute = inlineCompute({ machines: MACHINES })
  await compute.load('a', WHOLE, undefined)
  const order: string[] = []
  const steps = [1, 2, 3].map((step) => compute.apply('a', trainingStep(step)).then(() => order.push(`step ${step}`)))
  const turn = (): void => void (order.length < 5 && setImmediate(() => (order.push('turn'), turn())))
  turn()
  await Promise.all(steps)
  t.deepEqual(order.slice(0, 5), ['step 1', 'turn', 'step 2', 'turn', 'step 3'])
  await compute.close()
})

test.serial('inline: a load that never ends is hung, and its machines have no successor’s state', async (t) => {
  const clock = fakeClock()
  let started = 0
  const compute: Compute = inlineCompute({
    clock,
    machines: async () => {
      started += 1
      return {
        computeClass: 'slow',
        load: () => new Promise(() => {}),
        memory: () => ({ tensors: started, bytes: 0 }),
        benchmark: () => ({ gflops: 1 }),
      }
    },
  })
  await compute.start()
  const load = outcome(compute.load('a', {}, undefined, { deadlineMs: 50 }))
  await clock.advance(50)
  const error = await refused(load, 'compute.hung', 'a load that never ends')
  t.regex(error.message, /load of machine 'a'/)
  t.is((await compute.memory()).tensors, 2, 'fresh machines')
  await compute.close()
})
