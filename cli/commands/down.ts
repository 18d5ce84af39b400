/** `swarmgrad down`. */
import { SwarmError } from '../../runtime/errors.js'
import { endHolder, folderOf } from '../cluster/folder.js'
import type { CommandContext } from '../command.js'
import { EXIT, type ExitStatus } from '../exit.js'

/** Every process of it may take its full time to end. */
const END_MS = 120_000

export async function down({ settings, output }: CommandContext): Promise<ExitStatus> {
  const folder = await folderOf(settings.folder, 'cluster')
  const pid = await endHolder(folder, AbortSignal.timeout(END_MS))
  if (pid === undefined) throw new SwarmError('usage', { what: 'no cluster runs here', where: folder, fix: 'Start one: swarmgrad up' })
  output.record({ type: 'down', folder, pid })
  output.result(`the cluster of ${folder} has ended; swarmgrad up goes on with its runs`)
  return EXIT.done
}
