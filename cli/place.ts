/** Where runs are: in a folder of this machine, or on a cluster. Commands ask the same of both. */
import { resolve } from 'node:path'
import { type Cluster, cluster, clusterStore } from '../actors/cluster.js'
import { ControlClient } from '../actors/control/control-client.js'
import { isUnderWay } from '../actors/run/delete-run.js'
import { systemClock } from '../runtime/clock.js'
import { SwarmError } from '../runtime/errors.js'
import type { ObjectStore } from '../runtime/object-store/object-store.js'
import { fileStore } from '../runtime/object-store/file-store.js'
import { VERSION } from '../runtime/version.js'
import type { CommandContext } from './command.js'
import { type FlagName, typed } from './flags.js'
import { runHolder } from './run-lock.js'
import { TOKEN_VARIABLE, tokenFor, tokenPath } from './tokens.js'

/** Whoever is at work on a run. */
export interface RunHolder {
  /** Undefined: a cluster. */
  readonly pid: number | undefined
}

export interface RunPlace {
  readonly store: ObjectStore
  /** In words: a folder, or an address. */
  readonly name: string
  /** What to type behind a command so that it means the same place; begins with a space, or is empty. */
  readonly flags: string
  /** Where the runs are those of a cluster. */
  readonly cluster?: { readonly on: Cluster; readonly client: ControlClient }
  /** Undefined: nobody is at work on this run. */
  holder(run: string): Promise<RunHolder | undefined>
}

/** The store in a folder, which need not exist. */
export function storeAt(folder: string): ObjectStore {
  return fileStore({ root: resolve(folder) })
}

/** The address of the cluster that is meant; undefined: a folder. What was typed comes before what was configured. @throws `usage` for both */
export function clusterOf({ settings, typed: names }: CommandContext): string | undefined {
  if (!names.has('store')) return settings.cluster
  if (!names.has('cluster')) return undefined
  throw new SwarmError('usage', { what: '--cluster and --store', expected: 'one of them: runs are on a cluster, or in a folder' })
}

/** The folder or the cluster that is meant. @throws `cluster.unreachable`, `cluster.version`, `cluster.clock`, `cluster.token`, `usage` */
export async function openPlace(context: CommandContext): Promise<RunPlace> {
  const url = clusterOf(context)
  return url === undefined ? openFolder(context) : openCluster(url, context)
}

function openFolder({ store: folder, settings }: CommandContext): RunPlace {
  return {
    store: storeAt(folder),
    name: folder,
    flags: settings.store === undefined ? '' : ` --store ${folder}`,
    holder: (run) => runHolder(folder, run),
  }
}

async function openCluster(url: string, { settings }: CommandContext): Promise<RunPlace> {
  const token = await tokenFor(url, 'trainer')
  const on = cluster(url, { token, window: settings.window })
  const client = new ControlClient({ url, token, clock: systemClock })
  await client.greet(VERSION)
  if (token === undefined) throw await missingToken(url)
  const store = clusterStore(on)
  return {
    store,
    name: url,
    flags: ` --cluster ${url}`,
    cluster: { on, client },
    async holder(run) {
      return (await isUnderWay(store, run)) ? { pid: undefined } : undefined
    },
  }
}

async function missingToken(url: string): Promise<SwarmError> {
  const fix = `Set ${TOKEN_VARIABLE} to the trainer token of the cluster, or put it into ${await tokenPath()}`
  return new SwarmError('cluster.token', { what: 'no token for this cluster', where: url, fix })
}

/** What makes sense for the PNodes of this process alone, and why. */
const ONLY_HERE: { readonly [Name in FlagName]?: string } = {
  pnodes: 'its PNodes are the machines that have joined it',
  threads: 'each of its PNodes computes in a worker thread',
  backend: 'each of its PNodes computes with what its machine has',
  chaos: 'its machines are not ours to break',
}

/** Flags that were typed and mean nothing on a cluster must not be left unheard. @throws `usage` */
export function refuseLocalFlags({ typed: names }: CommandContext, url: string): void {
  for (const [name, reason] of Object.entries(ONLY_HERE)) {
    if (!names.has(name as FlagName)) continue
    const flag = typed(name as FlagName)
    throw new SwarmError('usage', { what: `${flag} has no meaning on a cluster: ${reason}`, where: url, fix: `Leave ${flag} out` })
  }
}
