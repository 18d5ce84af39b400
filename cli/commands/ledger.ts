/** `swarmgrad ledger`: who has computed what, and whether anybody has touched the record of it. */
import { readFile } from 'node:fs/promises'
import type { KeyObject } from 'node:crypto'
import type { Balance } from '../../actors/trust/ledger-books.js'
import { fingerprint, MICROPOINTS_PER_POINT, type ReadEntry } from '../../actors/trust/ledger-entry.js'
import { parsePublicKey } from '../../actors/trust/ledger-key.js'
import { readLedger } from '../../actors/trust/ledger-reader.js'
import { suggest } from '../../components/suggest.js'
import { SwarmError } from '../../runtime/errors.js'
import type { CommandContext } from '../command.js'
import { EXIT, type ExitStatus } from '../exit.js'
import { openPlace, type RunPlace } from '../place.js'
import { progressBar } from '../view/bar.js'
import { count } from '../view/format.js'
import { table } from '../view/table.js'

const ACTIONS = { show, verify } as const
/** Entries from one look of the bar to the next. */
const SHOWN_EVERY = 1000

export async function ledger(context: CommandContext, action: string): Promise<ExitStatus> {
  if (!Object.hasOwn(ACTIONS, action)) {
    const names = Object.keys(ACTIONS)
    throw new SwarmError('usage', { what: `unknown action '${action}'`, expected: names.join(', '), fix: suggest(action, names) })
  }
  const publicKey = await keyOf(context)
  return ACTIONS[action as keyof typeof ACTIONS](context, await openPlace(context), publicKey)
}

/** The key that the ledger has to be signed by; undefined: by the one that it names itself. @throws `usage` */
async function keyOf({ settings: { publicKey: file } }: CommandContext): Promise<KeyObject | undefined> {
  if (file === undefined) return undefined
  try {
    return parsePublicKey(await readFile(file, 'utf8'), file)
  } catch (cause) {
    if (cause instanceof SwarmError) throw cause
    throw new SwarmError('usage', { what: 'cannot read the key', where: file, got: (cause as Error).message, cause })
  }
}

async function show(
  { output, settings }: CommandContext,
  { store, name }: RunPlace,
  publicKey: KeyObject | undefined,
): Promise<ExitStatus> {
  const { books } = await readLedger({ store, publicKey, contains: settings.contains })
  const balances = books.balances()
  if (balances.length === 0) {
    output.note(`nothing was ever booked in ${name}`)
    return EXIT.done
  }
  const owners = byOwner(balances)
  for (const { host, ...sums } of balances) output.record({ type: 'ledgerHost', host, ...recordOf(sums) })
  for (const { hosts, ...sums } of owners) output.record({ type: 'ledgerOwner', hosts, ...recordOf(sums) })
  const numbers = [
    { title: 'steps', align: 'right' },
    { title: 'earned', align: 'right' },
    { title: 'forfeited', align: 'right' },
    { title: 'points', align: 'right' },
  ] as const
  const byHost = balances.map((balance) => [balance.owner || '–', balance.host, ...cells(balance)])
  output.result(table([{ title: 'owner' }, { title: 'host' }, ...numbers], byHost, output.style))
  if (owners.length === balances.length) return EXIT.done
  const rows = owners.map((sums) => [sums.owner || '–', count(sums.hosts), ...cells(sums)])
  output.result(`\n${table([{ title: 'owner' }, { title: 'hosts', align: 'right' }, ...numbers], rows, output.style)}`)
  return EXIT.done
}

async function verify(
  { output, settings }: CommandContext,
  { store, name, flags }: RunPlace,
  publicKey: KeyObject | undefined,
): Promise<ExitStatus> {
  const bar = progressBar(output, 'verifying')
  try {
    const onEntry = ({ entry: { number } }: ReadEntry, total: number) => {
      if (number % SHOWN_EVERY === 0) bar.show(number / Math.max(number, total), `entry ${count(number)}`)
    }
    const report = await readLedger({ store, publicKey, contains: settings.contains, checks: 'signatures', onEntry })
    bar.end()
    const { count: entries, hash, unsealed, keys } = report
    const [signer, ...former] = keys.toReversed()
    const pem = (signer?.export({ type: 'spki', format: 'pem' }) as string | undefined) ?? null
    const formerKeys = former.map(fingerprint)
    output.record({ type: 'ledgerVerified', entries, hash, unsealed, publicKey: pem, formerKeys, isKeyGiven: publicKey !== undefined })
    if (!signer) {
      output.result(`nothing was ever booked in ${name}`)
      return EXIT.done
    }
    const { green, dim } = output.style
    const behind = unsealed > 0 ? `, ${count(unsealed)} of them behind its head: being written, or their writer was ended` : ''
    const isFormer = publicKey && !publicKey.equals(signer)
    const given = isFormer ? `which the key that you gave, ${fingerprint(publicKey)}, has let follow` : 'the key that you gave'
    const by = publicKey ? given : 'the key that it names itself: --key FILE for one that you know from elsewhere'
    output.result(`${green('✔')} ${count(entries)} ${entries === 1 ? 'entry' : 'entries'}, the last one ${hash}${behind}`)
    output.result(dim(`signed by ${fingerprint(signer)}, ${by}`))
    if (formerKeys.length > 0)
      output.result(dim(`before that by ${formerKeys.join(', ')}: whoever has one of those could have written what is before the change`))
    output.note(
      `note this, to find later whether anything up to here has gone: swarmgrad ledger verify${flags} --contains ${hash.slice(0, 12)}`,
    )
    return EXIT.done
  } finally {
    bar.end()
  }
}

type Sums = Omit<Balance, 'host'>

function byOwner(balances: readonly Balance[]): (Sums & { readonly hosts: number })[] {
  const sums = new Map<string, Sums & { readonly hosts: number }>()
  for (const { owner, steps, earned, forfeited } of balances) {
    const before = sums.get(owner) ?? { owner, hosts: 0, steps: 0, earned: 0, forfeited: 0 }
    sums.set(owner, {
      owner,
      hosts: before.hosts + 1,
      steps: before.steps + steps,
      earned: before.earned + earned,
      forfeited: before.forfeited + forfeited,
    })
  }
  return [...sums.values()]
}

/** In millionths of a point, which are exact. */
function recordOf({ owner, steps, earned, forfeited }: Sums) {
  return { owner, steps, earnedMicropoints: earned, forfeitedMicropoints: forfeited, micropoints: earned - forfeited }
}

function cells({ steps, earned, forfeited }: Sums): string[] {
  return [count(steps), points(earned), points(forfeited), points(earned - forfeited)]
}

/** `1,234.567891`: all of its digits. */
function points(micropoints: number): string {
  return (micropoints / MICROPOINTS_PER_POINT).toLocaleString('en-US', { maximumFractionDigits: 6 })
}
