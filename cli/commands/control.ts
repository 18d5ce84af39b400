/** `swarmgrad control`. */
import { clusterKeys } from '../../actors/control/cluster-keys.js'
import { startControl, type ControlProcess } from '../../actors/control/control-process.js'
import { systemClock } from '../../runtime/clock.js'
import { SwarmError } from '../../runtime/errors.js'
import { s3Store, type S3StoreOptions } from '../../runtime/object-store/s3-store.js'
import { serverConfig } from '../../runtime/tensor-bus/nats-authority.js'
import { VERSION } from '../../runtime/version.js'
import { folderOf, readSecret, takeFolder } from '../cluster/folder.js'
import { membershipOf } from '../cluster/membership.js'
import { reporter } from '../cluster/reporter.js'
import { givenSidecar, OwnSidecar } from '../cluster/sidecar.js'
import { untilSignal } from '../cluster/until-signal.js'
import type { CommandContext } from '../command.js'
import { EXIT, type ExitStatus } from '../exit.js'
import { type FlagName, type Settings, typed } from '../flags.js'
import { saveToken } from '../tokens.js'

export const DEFAULT_LISTEN = { host: '127.0.0.1', port: 7070 } as const
const DEFAULT_BUCKET = 'swarmgrad'
const KEY_FILE = 'store-key.json'

export async function control({ settings, output }: CommandContext): Promise<ExitStatus> {
  const membership = membershipOf(settings)
  const folder = await folderOf(settings.folder, 'control')
  const store = await storeOf(settings, folder)
  if (settings.printNatsConfig) {
    process.stdout.write(await natsConfig(store))
    return EXIT.done
  }
  const listen = settings.listen ?? DEFAULT_LISTEN
  const given = givenSidecar(process.env)
  const report = reporter(output)
  const own = new OwnSidecar(report)
  const lock = await takeFolder(folder, 'a control host')
  const ending = untilSignal(
    () => report.event('leaving', 'closing: runs go on when a control host is back'),
    () => own.kill(),
  )
  let running: ControlProcess | undefined
  try {
    const placement = needed(settings, 'placement')
    const { scheduler, hostIp } = settings
    const began = startControl({
      listen,
      store,
      broker: { servers: needed(settings, 'broker'), publicServers: settings.publicBroker },
      placement,
      scheduler,
      appPort: given?.appPort,
      sidecar: given ?? ((appPort) => own.start(appPort, { folder, appId: 'control', placement, scheduler, role: 'control', hostIp })),
      membership,
      ...(settings.balanceHold !== undefined && { balance: { holdMs: settings.balanceHold * 1000 } }),
      version: VERSION,
      clock: systemClock,
      onError: (error) => report.warn(error),
    })
    running = await Promise.race([began, ending.asked.then(() => undefined)])
    if (!running) {
      // Its end is not worth waiting for: nothing has begun.
      began.then((late) => late.close()).catch(() => undefined)
      return EXIT.done
    }
    const { url, trainerToken, joinToken, adminToken } = running
    const tokens = await saveToken(url, { trainer: trainerToken, join: joinToken, admin: adminToken })
    output.record({ type: 'ready', url, pid: process.pid, folder, tokens })
    output.result(`control listens on ${url}; tokens are in ${tokens}`)
    await ending.asked
    return EXIT.done
  } finally {
    await running?.close()
    await own.stop()
    await lock.release()
    ending.stop()
  }
}

/** The nats.conf of this cluster's keys, which are made if there are none. */
async function natsConfig(options: Omit<S3StoreOptions, 'clock'>): Promise<string> {
  const store = s3Store({ ...options, clock: systemClock })
  try {
    return await serverConfig((await clusterKeys(store)).broker)
  } finally {
    await store.close()
  }
}

/** The key comes from the environment or from a file for its owner alone: everybody can read the arguments of a process. */
export async function storeOf(settings: Settings, folder: string): Promise<Omit<S3StoreOptions, 'clock'>> {
  const { SWARMGRAD_STORE_ACCESS_KEY: accessKey, SWARMGRAD_STORE_SECRET_KEY: secretKey } = process.env
  const key =
    accessKey && secretKey ? { accessKey, secretKey } : await readSecret<{ accessKey: string; secretKey: string }>(folder, KEY_FILE)
  if (!key?.accessKey || !key.secretKey) {
    const fix = `Set SWARMGRAD_STORE_ACCESS_KEY and SWARMGRAD_STORE_SECRET_KEY, or write {"accessKey":"…","secretKey":"…"} into ${KEY_FILE} of the folder`
    throw new SwarmError('usage', { what: 'no key of the object store', where: folder, fix })
  }
  return {
    endpoint: needed(settings, 'storeEndpoint'),
    publicEndpoint: settings.publicStoreEndpoint,
    bucket: settings.storeBucket ?? DEFAULT_BUCKET,
    region: settings.storeRegion,
    accessKey: key.accessKey,
    secretKey: key.secretKey,
  }
}

/** @throws `usage` */
function needed<Name extends FlagName>(settings: Settings, name: Name): NonNullable<Settings[Name]> {
  const value = settings[name]
  if (value === undefined)
    throw new SwarmError('usage', { what: `a control host needs ${typed(name)}`, fix: 'See: swarmgrad control --help' })
  return value
}
