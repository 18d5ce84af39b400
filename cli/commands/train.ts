/** `swarmgrad train`. */
import { train as trainRun } from '../../actors/train.js'
import { parseChaos } from '../chaos.js'
import type { CommandContext } from '../command.js'
import { makePlan } from '../definition.js'
import { detach } from '../detach.js'
import { driveOnCluster, openClusterPlace } from '../drive-cluster.js'
import { driveRun } from '../drive-run.js'
import type { ExitStatus } from '../exit.js'
import { clusterOf, openPlace, refuseLocalFlags } from '../place.js'
import { findRun } from '../run-list.js'

const DEFAULT_SEED = 1

export async function train(context: CommandContext, file: string | undefined): Promise<ExitStatus> {
  const url = clusterOf(context)
  if (url !== undefined) return trainOnCluster(context, url, file)
  const { settings, configured } = context
  for (const spec of settings.chaos ?? []) parseChaos(spec)
  if (settings.detach) return detach(context)
  const from = settings.from === undefined ? undefined : await findRun(await openPlace(context), settings.from)
  const { network, training } = await makePlan(file, { settings, configured })
  return driveRun(context, {
    seed: training.seed ?? DEFAULT_SEED,
    start: (options, internals) => trainRun(network, { ...training, from }, options, internals),
  })
}

async function trainOnCluster(context: CommandContext, url: string, file: string | undefined): Promise<ExitStatus> {
  const { settings, configured } = context
  refuseLocalFlags(context, url)
  const place = await openClusterPlace(context)
  const from = settings.from === undefined ? undefined : await findRun(place, settings.from)
  const { network, training } = await makePlan(file, { settings, configured })
  return driveOnCluster(context, place, (options, internals) => trainRun(network, { ...training, from }, options, internals))
}
