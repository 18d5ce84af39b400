/** `swarmgrad trust`: for which hosts those answer who run the cluster. */
import { ControlClient } from '../../actors/control/control-client.js'
import type { TrustEntry } from '../../actors/control/trust-book.js'
import { suggest } from '../../components/suggest.js'
import { systemClock } from '../../runtime/clock.js'
import { SwarmError } from '../../runtime/errors.js'
import { fingerprint } from '../../runtime/identity.js'
import { VERSION } from '../../runtime/version.js'
import type { CommandContext } from '../command.js'
import { EXIT, type ExitStatus } from '../exit.js'
import { tokenFor } from '../tokens.js'
import { table } from '../view/table.js'

const DEFAULT_FOR_MS = 30 * 24 * 3_600_000
const ACTIONS = ['grant', 'revoke', 'list'] as const

export async function trust({ settings, output }: CommandContext, action: string, host: string | undefined): Promise<ExitStatus> {
  if (!ACTIONS.some((known) => known === action))
    throw new SwarmError('usage', { what: `unknown action '${action}'`, expected: ACTIONS.join(', '), fix: suggest(action, ACTIONS) })
  const url = settings.cluster
  if (url === undefined) throw new SwarmError('usage', { what: 'hosts of a cluster are trusted', fix: 'Give --cluster its address' })
  const client = new ControlClient({ url, token: await tokenFor(url, 'admin'), clock: systemClock })
  await client.greet(VERSION)
  if (action === 'list') {
    const entries = await client.trust()
    for (const entry of entries) output.record(recordOf(entry))
    const columns = [{ title: 'host' }, { title: 'trusted' }, { title: 'from' }, { title: 'until' }, { title: 'key' }] as const
    if (entries.length > 0) output.result(table(columns, entries.map(cells), output.style))
    else output.note(`nobody: vouch for a host with: swarmgrad trust grant HOST --cluster ${url}`)
    return EXIT.done
  }
  if (host === undefined) throw new SwarmError('usage', { what: `whom to ${action}`, fix: `swarmgrad trust ${action} HOST` })
  const entry = action === 'grant' ? await client.grantTrust(host, settings.trustFor ?? DEFAULT_FOR_MS) : await client.revokeTrust(host)
  output.record(recordOf(entry))
  const { identity, untilMs } = entry.descriptor!
  output.result(
    action === 'grant'
      ? `control vouches for ${host}, ${fingerprint(identity)}, until ${dateOf(untilMs)} · take it back with: swarmgrad trust revoke ${host} --cluster ${url}`
      : `control does not vouch for ${host} any more: it is a host like any other`,
  )
  return EXIT.done
}

function recordOf({ host, state, descriptor, why }: TrustEntry): { readonly type: 'trust'; readonly [field: string]: unknown } {
  const { number = null, identity, fromMs = null, untilMs = null } = descriptor ?? {}
  const key = identity === undefined ? null : fingerprint(identity)
  return { type: 'trust', host, state, number, key, fromMs, untilMs, code: why?.code ?? null }
}

function cells({ host, state, descriptor, why }: TrustEntry): string[] {
  const said = state === 'trusted' ? 'yes' : state === 'refused' ? `no: ${why?.code}` : `no: ${state}`
  if (!descriptor) return [host, said, '–', '–', '–']
  const { fromMs, untilMs, identity } = descriptor
  return [host, said, dateOf(fromMs), dateOf(untilMs), fingerprint(identity)]
}

const dateOf = (ms: number): string => new Intl.DateTimeFormat('sv', { dateStyle: 'short', timeStyle: 'medium' }).format(ms)
