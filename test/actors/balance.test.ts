/** A run whose PNodes turn out to be of other speeds than they were rated. */
import test from 'ava'
import { local, train } from '../../actors/train.js'
import type { RunEvent } from '../../actors/events.js'
import type { ComputePool } from '../../runtime/compute/compute.js'
import { readHead } from '../../runtime/head-store.js'
import { openPools, undisturbed } from '../support/chaos-run.js'
import { chain, openObjects, TRAINING } from '../support/small-runs.js'

const pools = openPools()
test.after.always(() => pools.close())

let names = 0
/** All are rated alike; on `slow` every step after the `after`-th is told to have taken ten times as long. */
function unequal(slow: string, after: number): ComputePool {
  const prefix = `balance-${++names}-`
  return {
    compute(name) {
      const compute = pools.inline.compute(`${prefix}${name}`)
      const [start, apply] = [compute.start.bind(compute), compute.apply.bind(compute)]
      return Object.assign(compute, {
        start: async (signal?: AbortSignal) => ({ ...(await start(signal)), gflops: 10 }),
        async apply(...request: Parameters<typeof apply>) {
          const result = await apply(...request)
          return { ...result, busyMs: name === slow && request[1].step > after ? 200 : 20 }
        },
      })
    },
    close: async () => undefined,
  }
}

const LONG = { ...TRAINING, epochs: 30 }
const balance = { everyMs: 40, holdMs: 400 }
const on = local({ pnodes: 3, membership: { heartbeatMs: 30, suspectMs: 3_000, lostMs: 5_000 }, balance })

async function watched(pool: ComputePool) {
  const { store } = openObjects()
  const run = train(chain, LONG, { on, store, checkpoint: { everySteps: 1_000 } }, { id: 'a', pool })
  const placed: (RunEvent & { readonly type: 'placed' })[] = []
  for await (const event of run.events()) if (event.type === 'placed') placed.push(event)
  const { head } = await readHead(store, 'a')
  return { result: await run.result, moves: placed.filter(({ reason }) => reason.startsWith('handed over')), directory: head.directory }
}

test.serial(
  'a PNode that has become slow pushes what others do faster, at a checkpoint: no step is done again, and the hash is the same',
  async (t) => {
    const { result, moves, directory } = await watched(unequal('pnode-2', 150))
    t.is(result.hash, (await train(chain, LONG, { on: local({ pnodes: 1, threads: false }), store: openObjects().store }).result).hash)
    t.is(result.stepsReplayed + result.stepsLost + result.stepsDoubled, 0)
    t.true(moves.length >= 1)
    t.false(
      Object.values(directory).some(({ pnode }) => pnode === 'pnode-2'),
      JSON.stringify(directory),
    )
  },
)

test.serial('while all are as fast as they were rated nothing moves', async (t) => {
  const { moves } = await watched(unequal('none', 0))
  t.deepEqual(moves, [])
  t.truthy((await undisturbed('chain')).hash)
})
