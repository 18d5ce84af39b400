/** `swarmgrad leave`. */
import { readdir, rm, rmdir } from 'node:fs/promises'
import { join } from 'node:path'
import { ControlClient } from '../../actors/control/control-client.js'
import { systemClock } from '../../runtime/clock.js'
import { SwarmError } from '../../runtime/errors.js'
import { endHolder, folderOf, LOCK_FILE, readSecret, takeFolder } from '../cluster/folder.js'
import { nameOfMachine } from '../cluster/host-plan.js'
import { HOST_FILES, type HostToken, TOKEN_FILE } from '../cluster/identity.js'
import type { CommandContext } from '../command.js'
import { EXIT, type ExitStatus } from '../exit.js'

/** What a host may take to hand over, and as much again to end. */
const END_MS = 120_000

export async function leave({ settings, output }: CommandContext): Promise<ExitStatus> {
  const name = settings.name ?? nameOfMachine()
  const folder = await folderOf(settings.folder, 'hosts', name)
  const pid = await endHolder(
    folder,
    AbortSignal.timeout(settings.leaveWithin === undefined ? END_MS : settings.leaveWithin * 1000 + END_MS),
  )
  if (pid === undefined && !settings.purge) {
    const others = await hostsBeside(folder)
    const fix = others.length > 0 ? `Say which: --name ${others.join(', --name ')}` : undefined
    throw new SwarmError('usage', { what: `no host process of ${name} runs here`, where: folder, fix })
  }
  if (pid !== undefined) output.note(`${name} has left; process ${pid} has ended`)
  if (settings.purge) await purge(folder, name)
  output.record({ type: 'left', pnode: name, pid: pid ?? null, purged: settings.purge ?? false })
  output.result(settings.purge ? `${name} has left; nothing of it is kept here, and its name is free` : `${name} has left`)
  return EXIT.done
}

/** Gives the name back, then erases what a host keeps, and nothing else. @throws `cluster.unreachable` with everything still there */
async function purge(folder: string, name: string): Promise<void> {
  const lock = await takeFolder(folder, name)
  const known = await readSecret<HostToken>(folder, TOKEN_FILE)
  if (known) await new ControlClient({ ...known, clock: systemClock }).release(name)
  for (const file of HOST_FILES) await rm(join(folder, file), { recursive: true, force: true })
  await lock.release()
  // A folder that somebody else uses, too, stays.
  await rmdir(folder).catch(() => undefined)
}

/** Those that have a lock: not quite those that run, since one that was killed leaves its own. */
async function hostsBeside(folder: string): Promise<string[]> {
  const names = await namesIn(join(folder, '..'))
  const locks = await Promise.all(names.map((name) => namesIn(join(folder, '..', name))))
  return names.filter((_, i) => locks[i].includes(LOCK_FILE))
}

async function namesIn(folder: string): Promise<string[]> {
  return readdir(folder).catch((): string[] => [])
}
