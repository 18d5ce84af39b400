/**
 * The Quarantine actor (M27, M28, M41): hears what became of what hosts did, keeps their reputations, and takes out at once who was convicted. Placement knows from it who gets nothing
 * of any run and who gets less, audits whom to look at, the ledger who has done what. Its memory is the object store (host-records.ts), so that a host that leaves and comes back
 * under the same name is who it was, whatever control has lost meanwhile.
 */
import { setMaxListeners } from 'node:events'
import type { ActorContext, ActorDefinition } from '../../runtime/actor-system/actor-system.js'
import { isSwarmError, SwarmError, toSwarmError } from '../../runtime/errors.js'
import type { ObjectStore } from '../../runtime/object-store/object-store.js'
import { actor, call, type Calls, type HostStanding, type Regard, type Told } from '../calls.js'
import { unknownHost } from '../placement/draining.js'
import { listMembers } from '../placement/parts.js'
import { afterTold, type HostRecord, quarantineAt, reasonOf, released } from './host-record.js'
import { HostRecords } from './host-records.js'
import { Ledger } from './ledger.js'
import type { Booking } from './ledger-books.js'
import type { LedgerKey } from './ledger-key.js'
import { auditShare, integrityOf, isOnProbation, placementWeight } from './reputation.js'

export interface QuarantineOptions {
  readonly store: ObjectStore
  /** What the ledger is signed with. Asked for when there is something to be booked. */
  readonly ledgerKey: () => Promise<LedgerKey> | LedgerKey
  /** PNodes whose word settles disputes. Default: none. */
  readonly isTrusted?: (pnode: string) => boolean
  readonly onError: (error: SwarmError) => void
}

/** A booking before it is known whose machine it was. */
type Unowned = Booking extends infer Each ? (Each extends Booking ? Omit<Each, 'owner'> : never) : never

interface Memory {
  readonly records: HostRecords
  /** Weights as placement has them, by name. */
  readonly weights: Map<string, number>
  /** What the ledger does not have yet. */
  unbooked: readonly Unowned[]
  /** How often in a row it could not be written just now. */
  failures: number
  ledger?: Ledger
}

type Argument<M extends keyof Calls['Quarantine']> = Calls['Quarantine'][M][0]

/** What waits for the ledger; of more, the oldest work is not booked. */
const MOST_UNBOOKED = 1_000
/** A ledger that cannot be written just now is tried again after so long, in ms. */
const BOOK_AGAIN_MS = 2_000
/** After so many times in a row somebody is told why. */
const TOLD_AFTER = 5
/** Hosts in one call to placement: each takes less than 600 bytes. */
const MOST_REGARDS = 100

