/** What a failure at a step says about the step, and what about its host. */
import test from 'ava'
import { DEFAULT_POISON_LIMITS, Poison } from '../../actors/run/poison.js'
import type { Failure } from '../../actors/reports.js'
import { type ErrorCode, SwarmError } from '../../runtime/errors.js'

const limits = () => Promise.resolve(DEFAULT_POISON_LIMITS)
const alone = () => Promise.resolve(false)
const notAlone = () => Promise.resolve(true)

let terms = 0
function failure(code: ErrorCode, { position = 7, term = ++terms, retryable = false, vnode = 'v' } = {}): Failure {
  const error = new SwarmError(code, { what: 'on purpose', retryable }).toJSON()
  return { vnode, term, generation: 1, error, entry: { position, step: position, evaluation: 0, marks: 0 }, batch: 'ab' }
}

for (const code of ['compute.failed', 'compute.hung', 'compute.lost'] as const) {
  test(`${code} on two hosts is the step's fault`, async (t) => {
    const poison = new Poison('stop', limits)
    t.deepEqual(await poison.judge(failure(code), 'p1', notAlone), { type: 'move' })
    const verdict = await poison.judge(failure(code), 'p2', notAlone)
    t.is(verdict.type, 'skip')
    if (verdict.type === 'skip') t.deepEqual([verdict.attempts.length, verdict.attempts.map(({ pnode }) => pnode)], [2, ['p1', 'p2']])
  })
}

test('on one host alone it takes five attempts, and as long as there is another one it is moved there', async (t) => {
  const poison = new Poison('stop', limits)
  for (let i = 1; i <= 4; i++) t.is((await poison.judge(failure('compute.lost'), 'p1', alone)).type, 'move')
  t.is((await poison.judge(failure('compute.lost'), 'p1', notAlone)).type, 'move')
  t.is((await poison.judge(failure('compute.lost'), 'p1', alone)).type, 'skip')
})

test('a step that was given up early is poison only after as many attempts as there may be, on more than one host', async (t) => {
  const poison = new Poison('stop', limits)
  const hasty = () => ({ ...failure('compute.hung'), isHasty: true as const })
  for (const pnode of ['p1', 'p2', 'p1', 'p2']) t.is((await poison.judge(hasty(), pnode, notAlone)).type, 'move')
  t.is((await poison.judge(hasty(), 'p1', notAlone)).type, 'skip')
  const onOne = new Poison('stop', limits)
  for (let i = 0; i < 9; i++) t.is((await onOne.judge(hasty(), 'p1', notAlone)).type, 'move')
  // One that had all its time is not confirmed by one that had not.
  const mixed = new Poison('stop', limits)
  t.is((await mixed.judge(failure('compute.hung'), 'p1', notAlone)).type, 'move')
  t.is((await mixed.judge(hasty(), 'p2', notAlone)).type, 'move')
  t.is((await mixed.judge(failure('compute.hung'), 'p2', notAlone)).type, 'skip')
})

test('a failure that is told again counts once, and gets the same answer', async (t) => {
  const poison = new Poison('stop', limits)
  const told = failure('compute.failed')
  for (let i = 0; i < 9; i++) t.is((await poison.judge(told, 'p1', alone)).type, 'move')
  const second = failure('compute.failed')
  for (let i = 0; i < 3; i++) t.like(await poison.judge(second, 'p2', alone), { type: 'skip', attempts: { length: 2 } })
})

test('another error, another step and another VNode are counted apart', async (t) => {
  const poison = new Poison('stop', limits)
  t.is((await poison.judge(failure('compute.failed'), 'p1', notAlone)).type, 'move')
  t.is((await poison.judge(failure('compute.hung'), 'p2', notAlone)).type, 'move')
  t.is((await poison.judge(failure('compute.failed', { vnode: 'w' }), 'p2', notAlone)).type, 'move')
  t.is((await poison.judge(failure('compute.failed', { position: 8 }), 'p2', notAlone)).type, 'move')
})

test('failures of transport and of the store are never the fault of a step', async (t) => {
  const poison = new Poison('stop', limits)
  for (const code of ['bus.closed', 'store.unavailable', 'frame.damaged'] as const) {
    for (const pnode of ['p1', 'p2', 'p3']) {
      t.deepEqual(await poison.judge(failure(code, { retryable: true }), pnode, alone), { type: 'move' })
    }
  }
})

test('a definition that is wrong, a broken invariant, and what fails outside a step end the run', async (t) => {
  const poison = new Poison('skip', limits)
  for (const code of ['definition.invalid', 'internal', 'graph.shape'] as const)
    t.deepEqual(await poison.judge(failure(code), 'p1', notAlone), { type: 'fail' })
  const { entry: _entry, ...outside } = failure('compute.failed')
  t.deepEqual(await poison.judge(outside, 'p1', notAlone), { type: 'fail' })
})

test('a loss that is not finite ends the run, or is skipped at once', async (t) => {
  t.deepEqual(await new Poison('stop', limits).judge(failure('run.diverged'), 'p1', notAlone), { type: 'fail' })
  t.like(await new Poison('skip', limits).judge(failure('run.diverged'), 'p1', notAlone), { type: 'skip', attempts: { length: 1 } })
})
