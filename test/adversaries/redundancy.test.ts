/** Hosts that lie, beside others that apply the same log: each is found out within one segment, and the run ends with the hash of an honest one. */
import test from 'ava'
import { local, type RunOptions, train } from '../../actors/train.js'
import type { RunEvent } from '../../actors/events.js'
import { evidencePrefix, type Evidence } from '../../actors/run/reviews.js'
import { readHead } from '../../runtime/head-store.js'
import { openPools, renamed } from '../support/chaos-run.js'
import { branching, openObjects, TRAINING } from '../support/small-runs.js'
import { ADVERSARIES, type AdversaryName } from './adversaries.js'

const pools = openPools()
test.after.always(() => pools.close())
let names = 0
const EVERY_STEPS = 10

interface Arrangement {
  readonly pnodes: number
  readonly liars?: { readonly [pnode: string]: AdversaryName }
  /** PNodes whose word settles disputes. */
  readonly trusted?: readonly string[]
  readonly options?: RunOptions
}

async function ended({ pnodes, liars = {}, trusted = [], options }: Arrangement) {
  const { store } = openObjects()
  const id = `redundant-${++names}`
  const on = local({ pnodes, membership: { isTrusted: (pnode) => trusted.includes(pnode) } })
  const run = train(
    branching,
    TRAINING,
    { on, store, checkpoint: { everySteps: EVERY_STEPS }, redundancy: 2, ...options },
    {
      id,
      pool: renamed(pools.inline, `${id}-`),
      disguise: (pnode, honest) => (pnode in liars ? ADVERSARIES[liars[pnode]](honest) : honest),
    },
  )
  const events: RunEvent[] = []
  void (async () => {
    for await (const event of run.events()) events.push(event)
  })()
  const { hash } = await run.result
  const { head } = await readHead(store, id)
  const evidence: Evidence[] = []
  for await (const { key } of store.list(evidencePrefix(id)))
    evidence.push(JSON.parse(new TextDecoder().decode((await store.get(key)).bytes)))
  return { hash, head, events, evidence }
}

let honest: string | undefined
test.before(async () => {
  honest = (await ended({ pnodes: 2, options: { redundancy: 1 } })).hash
})

test.serial('where nobody lies nobody is convicted, and the hash is the same', async (t) => {
  const { hash, head, evidence } = await ended({ pnodes: 4 })
  t.is(hash, honest)
  t.is(head.excluded, undefined)
  t.deepEqual(evidence, [])
})

/** They harm nobody but themselves: they get less and less to do, and nobody says that they lie. */
const HARMLESS: readonly AdversaryName[] = ['false-alarm']

for (const name of HARMLESS) {
  test.serial(`${name}: nobody is believed alone, and the same hash`, async (t) => {
    const { hash, head } = await ended({ pnodes: 5, liars: { 'pnode-2': name }, trusted: ['pnode-5'] })
    t.is(hash, honest)
    t.is(head.excluded, undefined)
  })
}

for (const name of (Object.keys(ADVERSARIES) as AdversaryName[]).filter((each) => !HARMLESS.includes(each))) {
  test.serial(`${name}: out within one segment by the word of an arbiter, and the same hash`, async (t) => {
    const { hash, head, evidence } = await ended({ pnodes: 5, liars: { 'pnode-2': name }, trusted: ['pnode-5'] })
    t.is(hash, honest)
    t.deepEqual(head.excluded, ['pnode-2'])
    t.true(evidence.length > 0 && evidence.every(({ convicted }) => convicted.every(({ host }) => host === 'pnode-2')))
  })
}

for (const name of ['sign-flip', 'forger', 'slanderer', 'nan-bomber'] as const) {
  test.serial(`${name}: a panel of three finds out who it is`, async (t) => {
    const { hash, head, evidence } = await ended({ pnodes: 4, liars: { 'pnode-2': name } })
    t.is(hash, honest)
    t.deepEqual(head.excluded, ['pnode-2'])
    t.true(evidence.every(({ by, wrongWith }) => by === 'panel' && wrongWith < 0.5))
  })
}

test.serial(
  'seven of sixteen lie, each in its own way, beside PNodes that are killed; a trusted one applies everything, too',
  async (t) => {
    const names: readonly AdversaryName[] = ['sign-flip', 'label-flip', 'lazy', 'forger', 'slanderer', 'nan-bomber', 'other-batch']
    const liars = Object.fromEntries(names.map((name, i) => [`pnode-${2 * i + 2}`, name]))
    const { hash, head, evidence } = await ended({
      pnodes: 16,
      liars,
      trusted: ['pnode-1'],
      options: { constraints: { areFollowersTrusted: true } },
    })
    t.is(hash, honest)
    for (const pnode of head.excluded ?? []) t.true(pnode in liars, `${pnode} is honest`)
    t.true(evidence.length > 0)
  },
)
