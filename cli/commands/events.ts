/** `swarmgrad events`: what a run has logged, and with `--follow` what it logs from now on. */
import { readEvents } from '../../actors/run/event-log.js'
import type { RunEvent } from '../../actors/events.js'
import { followEvents } from '../../actors/control/follow-events.js'
import { systemClock } from '../../runtime/clock.js'
import type { CommandContext } from '../command.js'
import { EXIT, type ExitStatus } from '../exit.js'
import { openPlace, type RunPlace } from '../place.js'
import { findRun } from '../run-list.js'
import { count, dateAndTime, timeOfDay } from '../view/format.js'
import { colourOf, sentenceOf } from '../view/happenings.js'

/** The log is written twice a second; a reader need not be faster. */
const POLL_MS = 500

export async function events(context: CommandContext, words: string): Promise<ExitStatus> {
  const { settings } = context
  const place = await openPlace(context)
  const run = await findRun(place, words)
  const since = settings.since ?? 0
  let step = 0
  let day = ''
  for await (const event of eventsOf(context, place, run)) {
    step = stepOf(event) ?? step
    if (step < since) continue
    const date = dateAndTime(event.atMs).slice(0, 10)
    tell(context, event, date === day ? undefined : (day = date))
  }
  return EXIT.done
}

async function* eventsOf({ settings, output }: CommandContext, place: RunPlace, run: string): AsyncGenerator<RunEvent> {
  const { store, cluster } = place
  if (settings.follow && cluster && (await place.holder(run))) {
    let isWaiting = false
    const onWait = () => {
      if (!isWaiting) output.note(`${place.name} does not answer; trying again …`)
      isWaiting = true
    }
    for await (const event of followEvents({ client: cluster.client, store, run, clock: systemClock, onWait })) {
      isWaiting = false
      yield event
    }
    return
  }
  for (let after = ''; ;) {
    // Asked before the log is read, so that what is logged at the end is not missed.
    const holder = settings.follow ? await place.holder(run) : undefined
    for await (const { chunk, events: found } of readEvents(store, run, after)) {
      after = chunk
      yield* found
    }
    if (!holder) return
    await systemClock.sleep(POLL_MS)
  }
}

/** Events without a step happened after the last one that has one. */
function stepOf(event: RunEvent): number | undefined {
  if (event.type === 'done') return event.steps
  return 'step' in event ? event.step : undefined
}

function tell({ output }: CommandContext, event: RunEvent, day: string | undefined): void {
  output.record({ ...event })
  const text = sentenceOf(event, output.isVerbose) ?? (output.isVerbose ? progressOf(event) : undefined)
  if (text === undefined) return
  if (day !== undefined) output.result(output.style.dim(day))
  output.result(`${output.style.dim(timeOfDay(event.atMs))} ${output.style[colourOf(event)](text)}`)
}

function progressOf(event: RunEvent): string | undefined {
  if (event.type !== 'progress') return undefined
  return `step ${count(event.step)} of ${count(event.totalSteps)}, ${count(event.samplesPerSecond)} samples/s`
}
