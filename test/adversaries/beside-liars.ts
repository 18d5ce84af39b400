/** Runs beside hosts that lie, each in its own way. */
import type { LocalSwarm } from '../../actors/local-swarm.js'
import type { RunEvent } from '../../actors/events.js'
import type { LocalSwarmOptions } from '../../actors/local-swarm.js'
import { evidencePrefix, type Evidence } from '../../actors/checks/evidence.js'
import { afterTold } from '../../actors/trust/host-record.js'
import { HostRecords } from '../../actors/trust/host-records.js'
import { DEFAULT_REPUTATION_RULES } from '../../actors/trust/reputation.js'
import type { TrainingOptions } from '../../actors/prepare.js'
import { local, type RunOptions, train } from '../../actors/train.js'
import type { Network } from '../../components/network.js'
import { readHead } from '../../runtime/head-store.js'
import { type openPools, renamed } from '../support/chaos-run.js'
import type { ObjectStore } from '../../runtime/object-store/object-store.js'
import type { MemoryObjects } from '../../runtime/object-store/memory-store.js'
import { branching, openObjects, TRAINING } from '../support/small-runs.js'
import { ADVERSARIES, type Adversary, type AdversaryName } from '../../adversaries/adversaries.js'
import { measuredAlike } from './measured-alike.js'

let names = 0

/** Steps from one checkpoint to the next. */
export const EVERY_STEPS = 10

const alike: Adversary = (honest) => honest

export interface Arrangement {
  readonly net?: Network
  /** Default: `pred`. */
  readonly rule?: TrainingOptions['rule']
  readonly pnodes: number
  readonly liars?: { readonly [pnode: string]: AdversaryName }
  /** What else is not what it seems. */
  readonly disguised?: { readonly [pnode: string]: Adversary }
  readonly speech?: LocalSwarmOptions['speech']
  /** PNodes of which so much was found to be right that they are on probation no more. */
  readonly proven?: readonly string[]
  /** PNodes whose word settles disputes. */
  readonly trusted?: readonly string[]
  readonly options?: RunOptions
  /** A PNode that goes for good when some VNode there has applied this step. */
  readonly leaves?: { readonly pnode: string; readonly step: number }
  /** PNodes that are lost do not come back. */
  readonly isForGood?: boolean
  /** What everybody stores in. */
  readonly store?: (inner: ObjectStore, objects: MemoryObjects) => ObjectStore
  /** Told of every event. */
  readonly onEvent?: (event: RunEvent, swarm: LocalSwarm, objects: MemoryObjects) => void
}

export async function ended(
  pools: ReturnType<typeof openPools>,
  {
    net = branching,
    rule = TRAINING.rule,
    pnodes,
    liars = {},
    disguised = {},
    speech,
    trusted = [],
    proven = [],
    options,
    leaves,
    isForGood = leaves !== undefined,
    store: wrap = (inner) => inner,
    onEvent,
  }: Arrangement,
) {
  const { store: inner, objects } = openObjects()
  const store = wrap(inner, objects)
  const id = `beside-liars-${++names}`
  const records = new HostRecords({ store, signal: new AbortController().signal, onDamaged: () => undefined })
  for (const pnode of proven) {
    const events = Array.from(
      { length: DEFAULT_REPUTATION_RULES.probationSegments },
      () => ({ pnode, event: 'verified', vnode: '', step: 0 }) as const,
    )
    await records.change(pnode, (record) => afterTold(record, { key: 'before', run: '', events }, 0))
  }
  let swarm: LocalSwarm | undefined
  const on = local({
    pnodes,
    returnMs: isForGood ? Infinity : undefined,
    membership: { rateMs: 1e9, standstillMs: 2_000, isTrusted: (pnode) => trusted.includes(pnode) },
  })
  const run = train(
    net,
    { ...TRAINING, rule },
    { on, store, checkpoint: { everySteps: EVERY_STEPS }, ...options },
    {
      id,
      pool: renamed(pools.inline, `${id}-`),
      onSwarm: (made) => (swarm = made),
      onObservation: (seen) => {
        if (leaves && seen.type === 'applied' && seen.pnode === leaves.pnode && seen.entry.step === leaves.step)
          void swarm?.killPNode(leaves.pnode)
      },
      speech,
      disguise: (pnode, honest) => (disguised[pnode] ?? (pnode in liars ? ADVERSARIES[liars[pnode]] : alike))(measuredAlike(honest)),
    },
  )
  const events: RunEvent[] = []
  void (async () => {
    for await (const event of run.events()) {
      events.push(event)
      onEvent?.(event, swarm!, objects)
    }
  })()
  const { hash, deadLetters } = await run.result
  const { head } = await readHead(store, id)
  const evidence: Evidence[] = []
  for await (const { key } of store.list(evidencePrefix(id)))
    evidence.push(JSON.parse(new TextDecoder().decode((await store.get(key)).bytes)))
  return { hash, head, events, evidence, deadLetters, store, objects, run: id }
}
