/** Events as sentences; what happens all the time has none. */
import type { RunEvent } from '../../actors/events.js'
import { count, decimal, duration, percent } from './format.js'

/** What a person is told; undefined: nothing. */
export function sentenceOf(event: RunEvent, isVerbose = false): string | undefined {
  switch (event.type) {
    case 'started':
      return event.step === 0
        ? `started: ${count(event.totalSteps)} steps of ${event.batchSize} samples, ${event.epochs} epochs`
        : `goes on after step ${event.step} of ${count(event.totalSteps)}`
    case 'placed':
      return isVerbose ? `${event.vnode} placed on ${event.pnode}, term ${event.term}: ${event.reason}` : undefined
    case 'checkpoint':
      return `checkpoint at step ${count(event.step)}`
    case 'evaluated': {
      const { accuracy, loss } = event.metrics
      const result = accuracy === undefined ? `loss ${decimal(loss)}` : `${percent(accuracy)}, loss ${decimal(loss)}`
      return `epoch ${event.epoch}: ${event.split} ${result}`
    }
    case 'stalled': {
      const { vnode, step, averageLoss, bestLoss } = event
      return `${vnode} stalls at step ${count(step)} (loss ${decimal(averageLoss)}, best ${decimal(bestLoss)}): ${doneAbout(event)}`
    }
    case 'joined':
      return `${event.pnode} joined (${event.gflops.toFixed(1)} GFLOP/s)`
    case 'rated': {
      const { pnode, gflops, saidGflops, state, reason } = event
      if (gflops >= saidGflops) return `${pnode} is as fast as it says (${gflops.toFixed(1)} GFLOP/s)`
      const end = state === 'observer' ? '; it gets no VNodes' : ''
      return `${pnode} is taken for ${gflops.toFixed(1)} GFLOP/s, not ${saidGflops.toFixed(1)} as it says: ${reason}${end}`
    }
    case 'lost': {
      const what = event.what === 'worker' ? `worker of ${event.pnode}` : event.pnode
      if (event.what === 'standstill') return `${event.vnodes.join(', ')} must move from ${event.pnode}: ${event.reason}`
      const moves = event.vnodes.length > 0 ? `; ${event.vnodes.join(', ')} must move` : ''
      return `${what} lost (${event.reason})${moves}`
    }
    case 'relocated': {
      const where = event.from === event.to ? `restored on ${event.to}` : `${event.from} → ${event.to}`
      const replay = `${count(event.stepsReplayed)} steps replayed in ${duration(event.caughtUpMs - event.firstStepMs)}`
      const divergence = event.isDivergence ? '; a divergence: a GPU does not replay to the same bits' : ''
      return `${event.vnode}: ${where} in ${duration(event.firstStepMs)}, ${replay}${divergence}`
    }
    case 'waiting':
      return `waits: ${event.reason}`
    case 'deadLettered': {
      const place = event.evaluation === 0 ? `step ${event.step}` : `evaluation ${event.evaluation} after step ${event.step}`
      return `${event.vnode}: ${place} is given up, dead letter ${event.id}: ${event.error.message}`
    }
    case 'rolledBack':
      return `rolled back to step ${event.step}, generation ${event.generation}: ${event.reason}`
    case 'dropped':
      return `${count(event.count)} events were not shown`
    case 'paused':
      return `paused after step ${count(event.step)}`
    case 'suspected': {
      const { vnode, pnode, step, reason, by } = event
      return `${pnode} is under suspicion: what it says of ${vnode} at step ${count(step)} is odd (${reason}), says ${by}`
    }
    case 'audited':
      if (!isVerbose) return undefined
      return `${event.by.join(', ')} found ${event.vnode} of ${event.pnode} to be right up to step ${count(event.step)}`
    case 'unaudited':
      return `nobody could audit ${event.vnode} of ${event.pnode} up to step ${count(event.step)}: ${event.reason}`
    case 'convicted': {
      const lie = event.for === 'claim' ? `what it gives for ${event.vnode} is wrong` : `what it says of ${event.vnode} is wrong`
      return `${event.pnode} is out: ${lie} at step ${count(event.step)}, by the word of ${event.by === 'panel' ? 'a panel' : 'an arbiter'}`
    }
    case 'warning':
      return `warning: ${event.error.message}`
    case 'failed':
      return `failed: ${event.error.message}`
    case 'done':
      return `done after ${count(event.steps)} steps`
    case 'progress':
    case 'snapshot':
      return undefined
  }
}

/** What is news to somebody who has watched from the beginning. */
export class News {
  readonly #isVerbose: boolean
  #hasStarted = false
  /** Why nobody can audit the work of a PNode, by its name: that stays so, segment after segment, where a cluster is of one owner. */
  readonly #unaudited = new Map<string, string>()

  constructor(isVerbose: boolean) {
    this.#isVerbose = isVerbose
  }

  /** As `sentenceOf`. */
  sentenceOf(event: RunEvent): string | undefined {
    if (event.type === 'started') this.#hasStarted = true
    return this.#isVerbose || this.#isNew(event) ? sentenceOf(event, this.#isVerbose) : undefined
  }

  #isNew(event: RunEvent): boolean {
    // All join at the beginning; later it is news.
    if (event.type === 'joined') return this.#hasStarted
    if (event.type === 'audited') this.#unaudited.delete(event.pnode)
    if (event.type !== 'unaudited') return true
    const isKnown = this.#unaudited.get(event.pnode) === event.reason
    this.#unaudited.set(event.pnode, event.reason)
    return !isKnown
  }
}

const YELLOW: ReadonlySet<RunEvent['type']> = new Set(['relocated', 'dropped', 'warning', 'waiting', 'rated', 'stalled', 'suspected'])

/** How bad it is, as the name of a colour. */
export function colourOf({ type }: RunEvent): 'red' | 'yellow' | 'green' | 'white' {
  if (type === 'lost' || type === 'failed' || type === 'rolledBack' || type === 'deadLettered' || type === 'convicted') return 'red'
  if (YELLOW.has(type)) return 'yellow'
  if (type === 'evaluated' || type === 'done') return 'green'
  return 'white'
}

/** What a VNode that stalls has done. */
function doneAbout({ action, rate }: RunEvent & { readonly type: 'stalled' }): string {
  if (action === 'alert') return 'it goes on as it is'
  return action === 'resetHead' ? 'its head begins anew' : `it goes on with ${percent(rate)} of the learning rate`
}
