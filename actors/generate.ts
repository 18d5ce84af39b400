/** Text from a language model, one character after another. */
import { type DatasetDescription, decodeText, encodeText } from '../components/datasets/index.js'
import { systemClock } from '../runtime/clock.js'
import { SwarmError } from '../runtime/errors.js'
import { RandomStream } from '../runtime/random.js'
import type { Model } from './model.js'

export interface GenerateOptions {
  /** Characters to make. Default 200. */
  readonly length?: number
  /** Below 1: the likely ones are likelier still; 0: always the likeliest. 0 to 100, default 0.8. */
  readonly temperature?: number
  /** Other seeds, other texts. Default 0. */
  readonly seed?: number
  readonly signal?: AbortSignal
}

const DEFAULTS = { length: 200, temperature: 0.8, seed: 0 } as const

/** What goes on after `prompt`, character by character. @throws `usage`; `dataset.invalid` a character that the model does not know; `aborted` */
export async function* generate(
  model: Pick<Model, 'run' | 'description' | 'sampleSize' | 'outputs' | 'predict'>,
  prompt: string,
  options: GenerateOptions = {},
): AsyncGenerator<string, void> {
  const { length = DEFAULTS.length, temperature = DEFAULTS.temperature, seed = DEFAULTS.seed, signal } = options
  const { description, sampleSize: context, outputs } = model
  check(model, { length, temperature, seed })
  // Without a beginning, a new line is one.
  const text = Array.from(encodeText(description, prompt === '' ? beginningOf(description) : prompt))
  const random = new RandomStream(seed, 'generate')
  const { sampleToken } = await import('../components/sample-token.js')
  const window = new Uint32Array(context)
  for (let made = 0; made < length; made++) {
    if (signal?.aborted) throw new SwarmError('aborted', { what: 'generating was aborted', cause: signal.reason })
    const seen = text.slice(-context)
    // What stands behind the last character changes nothing before it.
    window.fill(0).set(seen)
    const { probabilities } = await model.predict(window)
    // Whoever else is on this thread has a turn: heartbeats, signals.
    await systemClock.sleep(0)
    const next = sampleToken(probabilities.subarray((seen.length - 1) * outputs, seen.length * outputs), temperature, random)
    text.push(next)
    yield decodeText(description, [next])
  }
}

function beginningOf({ classNames = [] }: DatasetDescription): string {
  return classNames.includes('\n') ? '\n' : (classNames[0] ?? '')
}

function check(
  { run, description }: Pick<Model, 'run' | 'description'>,
  { length, temperature, seed }: Required<Omit<GenerateOptions, 'signal'>>,
): void {
  const refuse = (what: string, expected: string, got: unknown) => {
    throw new SwarmError('usage', { what, expected, got: String(got) })
  }
  const { target, classNames } = description
  if (target.kind !== 'tokens' || !classNames) refuse(`what run ${run} answers is no text`, 'a run that learns from a text', target.kind)
  if (!Number.isSafeInteger(length) || length < 0) refuse('length', 'a whole number of characters', length)
  if (!(temperature >= 0 && temperature <= 100)) refuse('temperature', 'a number from 0 to 100', temperature)
  if (!Number.isSafeInteger(seed) || seed < 0) refuse('seed', 'an integer ≥ 0', seed)
}
