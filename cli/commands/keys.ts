/** `swarmgrad keys`. */
import { rotateControlKey } from '../../actors/control/cluster-keys.js'
import { systemClock } from '../../runtime/clock.js'
import { SwarmError } from '../../runtime/errors.js'
import { fingerprint } from '../../runtime/identity.js'
import { s3Store } from '../../runtime/object-store/s3-store.js'
import { folderOf } from '../cluster/folder.js'
import type { CommandContext } from '../command.js'
import { EXIT, type ExitStatus } from '../exit.js'
import { storeOf } from './control.js'

/** Hosts renew their rights every half day, and learn the new key by that at the latest: four times as long. */
const DEFAULT_ACCEPT_S = 2 * 24 * 3600

/** Goes to the object store, as a control host does: no trainer may do that. */
export async function keys({ settings, output }: CommandContext, action: string): Promise<ExitStatus> {
  if (action !== 'rotate') throw new SwarmError('usage', { what: `unknown action '${action}'`, expected: 'rotate' })
  const store = s3Store({ ...(await storeOf(settings, await folderOf(settings.folder, 'control'))), clock: systemClock })
  try {
    const acceptS = settings.acceptFormer ?? DEFAULT_ACCEPT_S
    const rotated = await rotateControlKey(store, systemClock, acceptS * 1000)
    const [key, former] = [fingerprint(rotated.key), fingerprint(rotated.former)]
    output.record({ type: 'rotated', key, former, acceptFormerSeconds: acceptS })
    output.result(`control signs with ${key} within seconds; ${former} is accepted for ${acceptS} s more`)
    return EXIT.done
  } finally {
    await store.close()
  }
}
