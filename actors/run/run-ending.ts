/** How a run ends, this time: done, failed, or paused. */
import type { ActorContext } from '../../runtime/actor-system/actor-system.js'
import type { ErrorRecord } from '../../runtime/errors.js'
import { failed, finished, type Head, type Manifest, unpaused } from '../../runtime/head.js'
import type { HeadWriter } from '../../runtime/head-store.js'
import { hashRun } from '../../runtime/state.js'
import type { Metrics } from '../events.js'
import { actor, call } from '../calls.js'
import type { HeadEcho } from './head-echo.js'
import type { RunMonitor } from './run-monitor.js'

export interface RunEndingOptions {
  readonly context: ActorContext
  readonly writer: HeadWriter
  readonly echo: HeadEcho
  readonly monitor: RunMonitor
  /** Over the whole life of the run. */
  readonly counters: () => Head['counters']
  readonly onError: (error: unknown) => void
}

export class RunEnding {
  readonly #options: RunEndingOptions

  constructor(options: RunEndingOptions) {
    this.#options = options
  }

  /** It has come to its last step. */
  async finish({ step, vnodes }: Manifest, metrics: Metrics): Promise<void> {
    const { writer, monitor, counters } = this.#options
    const hash = hashRun(vnodes.map((vnode) => vnode.hash))
    await writer.update((head) => finished(head, { hash, metrics }, counters()))
    await this.end()
    monitor.emit({ type: 'done', steps: step, hash, metrics })
  }

  async fail(error: ErrorRecord): Promise<void> {
    const { writer, monitor, counters, onError } = this.#options
    try {
      await writer.update((head) => failed(head, error, counters()))
    } catch (cause) {
      // How it ends is said by whoever has it now.
      if (writer.replaced) throw writer.replaced
      // A store that is full or gone may be the very reason: the run stops all the same, and its last checkpoint stays.
      onError(cause)
    }
    await this.end()
    monitor.emit({ type: 'failed', error })
  }

  /** One that nobody had room for is not begun any more, until somebody goes on with it. */
  async giveUp(): Promise<void> {
    const { context, writer, monitor } = this.#options
    await writer.update((head) => ({ ...unpaused(head), status: 'paused' as const }))
    monitor.emit({ type: 'paused', step: writer.head.manifests[0]?.step ?? 0 })
    // The next stretch is watched anew.
    context.deactivate()
  }

  /** Nobody computes for it any more, and no loss concerns it. */
  async end(): Promise<void> {
    const { context, writer, echo } = this.#options
    await echo.stopAll()
    // Not awaited: it may be Relocation itself that waits for us.
    call<'Relocation', 'forget'>(context, actor.relocation, 'forget', { run: writer.head.run }).catch(() => undefined)
  }
}
