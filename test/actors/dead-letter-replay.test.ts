/** A step that was given up is tried once more, apart from its run. And a loss that is not finite, by the policy of the run. */
import test from 'ava'
import { replayDeadLetter } from '../../actors/dead-letter-replay.js'
import { readDeadLetters } from '../../actors/run/dead-letters.js'
import { local, resume, train } from '../../actors/train.js'
import { verifyRun } from '../../actors/verify.js'
import { block, categorical, dense, flatten, leakyRelu, network } from '../../index.js'
import { isSwarmError } from '../../runtime/errors.js'
import type { ObjectStore } from '../../runtime/object-store/object-store.js'
import { chained, chainedSum, failing, failingAgain, failingWhile } from '../support/chained-block.js'
import { openPools, renamed } from '../support/chaos-run.js'
import { POISONED, poisonedNetwork, poisonFile } from '../support/poisoned-runs.js'
import { openObjects, TRAINING } from '../support/small-runs.js'

const pools = openPools()
test.after.always(() => pools.close())

const on = local({ pnodes: 2, returnMs: 20 })
const checkpoint = { everySteps: 7 }
let names = 0
const pool = () => renamed(pools.inline, `replay-${++names}-`)
const AT = 23

/** Every object with its content. */
async function contentOf(store: ObjectStore): Promise<Map<string, string>> {
  const content = new Map<string, string>()
  for await (const { key } of store.list('')) content.set(key, Buffer.from((await store.get(key)).bytes).toString('base64'))
  return content
}

/** A run that has given up step AT, and was paused soon after it, if `isPaused`. */
async function poisoned(file: string, isPaused: boolean) {
  const { store } = openObjects()
  const stop = new AbortController()
  const run = train(
    poisonedNetwork({ at: [AT], file }),
    TRAINING,
    // Paused: one before that step, and none so soon behind it that it is kept instead.
    { on: local({ pnodes: 2, window: 1 }), store, checkpoint: isPaused ? { everySteps: 20 } : checkpoint, signal: stop.signal },
    {
      id: 'a',
      pool: pool(),
      onObservation(observation) {
        const isThere = observation.type === 'applied' && observation.vnode === POISONED.last && observation.entry.step > AT
        if (isPaused && isThere) stop.abort()
      },
    },
  )
  const { status } = await run.result
  if (status !== (isPaused ? 'paused' : 'done')) throw new Error(`the run is ${status}`)
  return { store, letters: await readDeadLetters(store, 'a') }
}

for (const isPaused of [true, false]) {
  test.serial(
    `replayed ${isPaused ? 'from the checkpoint before it' : 'from the seed, where none is kept'}, and nothing is changed`,
    async (t) => {
      const bait = await poisonFile()
      t.teardown(() => bait.remove())
      const { store, letters } = await poisoned(bait.file, isPaused)
      const [letter] = letters
      const before = await contentOf(store)
      const fails = await replayDeadLetter(store, letter, { threads: false })
      t.is(fails.error?.code, 'compute.failed')
      t.regex(fails.error!.message, /threw at step 23/)
      await bait.remove()
      const works = await replayDeadLetter(store, letter, { threads: false })
      t.is(works.error, undefined)
      for (const { fromStep } of [fails, works]) t.true(isPaused ? fromStep > 0 && fromStep < AT : fromStep === 0, `from ${fromStep}`)
      t.deepEqual(await contentOf(store), before)
    },
  )
}

test.serial('of a batch that two branches have given up each is replayed by itself', async (t) => {
  const [left, right] = [await poisonFile(), await poisonFile()]
  t.teardown(() => Promise.all([left.remove(), right.remove()]))
  const net = network({ input: [28, 28, 1], target: categorical(10) } as const, (x) => {
    const a = block(flatten(), chained(), dense(16), leakyRelu())(x)
    const [b, c] = [left, right].map(({ file }) => block(failingWhile({ at: [AT], file }), dense(16), leakyRelu())(a))
    return block(chainedSum(), dense(16), leakyRelu())(b, c)
  })
  const { store } = openObjects()
  await train(net, TRAINING, { on, store, checkpoint }, { id: 'a', pool: pool() }).result
  const letters = await readDeadLetters(store, 'a')
  t.is(letters.length, 2)
  await left.remove()
  const [works, fails] = await Promise.all(
    ['dense-2', 'dense-3'].map((id) =>
      replayDeadLetter(
        store,
        letters.find(({ vnode }) => vnode === id)!,
        { threads: false },
      ),
    ),
  )
  t.is(works.error, undefined)
  t.is(fails.error?.code, 'compute.failed')
})

