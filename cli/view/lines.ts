/** A run in plain lines, for logs and pipes: one per happening, and one for progress every few seconds. */
import type { RunEvent } from '../../actors/events.js'
import type { RunDefinition } from '../../actors/run/run-definition.js'
import type { Output } from '../output.js'
import { count, duration, timeOfDay } from './format.js'
import { graphLines } from './graph.js'
import { colourOf, News } from './happenings.js'
import type { RunView } from './run-view.js'

/** A line of progress this often, in ms. */
const PROGRESS_MS = 3_000
const WIDTH = 120

export class LineView implements RunView {
  readonly #output: Output
  readonly #news: News
  #toldAtMs = 0
  #fetchedTenths = 0

  constructor(output: Output) {
    this.#output = output
    this.#news = new News(output.isVerbose)
  }

  begin(run: string, definition: RunDefinition, { pnodes }: { readonly pnodes: number }): void {
    this.#output.note(titleOf(run, definition, pnodes))
    for (const line of graphLines(definition.network, WIDTH, this.#output.errorStyle)) this.#output.note(`  ${line}`)
  }

  show(event: RunEvent): void {
    if (event.type === 'progress') return this.#progress(event)
    const sentence = this.#news.sentenceOf(event)
    if (sentence !== undefined) this.#output.note(`${timeOfDay(event.atMs)} ${this.#output.errorStyle[colourOf(event)](sentence)}`)
  }

  fetch(done: number, total: number): void {
    const tenth = Math.floor((done / total) * 10)
    if (tenth <= this.#fetchedTenths) return
    this.#fetchedTenths = tenth
    this.#output.note(`data ${tenth * 10} %`)
  }

  say(text: string): void {
    this.#output.note(text)
  }

  end(): void {}

  #progress(event: RunEvent & { type: 'progress' }): void {
    const { atMs, step, totalSteps, epoch, epochs, samplesPerSecond, secondsLeft } = event
    if (atMs - this.#toldAtMs < PROGRESS_MS) return
    this.#toldAtMs = atMs
    const left = secondsLeft > 0 ? `, ${duration(secondsLeft * 1000)} left` : ''
    this.#output.note(
      `${timeOfDay(atMs)} step ${count(step)}/${count(totalSteps)}, epoch ${epoch}/${epochs}, ${count(samplesPerSecond)} samples/s${left}`,
    )
  }
}

/** The first line about a run. */
export function titleOf(run: string, { training, data }: RunDefinition, pnodes: number): string {
  const { rule, batchSize, epochs, seed } = training
  return `${run} · ${data.id} · ${rule.name} · ${pnodes} PNodes · batch ${batchSize} · ${epochs} epochs · seed ${seed}`
}
