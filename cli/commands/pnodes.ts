/** `swarmgrad pnodes`. */
import { describeRefusal } from '../../actors/placement/admission.js'
import type { Membership } from '../../actors/calls.js'
import { ControlClient } from '../../actors/control/control-client.js'
import { systemClock } from '../../runtime/clock.js'
import { SwarmError } from '../../runtime/errors.js'
import { VERSION } from '../../runtime/version.js'
import type { CommandContext } from '../command.js'
import { EXIT, type ExitStatus } from '../exit.js'
import { tokenFor } from '../tokens.js'
import { dateAndTime, percent, size } from '../view/format.js'
import { table } from '../view/table.js'

export async function pnodes({ settings, output }: CommandContext): Promise<ExitStatus> {
  const url = settings.cluster
  if (url === undefined) throw new SwarmError('usage', { what: 'PNodes are listed of a cluster', fix: 'Give --cluster its address' })
  const client = new ControlClient({ url, token: await tokenFor(url, 'trainer'), clock: systemClock })
  await client.greet(VERSION)
  const all = await client.pnodes()
  const rows = all.map((member) => {
    const { pnode, state, tier, owner, gflops, memoryBytes, busyShare, vnodes, isRelayed = false, computeClass } = member
    const unknown = { uploadBytesPerS: null, downloadBytesPerS: null, roundTripMs: null, largestAllocationBytes: null }
    output.record({ type: 'pnode', ...unknown, ...member, owner: owner ?? null, tier: tier ?? null, isRelayed })
    const colour =
      state === 'lost' || state === 'quarantined' ? output.style.red : state === 'observer' ? output.style.yellow : output.style.green
    const load = state === 'lost' ? '–' : percent(busyShare)
    return [
      pnode,
      colour(member.isTrusted ? `${state}, trusted` : state),
      tier === undefined ? '–' : String(tier),
      owner ?? '–',
      gflops.toFixed(1),
      size(memoryBytes),
      ...lineOf(member),
      load,
      String(vnodes.length),
      isRelayed ? 'relayed' : 'direct',
      computeClass,
    ]
  })
  const columns = [
    { title: 'pnode' },
    { title: 'state' },
    { title: 'tier', align: 'right' },
    { title: 'owner' },
    { title: 'Gflop/s', align: 'right' },
    { title: 'memory', align: 'right' },
    { title: 'up', align: 'right' },
    { title: 'down', align: 'right' },
    { title: 'round trip', align: 'right' },
    { title: 'busy', align: 'right' },
    { title: 'VNodes', align: 'right' },
    { title: 'calls' },
    { title: 'compute class' },
  ] as const
  if (rows.length > 0) output.result(table(columns, rows, output.style))
  else output.note(`no PNodes; lend a machine with: swarmgrad host ${url}`)
  for (const sentence of all.flatMap(whyNot)) output.result(sentence)
  return EXIT.done
}

/** Up, down and round trip; dashes where no network is between. */
function lineOf({ uploadBytesPerS, downloadBytesPerS, roundTripMs }: Membership): string[] {
  const rate = (bytesPerS: number | undefined) => (bytesPerS === undefined ? '–' : `${size(bytesPerS)}/s`)
  return [rate(uploadBytesPerS), rate(downloadBytesPerS), roundTripMs === undefined ? '–' : `${roundTripMs.toFixed(1)} ms`]
}

/** Why a PNode gets less than its owner may expect. */
function whyNot({ pnode, state, refusal, quarantine, gflops, saidGflops, ratedBecause }: Membership): string[] {
  if (state === 'lost') return []
  if (quarantine) return [`${pnode} is in quarantine until ${dateAndTime(quarantine.untilMs)}: ${quarantine.reason}`]
  const rated =
    saidGflops === undefined
      ? []
      : [`${pnode} says ${saidGflops.toFixed(1)} Gflop/s and is taken for ${gflops.toFixed(1)}: ${ratedBecause}`]
  return refusal ? [...rated, `${pnode} gets no VNodes: ${describeRefusal(refusal)}`] : rated
}