test.serial('a step that ends its worker ends only that of the replay', async (t) => {
  t.timeout(60_000)
  const { store } = openObjects()
  const task = { input: [28, 28, 1], target: categorical(10) } as const
  const net = network(task, [block(flatten(), dense(8), leakyRelu()), block(failing({ how: 'exits', at: 4 }), dense(8), leakyRelu())])
  const training = { ...TRAINING, epochs: 1 }
  await train(net, training, { on, store, checkpoint }, { id: 'a', pool: renamed(pools.threads, 'exits-') }).result
  const [letter] = await readDeadLetters(store, 'a')
  t.is((await replayDeadLetter(store, letter)).error?.code, 'compute.lost')
})

const task = { input: [28, 28, 1], target: categorical(10) } as const
const diverging = network(task, [
  block(flatten(), dense(8), leakyRelu()),
  block(failing({ how: 'diverges', at: AT }), dense(8), leakyRelu()),
])

test.serial('a loss that is not finite stops the run by default', async (t) => {
  const { store } = openObjects()
  const error = await t.throwsAsync(train(diverging, TRAINING, { on, store, checkpoint }, { id: 'a', pool: pool() }).result)
  t.true(isSwarmError(error, 'run.diverged'), error?.message)
  t.deepEqual(await readDeadLetters(store, 'a'), [])
})

test.serial(
  'with nonFinite: skip the step is given up at once, and the hash is the same anywhere; the policy outlives a resume',
  async (t) => {
    const training = { ...TRAINING, nonFinite: 'skip' } as const
    const hashes: (string | undefined)[] = []
    for (const pnodes of [1, 3]) {
      const { store } = openObjects()
      const stop = new AbortController()
      const onObservation = ({ type, ...rest }: { type: string; entry?: { step: number } }) => {
        if (pnodes === 3 && type === 'applied' && rest.entry!.step === AT - 3) stop.abort()
      }
      const options = { on: local({ pnodes, window: 1 }), store, checkpoint, signal: stop.signal }
      const first = await train(diverging, training, options, { id: 'a', pool: pool(), onObservation }).result
      t.is(first.status, pnodes === 3 ? 'paused' : 'done')
      const { hash, deadLetters } = pnodes === 3 ? await resume('a', { on, store, checkpoint }, { pool: pool() }).result : first
      hashes.push(hash)
      t.is(deadLetters, 1)
      const [letter] = await readDeadLetters(store, 'a')
      t.like(letter, { vnode: 'dense-2', step: AT, error: { code: 'run.diverged' } })
      t.is(letter.attempts.length, 1)
      t.is((await verifyRun(store, 'a', { threads: false })).difference, undefined)
    }
    t.is(hashes[0], hashes[1])
  },
)

test.serial('a step whose refinement fails is given up as a whole, and its replay says whether it would work now', async (t) => {
  const bait = await poisonFile()
  t.teardown(() => bait.remove())
  const { store } = openObjects()
  const refined = network(task, [
    block(flatten(), chained(), dense(8), leakyRelu()),
    block(failingAgain({ at: [AT], file: bait.file }), chained(), dense(8), leakyRelu()),
  ])
  const training = { ...TRAINING, epochs: 2, refinement: { passes: 1, inputs: 2 } }
  const { status, deadLetters } = await train(refined, training, { on, store, checkpoint }, { id: 'a', pool: pool() }).result
  t.deepEqual([status, deadLetters], ['done', 1])
  const [letter] = await readDeadLetters(store, 'a')
  t.like(letter, { vnode: 'dense-2', step: AT, error: { code: 'compute.failed' } })
  t.is((await verifyRun(store, 'a', { threads: false })).difference, undefined)
  t.is((await replayDeadLetter(store, letter, { threads: false })).error?.code, 'compute.failed')
  await bait.remove()
  t.is((await replayDeadLetter(store, letter, { threads: false })).error, undefined)
})

test('a policy that there is not is refused', async (t) => {
  const { store } = openObjects()
  const run = train(diverging, { ...TRAINING, nonFinite: 'ignore' as never }, { on, store })
  const error = await t.throwsAsync(run.result)
  t.true(isSwarmError(error, 'usage'), error?.message)
  for (const wrong of [{ maxDeadLetters: -1 }, { maxDeadLetters: 1_001 }, { maxDeliveryAttempts: 0 }])
    t.true(isSwarmError(await t.throwsAsync(train(diverging, TRAINING, { on, store, ...wrong }).result), 'usage'), JSON.stringify(wrong))
})
