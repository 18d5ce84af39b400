/** `swarmgrad train`. */
import { isWeightsFile } from '../../actors/starting-weights.js'
import { train as trainRun } from '../../actors/train.js'
import { parseChaos } from '../chaos.js'
import type { CommandContext } from '../command.js'
import { makePlan } from '../definition.js'
import { detach } from '../detach.js'
import { driveOnCluster, openClusterPlace } from '../drive-cluster.js'
import { driveRun } from '../drive-run.js'
import type { ExitStatus } from '../exit.js'
import { clusterOf, openPlace, refuseLocalFlags, type RunPlace } from '../place.js'
import { findRun } from '../run-list.js'

const DEFAULT_SEED = 1

export async function train(context: CommandContext, file: string | undefined): Promise<ExitStatus> {
  const url = clusterOf(context)
  if (url !== undefined) return trainOnCluster(context, url, file)
  const { settings, configured } = context
  for (const spec of settings.chaos ?? []) parseChaos(spec)
  if (settings.detach) return detach(context)
  const from = await startOf(settings.from, () => openPlace(context))
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
  const from = await startOf(settings.from, async () => place)
  const { network, training } = await makePlan(file, { settings, configured })
  return driveOnCluster(context, place, (options, internals) => trainRun(network, { ...training, from }, options, internals))
}

/** The run or the file that `--from` means. */
async function startOf(from: string | undefined, open: () => Promise<RunPlace>): Promise<string | undefined> {
  return from === undefined || isWeightsFile(from) ? from : findRun(await open(), from)
}
