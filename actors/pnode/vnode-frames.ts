/** Headers of what a VNode's machine makes, and the frames that need no machine. */
import type { FeedbackDefinition } from '../../components/definition.js'
import type { ApplyRequest } from '../../runtime/compute/compute.js'
import { framesGiven } from '../../runtime/feedback.js'
import { type Feedback, type FrameHeader, batchOf, encodeFeedback, encodeTombstone } from '../../runtime/frame.js'
import type { Entry } from '../../runtime/step-log.js'

/** Who makes them, under which grant. */
export type Origin = Pick<FrameHeader, 'run' | 'vnode' | 'generation' | 'term'>

/** What an entry gives. */
export interface Made {
  readonly frame: Uint8Array
  /** What goes against the graph; absent: nobody gets any from here. */
  readonly feedback?: Uint8Array
}

export class VNodeFrames {
  readonly #origin: () => Origin
  /** How much later what it gives against the graph is read; 0: it gives nothing. */
  readonly #lag: number

  readonly #isCompared: boolean

  /** @param isCompared whether others look at what it makes */
  constructor(feedback: FeedbackDefinition | undefined, isCompared: boolean, origin: () => Origin) {
    this.#origin = origin
    this.#isCompared = isCompared
    this.#lag = feedback && feedback.to.length > 0 ? feedback.lag : 0
  }

  /** What the compute is asked for, but for what goes in. */
  request(entry: Entry): Pick<ApplyRequest, 'step' | 'evaluation' | 'header' | 'feedbackHeader' | 'isCompared'> {
    const { step, evaluation } = entry
    const header = { kind: 'output', ...entry, ...this.#origin() } as const
    return { step, evaluation, header, isCompared: this.#isCompared, ...(this.#lag > 0 && { feedbackHeader: this.#feedbackHeader(entry) }) }
  }

  /** Of an entry that is skipped. */
  tombstone(entry: Entry, inputs: readonly Uint8Array[]): Made {
    const header = { kind: 'tombstone', ...entry, ...this.#origin() } as const
    const frame = encodeTombstone({ header, batch: batchOf(inputs[0]) })
    return { frame, ...(this.#lag > 0 && { feedback: encodeFeedback({ header: this.#feedbackHeader(entry), tensors: {} }, true) }) }
  }

  /** What was given before a checkpoint, for the positions after it. */
  given(state: Uint8Array | undefined, position: number): Uint8Array[] {
    return framesGiven(state, this.#lag, { ...this.#origin(), position })
  }

  /** The same as that of what is made again from a checkpoint (`given`), which does not know of which entry it was. */
  #feedbackHeader(entry: Entry): Feedback['header'] {
    return { kind: 'feedback', ...entry, position: entry.position + this.#lag, evaluation: 0, marks: 0, ...this.#origin() }
  }
}