export function quarantineActor(options: QuarantineOptions): ActorDefinition<Memory> {
  const { store, onError } = options
  /** Placement is told of those of whom it knows something else. */
  const regard = async (context: ActorContext, { weights }: Memory, records: readonly HostRecord[]) => {
    const nowMs = context.clock.now()
    const hosts = records.map((record) => regardOf(record, nowMs))
    const news = hosts.filter(({ pnode, weight, quarantine }) => quarantine !== undefined || weights.get(pnode) !== weight)
    for (let from = 0; from < news.length; from += MOST_REGARDS) {
      const some = news.slice(from, from + MOST_REGARDS)
      await call<'Placement', 'regard'>(context, actor.placement, 'regard', { hosts: some }, context.signal)
      // One that is released is told of once more when it is.
      for (const { pnode, weight, quarantine } of some)
        if (quarantine) weights.delete(pnode)
        else weights.set(pnode, weight)
    }
  }
  const keep = async ({ state }: ActorContext, memory: Memory, unbooked: readonly Unowned[]) => {
    const excess = unbooked.length - MOST_UNBOOKED
    if (excess > 0) onError(new SwarmError('actor.busy', { what: `more waits for the ledger than is kept: ${excess} are not booked` }))
    memory.unbooked = excess > 0 ? unbooked.slice(excess) : unbooked
    await state.set('unbooked', memory.unbooked)
  }
  /** With whose machine it was: as its host says now, or has said. */
  const owned = async (context: ActorContext, { records }: Memory, unbooked: readonly Unowned[]): Promise<Booking[]> => {
    const owners = new Map((await listMembers(context)).map(({ pnode, owner = '' }) => [pnode, owner]))
    const names = [...new Set(unbooked.map(({ host }) => host))]
    const known = names.map((host) =>
      records.change(host, (record) => {
        const owner = owners.get(host) ?? record.owner
        return owner === record.owner ? record : { ...record, owner }
      }),
    )
    const ownerOf = new Map((await Promise.all(known)).map(({ pnode, owner }) => [pnode, owner]))
    return unbooked.map((booking) => ({ ...booking, owner: ownerOf.get(booking.host)! }))
  }
  const book = async (context: ActorContext, memory: Memory) => {
    const bookings = await owned(context, memory, memory.unbooked)
    memory.ledger ??= new Ledger({ store, clock: context.clock, key: await options.ledgerKey(), signal: context.signal })
    const { ledger } = memory
    try {
      await ledger.append(bookings)
    } catch (error) {
      if (!isSwarmError(error, 'ledger.invalid')) throw error
      // One that cannot be keeps nobody else from what is his.
      for (const booking of bookings) {
        await ledger.append([booking]).catch((cause: unknown) => {
          if (!isSwarmError(cause, 'ledger.invalid')) throw cause
          onError(cause)
        })
      }
    }
  }
  const settle = async (context: ActorContext, memory: Memory) => {
    if (memory.unbooked.length === 0) return
    try {
      await book(context, memory)
      await keep(context, memory, [])
      memory.failures = 0
    } catch (cause) {
      const error = toSwarmError(cause, 'internal', 'ledger')
      memory.failures++
      // Nothing is added to a damaged ledger: what waits is tried again with what comes next.
      if (error.retryable) context.setTimer('settle', 'settle', { afterMs: BOOK_AGAIN_MS })
      if (error.retryable ? memory.failures === TOLD_AFTER : !context.signal.aborted) onError(error)
    }
  }
  return {
    type: 'Quarantine',
    activate: async (context) => {
      // Many records may be read at the same time.
      setMaxListeners(0, context.signal)
      const records = new HostRecords({ store, signal: context.signal, onDamaged: onError })
      const unbooked = ((await context.state.get('unbooked')) ?? []) as unknown as readonly Unowned[]
      if (unbooked.length > 0) context.setTimer('settle', 'settle', { afterMs: BOOK_AGAIN_MS })
      return { records, weights: new Map(), unbooked, failures: 0 }
    },
    handlers: {
      tell: async (context, memory, told: Argument<'tell'>) => {
        const names = [...new Set(told.events.map(({ pnode }) => pnode))]
        const nowMs = context.clock.now()
        const records = await Promise.all(names.map((pnode) => memory.records.change(pnode, (record) => afterTold(record, told, nowMs))))
        // Whoever has convicted somebody tells it again if placement does not hear it; of weights it hears the next time.
        await regard(context, memory, records).catch((error: unknown) => {
          if (records.some((record) => quarantineAt(record, nowMs))) throw error
        })
        const unbooked = bookingsOf(told)
        if (unbooked.length === 0) return
        await keep(context, memory, [...memory.unbooked, ...unbooked])
        context.setTimer('settle', 'settle', { afterMs: 0 })
      },
      standings: async ({ clock }, { records }, { pnodes }: Argument<'standings'>) => {
        const asked = await Promise.all(pnodes.map((pnode) => records.get(pnode)))
        return asked.map((record) => standingOf(record, options.isTrusted?.(record.pnode) === true, clock.now())) as never
      },
      release: async (context, memory, { pnode }: Argument<'release'>) => {
        const before = await memory.records.refresh(pnode)
        if (before.heard.length === 0) throw unknownHost(pnode)
        const record = await memory.records.change(pnode, (each) => (each.quarantine ? released(each) : each))
        await regard(context, memory, [record])
        return quarantineAt(before, context.clock.now()) !== undefined
      },
      look: async (context, memory, { pnodes }: Argument<'look'>) => {
        const { records } = memory
        const all = pnodes.length > 0 ? await Promise.all(pnodes.map((pnode) => records.refresh(pnode))) : await records.all()
        await regard(context, memory, all)
      },
      settle,
    },
  }
}

function regardOf({ pnode, reputation, ...record }: HostRecord, nowMs: number): Regard {
  const quarantine = quarantineAt(record, nowMs)
  const weight = placementWeight(reputation)
  return { pnode, weight, ...(quarantine && { quarantine: { reason: quarantine.reason, untilMs: quarantine.untilMs } }) }
}

function standingOf(record: HostRecord, isTrusted: boolean, nowMs: number): HostStanding {
  const { pnode, reputation } = record
  const quarantined = quarantineAt(record, nowMs)
  const isVouchedFor = isTrusted && reputation.convictions === 0
  return {
    pnode,
    auditShare: auditShare(reputation, { isTrusted }),
    integrity: integrityOf(reputation),
    availability: reputation.availability,
    isOnProbation: !isVouchedFor && isOnProbation(reputation),
    ...(quarantined && { quarantined }),
  }
}

/** What is to be written into the ledger: verified work, and what was forfeited for a conviction. */
function bookingsOf({ key, run, events }: Told): Unowned[] {
  return events.flatMap(({ pnode: host, event, vnode, step, evidence = key, work }): Unowned[] => {
    if (event === 'convicted') return [{ kind: 'forfeit', host, reason: reasonOf({ run, vnode, step }), evidence, micropoints: 'all' }]
    if (event !== 'verified' || !work || step < work.firstStep) return []
    return [{ kind: 'verified', run, vnode, host, lastStep: step, ...work }]
  })
}
