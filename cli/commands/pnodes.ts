/** `swarmgrad pnodes`. */
import { ControlClient } from '../../actors/control-client.js'
import { systemClock } from '../../runtime/clock.js'
import { SwarmError } from '../../runtime/errors.js'
import { VERSION } from '../../runtime/version.js'
import type { CommandContext } from '../command.js'
import { EXIT, type ExitStatus } from '../exit.js'
import { tokenFor } from '../tokens.js'
import { percent, size } from '../view/format.js'
import { table } from '../view/table.js'

export async function pnodes({ settings, output }: CommandContext): Promise<ExitStatus> {
  const url = settings.cluster
  if (url === undefined) throw new SwarmError('usage', { what: 'PNodes are listed of a cluster', fix: 'Give --cluster its address' })
  const client = new ControlClient({ url, token: await tokenFor(url, 'trainer'), clock: systemClock })
  await client.greet(VERSION)
  const all = await client.pnodes()
  const rows = all.map((member) => {
    const { pnode, state, owner, gflops, memoryBytes, busyShare, vnodes, isRelayed = false, computeClass } = member
    output.record({ type: 'pnode', ...member, owner: owner ?? null, isRelayed })
    const colour = state === 'lost' ? output.style.red : output.style.green
    const load = state === 'lost' ? '–' : percent(busyShare)
    return [
      pnode,
      colour(state),
      owner ?? '–',
      gflops.toFixed(1),
      size(memoryBytes),
      load,
      String(vnodes.length),
      isRelayed ? 'relayed' : 'direct',
      computeClass,
    ]
  })
  const columns = [
    { title: 'pnode' },
    { title: 'state' },
    { title: 'owner' },
    { title: 'Gflop/s', align: 'right' },
    { title: 'memory', align: 'right' },
    { title: 'busy', align: 'right' },
    { title: 'VNodes', align: 'right' },
    { title: 'calls' },
    { title: 'compute class' },
  ] as const
  if (rows.length > 0) output.result(table(columns, rows, output.style))
  else output.note(`no PNodes; lend a machine with: swarmgrad host ${url}`)
  return EXIT.done
}
