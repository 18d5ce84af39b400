/** `swarmgrad resume`. */
import { basename } from 'node:path'
import { readDefinition, type RunDefinition } from '../../actors/run/run-definition.js'
import { resume as resumeRun } from '../../actors/train.js'
import type { Refinement } from '../../components/definition.js'
import { SwarmError } from '../../runtime/errors.js'
import { parseChaos } from '../chaos.js'
import type { CommandContext } from '../command.js'
import { detach } from '../detach.js'
import { driveOnCluster, openClusterPlace } from '../drive-cluster.js'
import { driveRun } from '../drive-run.js'
import type { ExitStatus } from '../exit.js'
import { HYPER_PARAMETERS, typed } from '../flags.js'
import { clusterOf, openPlace, refuseLocalFlags, storeAt } from '../place.js'
import { findRun } from '../run-list.js'

export async function resume(context: CommandContext, words: string): Promise<ExitStatus> {
  const url = clusterOf(context)
  if (url !== undefined) return resumeOnCluster(context, url, words)
  const { settings, store } = context
  for (const spec of settings.chaos ?? []) parseChaos(spec)
  const run = await findRun(await openPlace(context), words)
  const definition = await readDefinition(storeAt(store), run)
  refuseChanges(context, run, definition)
  if (settings.detach) return detach(context)
  return driveRun(context, { seed: definition.training.seed, start: (options, internals) => resumeRun(run, options, internals) })
}

async function resumeOnCluster(context: CommandContext, url: string, words: string): Promise<ExitStatus> {
  refuseLocalFlags(context, url)
  const place = await openClusterPlace(context)
  const run = await findRun(place, words)
  refuseChanges(context, run, await readDefinition(place.store, run))
  if (await place.holder(run)) {
    const fix = `Watch it with: swarmgrad events ${run} --follow${place.flags}`
    throw new SwarmError('run.busy', { what: `run ${run} is under way`, where: place.name, fix })
  }
  return driveOnCluster(context, place, (options) => resumeRun(run, options))
}

/** What was typed must be what the run has; the environment and configurations do not count. @throws `run.changed` */
function refuseChanges({ settings, typed: names }: CommandContext, run: string, { training, data, validation }: RunDefinition): void {
  const { rule, epochs, batchSize, learningRate, seed, refinement, convergence, nonFinite = 'stop' } = training
  const own = {
    data: data.id,
    rule: rule.name,
    epochs,
    batchSize,
    learningRate,
    seed,
    validation,
    nonFinite,
    refinement: textOf(refinement),
    convergence: convergence?.policy ?? 'none',
  }
  for (const name of HYPER_PARAMETERS) {
    if (name === 'label' || !names.has(name)) continue
    const given = name === 'data' ? basename(settings.data!) : name === 'refinement' ? textOf(settings[name]) : settings[name]
    if (given === own[name]) continue
    throw new SwarmError('run.changed', {
      what: `${typed(name)} of run ${run} cannot change`,
      expected: own[name],
      got: given,
      fix: `Leave ${typed(name)} out, or start a new run from its weights with: swarmgrad train --from ${run}`,
    })
  }
}

/** As `--refinement` is typed. */
const textOf = (refinement: Refinement | undefined): string => (refinement ? `${refinement.passes}x${refinement.inputs}` : 'none')
