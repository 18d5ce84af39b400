/** `swarmgrad quarantine`: who was found to lie and gets nothing, why, and how it gets something again. */
import { hostRecordKey, HostRecords } from '../../actors/trust/host-records.js'
import { type HostRecord, quarantineAt, released } from '../../actors/trust/host-record.js'
import { integrityOf, isOnProbation } from '../../actors/trust/reputation.js'
import { suggest } from '../../components/suggest.js'
import { systemClock } from '../../runtime/clock.js'
import { isSwarmError, SwarmError } from '../../runtime/errors.js'
import type { ObjectStore } from '../../runtime/object-store/object-store.js'
import type { CommandContext } from '../command.js'
import { EXIT, type ExitStatus } from '../exit.js'
import { openPlace, type RunPlace } from '../place.js'
import { count, dateAndTime, percent } from '../view/format.js'
import { table } from '../view/table.js'

const ACTIONS = { list, show, release } as const

export async function quarantine(context: CommandContext, action: string, name: string | undefined): Promise<ExitStatus> {
  if (!Object.hasOwn(ACTIONS, action)) {
    const names = Object.keys(ACTIONS)
    throw new SwarmError('usage', { what: `unknown action '${action}'`, expected: names.join(', '), fix: suggest(action, names) })
  }
  if (action !== 'list' && name === undefined)
    throw new SwarmError('usage', { what: `whom to ${action}`, expected: 'the name of a PNode', fix: 'See: swarmgrad quarantine list' })
  return ACTIONS[action as keyof typeof ACTIONS](context, await openPlace(context), name!)
}

async function list({ output }: CommandContext, { store, name }: RunPlace): Promise<ExitStatus> {
  const nowMs = systemClock.now()
  const all = await new HostRecords({ store }).all()
  const held = all.filter((record) => quarantineAt(record, nowMs))
  for (const record of held) output.record(recordOf(record, nowMs))
  const rows = held.map((record) => {
    const { reason, sinceMs, untilMs } = quarantineAt(record, nowMs)!
    return [record.pnode, record.owner || '–', dateAndTime(sinceMs), dateAndTime(untilMs), count(record.reputation.convictions), reason]
  })
  const columns = [
    { title: 'pnode' },
    { title: 'owner' },
    { title: 'since' },
    { title: 'until' },
    { title: 'convictions', align: 'right' },
    { title: 'reason' },
  ] as const
  if (rows.length > 0) output.result(table(columns, rows, output.style))
  else output.note(`nobody is in quarantine in ${name}`)
  return EXIT.done
}

async function show({ output }: CommandContext, { store }: RunPlace, pnode: string): Promise<ExitStatus> {
  const nowMs = systemClock.now()
  const record = await known(store, pnode)
  const evidence = await Promise.all(record.convictions.map(({ evidence: key }) => evidenceAt(store, key)))
  output.record({ ...recordOf(record, nowMs), evidence: evidence.map((each) => each ?? null) })
  const { bold, dim } = output.style
  const { reputation, convictions } = record
  const held = quarantineAt(record, nowMs)
  const state = held ? `in quarantine until ${dateAndTime(held.untilMs)}: ${held.reason}` : 'in no quarantine'
  const probation = isOnProbation(reputation) ? 'on probation: all of its segments are looked at' : 'not on probation'
  const lines = [
    `${bold(pnode)}: ${state}`,
    `${dim('integrity')}    ${percent(integrityOf(reputation))}, ${probation}`,
    `${dim('availability')} ${percent(reputation.availability)}`,
    `${dim('verified')}     ${count(reputation.verified)} since its last conviction`,
    ...convictions.flatMap(({ run, vnode, step, atMs, evidence: key }, i) => [
      `${dim('convicted')}    ${dateAndTime(atMs)}, over ${vnode} at step ${count(step)} of run ${run}`,
      ...(key === undefined ? [] : [`${dim('evidence')}     ${key}${evidence[i] === undefined ? ' (deleted with its run)' : ''}`]),
      ...saidBy(evidence[i]).map((line) => `             ${line}`),
    ]),
  ]
  output.result(lines.join('\n'))
  return EXIT.done
}

async function release({ output }: CommandContext, { store, cluster, flags }: RunPlace, pnode: string): Promise<ExitStatus> {
  const wasQuarantined = cluster ? await cluster.client.endQuarantine(pnode) : await releaseIn(store, pnode)
  output.record({ type: 'released', pnode, wasQuarantined })
  const after = `it begins on probation, and what it was convicted for is kept: swarmgrad quarantine show ${pnode}${flags}`
  output.result(wasQuarantined ? `${pnode} may have VNodes again · ${after}` : `${pnode} is in no quarantine`)
  return EXIT.done
}

/** A run that is under way there finds it within seconds. */
async function releaseIn(store: ObjectStore, pnode: string): Promise<boolean> {
  const wasQuarantined = quarantineAt(await known(store, pnode), systemClock.now()) !== undefined
  await new HostRecords({ store }).change(pnode, (record) => (record.quarantine ? released(record) : record))
  return wasQuarantined
}

/** @throws `host.unknown` */
async function known(store: ObjectStore, pnode: string): Promise<HostRecord> {
  const record = await new HostRecords({ store }).get(pnode)
  if (record.heard.length > 0) return record
  const fix = 'See who is in quarantine with: swarmgrad quarantine list'
  throw new SwarmError('host.unknown', { what: `nothing is known of a PNode called ${pnode}`, where: hostRecordKey(pnode), fix })
}

/** What was said, by everybody; undefined: it was deleted. */
async function evidenceAt(store: ObjectStore, key: string | undefined): Promise<unknown> {
  if (key === undefined) return undefined
  try {
    return JSON.parse(new TextDecoder().decode((await store.get(key)).bytes)) as unknown
  } catch (error) {
    if (!isSwarmError(error, 'store.not-found', 'store.invalid-key')) throw error
    return undefined
  }
}

/** Who has said what, a line each, where the evidence has opinions. */
function saidBy(evidence: unknown): string[] {
  const { opinions } = (evidence ?? {}) as {
    readonly opinions?: readonly { readonly id: string; readonly pnode: string; readonly hash: string }[]
  }
  return (Array.isArray(opinions) ? opinions : []).map(
    ({ id, pnode, hash }) => `${pnode} says of ${id}: state ${String(hash).slice(0, 12)}`,
  )
}

function recordOf(record: HostRecord, nowMs: number) {
  const { pnode, owner, reputation, convictions } = record
  const { verified, availability } = reputation
  const quarantine = quarantineAt(record, nowMs) ?? null
  const measures = { integrity: integrityOf(reputation), availability, verified, isOnProbation: isOnProbation(reputation) }
  return { type: 'quarantine', pnode, owner, quarantine, ...measures, convictions }
}
