/**
 * Dead letters: entries that a run has given up for one of its VNodes, each with its reason and all that is needed to look into it:
 * `runs/<run>/dead-letters/<position>-<vnode>`. A letter counts if the head names its skip; it is written before.
 */
import type { Clock } from '../../runtime/clock.js'
import { type ErrorRecord, SwarmError, invariant } from '../../runtime/errors.js'
import { type Skip, skipped } from '../../runtime/head.js'
import { type HeadWriter, readHead } from '../../runtime/head-store.js'
import type { ObjectStore } from '../../runtime/object-store/object-store.js'
import type { HeadEcho } from './head-echo.js'
import type { Attempt, PoisonLimits } from './poison.js'
import type { Failure } from '../reports.js'
import type { RunMonitor } from './run-monitor.js'

export const DEAD_LETTER_VERSION = 1

export interface DeadLetter extends Skip {
  readonly v: typeof DEAD_LETTER_VERSION
  /** `<position>-<vnode>`. */
  readonly id: string
  readonly run: string
  /** In which it was given up. */
  readonly generation: number
  /** Digest of the batch's inputs and labels (`batchDigest`): data set, seed and step make it again. */
  readonly batch: string
  /** Why: the newest error. */
  readonly error: ErrorRecord
  /** In the order in which they failed. */
  readonly attempts: readonly Attempt[]
  readonly atMs: number
}

export interface DeadLettersOptions {
  readonly store: ObjectStore
  readonly clock: Clock
  readonly writer: HeadWriter
  readonly echo: HeadEcho
  readonly monitor: RunMonitor
  readonly limits: () => Promise<PoisonLimits>
}

export class DeadLetters {
  readonly #options: DeadLettersOptions

  constructor(options: DeadLettersOptions) {
    this.#options = options
  }

  /**
   * Gives up the entry at which a VNode failed: durable, under a new generation in which nobody owns anything yet; then told, and the owners
   * of before are stopped.
   * @returns why everything has to be placed anew
   * @throws `run.poisoned` the run has as many dead letters as it may; codes of the store; `run.writer`
   */
  async bury(failure: Failure, attempts: readonly Attempt[]): Promise<string> {
    const { writer, echo, monitor } = this.#options
    const { directory } = writer.head
    const letter = await this.#add(failure, attempts)
    const { id, vnode, step, evaluation, position, error } = letter
    const pnodes = attempts.map(({ pnode }) => pnode)
    monitor.emit({ type: 'deadLettered', id, vnode, step, evaluation, position, error, pnodes })
    await echo.stopAll(directory)
    return `${placeOf(letter)} is skipped`
  }

  async #add({ vnode, entry, batch, error }: Failure, attempts: readonly Attempt[]): Promise<DeadLetter> {
    const { store, clock, writer } = this.#options
    const { run, generation, skips = [] } = writer.head
    invariant(entry !== undefined && batch !== undefined, () => `${run}: a dead letter of ${vnode} without its entry`)
    const { position, step, evaluation } = entry
    const skip: Skip = { vnode, position, step, evaluation }
    const { maxDeadLetters } = await this.#options.limits()
    if (skips.length >= maxDeadLetters) throw tooMany([...skips, skip], error, maxDeadLetters)
    const id = idOf(skip)
    const letter: DeadLetter = { v: DEAD_LETTER_VERSION, id, run, generation, ...skip, batch, error, attempts, atMs: clock.now() }
    await store.put(keyOf(run, id), new TextEncoder().encode(`${JSON.stringify(letter)}\n`))
    await writer.update((head) => skipped(head, skip))
    return letter
  }
}

/** Those that the head names, in the order in which they were given up. @throws `run.not-found`, `store.damaged`, `manifest.version` */
export async function readDeadLetters(store: ObjectStore, run: string): Promise<DeadLetter[]> {
  const { head } = await readHead(store, run)
  return Promise.all((head.skips ?? []).map((skip) => readLetter(store, run, idOf(skip))))
}

async function readLetter(store: ObjectStore, run: string, id: string): Promise<DeadLetter> {
  const key = keyOf(run, id)
  const { bytes } = await store.get(key)
  let letter: DeadLetter
  try {
    letter = JSON.parse(new TextDecoder().decode(bytes))
  } catch (cause) {
    throw new SwarmError('store.damaged', { what: 'unreadable dead letter', where: key, cause })
  }
  if (letter?.v === DEAD_LETTER_VERSION) return letter
  const [expected, got] = [DEAD_LETTER_VERSION, String(letter?.v)]
  throw new SwarmError('manifest.version', { what: 'dead letter of another version', where: key, expected, got })
}

/** `step 7 of dense-2`, `evaluation 2 after step 7 of dense-2`. */
export function placeOf({ vnode, step, evaluation }: Pick<Skip, 'vnode' | 'step' | 'evaluation'>): string {
  return evaluation === 0 ? `step ${step} of ${vnode}` : `evaluation ${evaluation} after step ${step} of ${vnode}`
}

const idOf = ({ vnode, position }: Skip): string => `${position}-${vnode}`
const keyOf = (run: string, id: string): string => `runs/${run}/dead-letters/${id}`

function tooMany(skips: readonly Skip[], { message }: ErrorRecord, maxDeadLetters: number): SwarmError {
  return new SwarmError('run.poisoned', {
    what: `more dead letters than a run may have: ${message}`,
    where: skips.map(placeOf).join(', '),
    expected: `at most ${maxDeadLetters}`,
    got: skips.length,
    fix: 'Look for what they have in common, or allow more with --max-dead-letters',
  })
}
