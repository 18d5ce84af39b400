/** `swarmgrad drain`. */
import { ControlClient } from '../../actors/control/control-client.js'
import { systemClock } from '../../runtime/clock.js'
import { SwarmError, isSwarmError } from '../../runtime/errors.js'
import { VERSION } from '../../runtime/version.js'
import type { CommandContext } from '../command.js'
import { EXIT, type ExitStatus } from '../exit.js'
import { tokenFor } from '../tokens.js'

const POLL_MS = 500
/** What somebody can take is handed over at the next checkpoint, which comes sooner than this. */
const PATIENCE_MS = 15_000

export async function drain({ settings, output }: CommandContext, pnode: string): Promise<ExitStatus> {
  const url = settings.cluster
  if (url === undefined) throw new SwarmError('usage', { what: 'PNodes are drained of a cluster', fix: 'Give --cluster its address' })
  const client = new ControlClient({ url, token: await tokenFor(url, 'trainer'), clock: systemClock })
  await client.greet(VERSION)
  const flags = ` --cluster ${url}`
  if (settings.undo) {
    await client.undrain(pnode)
    output.record({ type: 'undrained', pnode })
    output.result(`${pnode} may have VNodes again`)
    return EXIT.done
  }
  const first = await client.drain(pnode)
  if (first.length > 0) output.note(`${pnode} hands over ${first.join(', ')} …`)
  const left = settings.wait === false ? first : await untilEmpty(client, pnode, first, () => output.note(patienceNote(pnode, flags)))
  output.record({ type: 'drained', pnode, left })
  const undo = `take it back with: swarmgrad drain ${pnode} --undo${flags}`
  output.result(left.length === 0 ? `${pnode} has nothing left, and gets nothing · ${undo}` : `${pnode} gets nothing more · ${undo}`)
  return EXIT.done
}

function patienceNote(pnode: string, flags: string): string {
  return `nobody else can take it yet: it goes on at ${pnode} until somebody can. Who is there: swarmgrad pnodes${flags}`
}

/** @throws `host.unknown`, `host.lost`: it went away meanwhile */
async function untilEmpty(client: ControlClient, pnode: string, first: readonly string[], onLong: () => void): Promise<readonly string[]> {
  const noteAtMs = systemClock.now() + PATIENCE_MS
  let hasTold = false
  let left = first
  while (left.length > 0) {
    await systemClock.sleep(POLL_MS)
    if (!hasTold && systemClock.now() >= noteAtMs) {
      hasTold = true
      onLong()
    }
    try {
      left = await client.drain(pnode)
    } catch (error) {
      // A control host that is being restarted knows of it when it is back.
      if (!isSwarmError(error) || !error.retryable) throw error
    }
  }
  return left
}
