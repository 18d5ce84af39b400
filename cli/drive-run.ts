/** A run from its start to its last line: the view, the signals, requests of other processes, faults on purpose. */
import { openModel } from '../actors/model.js'
import { watchRequests } from '../actors/run/requests.js'
import type { Constraints } from '../actors/run/constraints.js'
import { readDefinition, type RunDefinition } from '../actors/run/run-definition.js'
import { type Internals, local, openStore, type Run, type RunOptions, type RunResult } from '../actors/train.js'
import { systemClock } from '../runtime/clock.js'
import { isSwarmError, SwarmError, toSwarmError } from '../runtime/errors.js'
import type { ObjectStore } from '../runtime/object-store/object-store.js'
import { Chaos, parseChaos } from './chaos.js'
import type { CommandContext } from './command.js'
import { EXIT, type ExitStatus } from './exit.js'
import { storeAt } from './place.js'
import type { Settings } from './flags.js'
import type { Output } from './output.js'
import { watchSignals } from './signals.js'
import { count, decimal, percent, shortHash } from './view/format.js'
import type { RunView } from './view/run-view.js'
import { viewFor } from './view/view.js'

export interface Drive {
  /** Of the run: faults are drawn from it. */
  readonly seed: number
  readonly start: (options: RunOptions, internals: Internals) => Run
}

/** Starts a run, shows it, and says how it ended. @throws what the run fails with */
export async function driveRun(context: CommandContext, { seed, start }: Drive): Promise<ExitStatus> {
  const { settings, output, store } = context
  const sinceMs = systemClock.now()
  const chaos = new Chaos((settings.chaos ?? []).map(parseChaos), { seed, clock: systemClock })
  const { pnodes = 4, threads = true, window = 4, backend = 'auto' } = settings
  const on = local({ pnodes, threads, window, backend })
  const view = viewFor(output)
  const abort = new AbortController()
  let interrupted: ExitStatus | undefined
  let stopWatching = () => {}
  const signals = watchSignals({
    onFirst(status) {
      interrupted = status
      view.say('pausing at the next step boundary; Ctrl-C again leaves at once, and nothing is lost')
      abort.abort()
    },
    onSecond: () => view.end(),
  })
  const run = start(
    {
      on,
      store,
      signal: abort.signal,
      ...executionOf(settings),
      onProgress: (done, total) => view.fetch(done, total),
    },
    {
      id: settings.id,
      onObservation: (observation) => chaos.observe(observation),
      onSwarm(swarm) {
        chaos.begin(swarm)
        const onPause = () => {
          view.say('asked to pause')
          abort.abort()
        }
        stopWatching = watchRequests(storeAt(store), run.id, { clock: systemClock, sinceMs, onPause })
      },
    },
  )
  try {
    const [result] = await Promise.all([run.result, showEvents(run, { view, output, store, pnodes: on.pnodes })])
    view.end()
    return tellEnd(context, result, settings.store ? ` --store ${store}` : '')
  } catch (error) {
    view.end()
    if (interrupted === undefined || !isSwarmError(error, 'aborted')) throw error
    output.note('ended before the run began')
    return interrupted
  } finally {
    view.end()
    chaos.end()
    stopWatching()
    signals.stop()
  }
}

/** Characters of the text that a language model shows after each evaluation. */
const SAMPLE_LENGTH = 200

/** What the flags say of checkpoints, places, and steps that fail. */
export function executionOf({ checkpointEvery: everySteps, ...rest }: Settings): RunOptions {
  const { minTier, together, replicas, redundancy, audits, maxDeadLetters, maxDeliveryAttempts } = rest
  const constraints: Constraints = { minTier, together: together?.map((ids) => ids.split(',').map((id) => id.trim())) }
  const checkpoint = everySteps === undefined ? undefined : { everySteps }
  return { checkpoint, replicas, redundancy, audits, constraints, maxDeadLetters, maxDeliveryAttempts }
}

interface ShowOptions {
  readonly view: RunView
  readonly output: Output
  readonly store: string | ObjectStore
  readonly pnodes: number
}

/** Until the run ends; never the reason why it fails. */
export async function showEvents(run: Run, { view, output, store, pnodes }: ShowOptions): Promise<void> {
  let definition: RunDefinition | undefined
  let isTextDue = false
  for await (const event of run.events()) {
    if (!definition) {
      definition = await readDefinition(openStore(store), run.id)
      view.begin(run.id, definition, { pnodes })
    }
    view.show(event)
    if (definition.network.target.kind !== 'tokens' || output.isQuiet) continue
    // What was evaluated is in the next checkpoint.
    if (event.type === 'evaluated') isTextDue = true
    else if (isTextDue && (event.type === 'checkpoint' || event.type === 'done')) {
      isTextDue = false
      await showText(openStore(store), run.id, { view, output })
    }
  }
}

/** What the newest checkpoint of a language model would write. It may just have been deleted. */
async function showText(store: ObjectStore, run: string, { view, output }: Pick<ShowOptions, 'view' | 'output'>): Promise<void> {
  try {
    const model = await openModel(store, run)
    try {
      let text = ''
      for await (const character of model.generate('', { length: SAMPLE_LENGTH })) text += character
      view.say(`step ${count(model.step)} writes:\n${text}`)
      output.record({ type: 'sample', run, step: model.step, text })
    } finally {
      await model.close()
    }
  } catch (error) {
    // A run does not fail because nobody can be shown what it would write.
    view.say(`no text: ${toSwarmError(error, 'internal').message}`)
  }
}

/** The last line, and the status. @param flags what says where the run is @throws `run.hash` */
export function tellEnd({ output, settings }: CommandContext, result: RunResult, flags: string): ExitStatus {
  const {
    status,
    run,
    steps,
    epochs,
    metrics,
    hash,
    seconds,
    samplesPerSecond,
    moves,
    stepsReplayed,
    stepsLost,
    stepsDoubled,
    deadLetters,
  } = result
  const counters = { moves, stepsReplayed, stepsLost, stepsDoubled, deadLetters }
  if (status === 'paused') {
    output.record({ type: 'paused', run, step: steps, epochs, seconds, samplesPerSecond, ...counters })
    output.result(`paused after step ${count(steps)} · go on with: swarmgrad resume ${run}${flags}`)
    return EXIT.paused
  }
  output.record({ type: 'done', run, steps, epochs, accuracy: metrics.accuracy ?? null, hash, seconds, samplesPerSecond, ...counters })
  output.result(lastLine(result))
  output.note(`run ${run}: ${count(seconds * 1000)} ms, hash ${hash}`)
  const expected = settings.expectHash
  if (expected === undefined || hash?.startsWith(expected)) return EXIT.done
  throw new SwarmError('run.hash', { what: `run ${run} ended with other weights`, expected, got: hash })
}

/** `98.1 % · 17 moves, 412 steps replayed, 0 lost, 0 doubled · 3f2a9c…` */
export function lastLine({ metrics, hash, moves, stepsReplayed, stepsLost, stepsDoubled, deadLetters }: RunResult): string {
  const answer = metrics.accuracy === undefined ? `loss ${decimal(metrics.loss)}` : percent(metrics.accuracy)
  const cost = `${count(moves)} moves, ${count(stepsReplayed)} steps replayed, ${stepsLost} lost, ${stepsDoubled} doubled`
  const givenUp = deadLetters > 0 ? `, ${count(deadLetters)} given up` : ''
  return `${answer} · ${cost}${givenUp} · ${shortHash(hash)}`
}
