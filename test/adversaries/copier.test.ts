/** Who says what others have said: what it wins by that, and what keeps it from it. */
import test from 'ava'
import { ADVERSARIES } from '../../adversaries/adversaries.js'
import type { RunEvent } from '../../actors/events.js'
import type { Seams } from '../../actors/pnode/seams.js'
import { local, train } from '../../actors/train.js'
import { changedCompute } from '../../runtime/compute/changed-compute.js'
import { SwarmError } from '../../runtime/errors.js'
import { followed } from '../../runtime/followers.js'
import { readHead } from '../../runtime/head-store.js'
import type { ObjectStore } from '../../runtime/object-store/object-store.js'
import { openPools, renamed } from '../support/chaos-run.js'
import { branching, openObjects, TOTAL_STEPS, TRAINING } from '../support/small-runs.js'
import { measuredAlike } from './measured-alike.js'

const pools = openPools()
test.after.always(() => pools.close())
const EVERY_STEPS = 10
const COPIER = 'pnode-2'

/** What a host of a cluster may (host-registry.ts): it reads what it is told the name of, and lists nothing. */
function asHost(store: ObjectStore): ObjectStore {
  return {
    get: (key, options) => store.get(key, options),
    put: (key, bytes, options) => store.put(key, bytes, options),
    delete: (key, options) => store.delete(key, options),
    // eslint-disable-next-line require-yield -- it is refused before the first
    async *list(prefix) {
      throw new SwarmError('store.denied', { what: 'no right to list this', where: prefix })
    },
    close: () => store.close(),
  }
}

async function ended(id: string, pnodes: number, disguise: (pnode: string, honest: Seams) => Seams, redundancy = 2) {
  const { store } = openObjects()
  /** Steps that the copier has really applied of what it follows. */
  let applied = 0
  const counted = (honest: Seams): Seams => {
    const { compute } = honest
    const apply: typeof compute.apply = (machine, request) => {
      if (followed(machine.split('/')[1]) !== undefined && request.evaluation === 0) applied++
      return compute.apply(machine, request)
    }
    return { ...honest, compute: changedCompute(compute, { apply }) }
  }
  const on = local({ pnodes, membership: { rateMs: 1e9, standstillMs: 1_000 } })
  const run = train(
    branching,
    TRAINING,
    { on, store, checkpoint: { everySteps: EVERY_STEPS }, redundancy },
    {
      id,
      pool: renamed(pools.inline, `${id}-`),
      disguise: (pnode, honest) => disguise(pnode, pnode === COPIER ? counted(measuredAlike(honest)) : measuredAlike(honest)),
    },
  )
  const events: RunEvent[] = []
  const story = (async () => {
    for await (const event of run.events()) events.push(event)
  })()
  const { hash } = await run.result
  await story
  return { hash, applied, events, head: (await readHead(store, id)).head }
}

const copying = (pnode: string, honest: Seams) => (pnode === COPIER ? ADVERSARIES.copier(honest) : honest)
const asHosts = (pnode: string, honest: Seams) => copying(pnode, { ...honest, store: asHost(honest.store) })

let honest: string | undefined
test.before(async () => {
  honest = (await ended('honest', 2, (_pnode, seams) => seams, 1)).hash
})

test.serial(
  'where everybody may look into the store, a copier passes for an honest host until heads answer; what they do is nowhere to be copied',
  async (t) => {
    const { hash, applied, head, events } = await ended('open', 4, copying)
    t.is(hash, honest, 'beside honest owners it harms nobody')
    t.deepEqual(head.excluded, [COPIER])
    const followers = events.filter((event) => event.type === 'placed' && event.pnode === COPIER && followed(event.vnode) !== undefined)
    t.true(followers.length > 0)
    t.true(applied < (followers.length * TOTAL_STEPS) / 4, `${applied} steps of ${followers.length} VNodes`)
  },
)

test.serial(
  'with the rights of a host it finds nothing to copy: it is no follower for long, and others do what it should have done',
  async (t) => {
    const { hash, head, events } = await ended('closed', 4, asHosts)
    t.is(hash, honest)
    for (const pnode of head.excluded ?? []) t.is(pnode, COPIER, 'an evaluation may show it; silence is no lie')
    const placed = events.flatMap((event) => (event.type === 'placed' && followed(event.vnode) !== undefined ? [event] : []))
    const lost = placed.filter(
      ({ pnode, vnode }, i) => pnode === COPIER && placed.slice(i + 1).some((other) => other.vnode === vnode && other.pnode !== COPIER),
    )
    t.true(lost.length > 0, 'somebody else follows')
  },
)
