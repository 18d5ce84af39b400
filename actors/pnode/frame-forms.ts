/** What the frames that a VNode gets must look like, as its run's definition says: whoever makes others is not its producer, or lies. */
import type { Shape } from '../../components/define.js'
import { SOURCE } from '../../components/definition.js'
import { sameShape } from '../../components/shapes.js'
import { labelForm } from '../../components/targets.js'
import { type AnyFrame, MARK, type TensorBytes } from '../../runtime/frame.js'
import { Timetable } from '../../runtime/timetable.js'
import { type RunDefinition, producersOf } from '../run/run-definition.js'

/** What is wrong with the form of a frame. */
export type FormFault = 'step' | 'tensors' | 'dtype' | 'shape'

/** Marks that the source may put on a step as it likes: they change no result. */
const FREE_MARKS = MARK.cut | MARK.pause

/** What one tensor must be. @param shape undefined: the definition does not say */
interface Form {
  readonly dtype: TensorBytes['dtype']
  readonly shape: Shape | undefined
}

export class FrameForms {
  readonly #definition: Pick<RunDefinition, 'network' | 'training'>
  readonly #timetable: Timetable
  /** Of one sample, by producer. */
  readonly #outputs = new Map<string, Shape>()
  /** Of one sample, by who gives it, then by name; of a shared head as it is. */
  readonly #feedback = new Map<string, ReadonlyMap<string, Shape | undefined>>()
  readonly #isShared: boolean
  readonly #lag: number

  /** @param vnode the one that gets the frames */
  constructor({ network, training, timetable }: Pick<RunDefinition, 'network' | 'training' | 'timetable'>, vnode: string) {
    this.#definition = { network, training }
    this.#timetable = new Timetable(timetable)
    const shapes = new Map<string, Shape>([
      [SOURCE, network.input],
      ...network.vnodes.map(({ id, outputShape }) => [id, outputShape] as const),
    ])
    const own = network.vnodes.find(({ id }) => id === vnode)
    for (const producer of producersOf(network, vnode))
      if (own?.inputs.includes(producer)) this.#outputs.set(producer, shapes.get(producer)!)
    const { of, from = [], lag = 1 } = own?.feedback ?? {}
    this.#isShared = of === 'head'
    this.#lag = lag
    for (const giver of from) {
      const { to = [], parameter, shape } = network.vnodes.find(({ id }) => id === giver)?.feedback ?? {}
      const names = this.#isShared
        ? parameter === undefined
          ? []
          : [[parameter, shape] as const]
        : to.map((id) => [id, shapes.get(id)] as const)
      this.#feedback.set(giver, new Map(names))
    }
  }

  /** The first fault of a frame that may come from this producer; undefined: none. */
  faultOf({ header, tensors }: AnyFrame): FormFault | undefined {
    const { vnode, kind, position, step, evaluation, marks } = header
    if (kind === 'feedback') return this.#faultOfFeedback(header, tensors)
    if (position < 1 || position > this.#timetable.totalPositions) return 'step'
    const planned = this.#timetable.at(position)
    if (planned.step !== step || planned.evaluation !== evaluation || ((planned.marks ^ marks) & ~FREE_MARKS) !== 0) return 'step'
    if (kind === 'tombstone') return undefined
    const shape = this.#outputs.get(vnode)
    if (!shape) return 'tensors'
    const batch = this.#batchOf(tensors, marks)
    if (batch === undefined) return 'shape'
    return faultIn(
      tensors,
      new Map<string, Form>([
        ['output', { dtype: 'float32', shape: [batch, ...shape] }],
        ['labels', labelForm(this.#definition.network, batch)],
      ]),
    )
  }

  /** For a position it is what was given `lag` positions before, by then at the latest. None is as good as some. */
  #faultOfFeedback({ vnode, position, step }: AnyFrame['header'], tensors: AnyFrame['tensors']): FormFault | undefined {
    const givenAt = position - this.#lag
    const latest = givenAt < 1 ? 0 : givenAt > this.#timetable.totalPositions ? -1 : this.#timetable.at(givenAt).step
    if (step > latest) return 'step'
    if (tensors.length === 0) return undefined
    const names = this.#feedback.get(vnode)
    if (!names) return 'tensors'
    const { batchSize } = this.#definition.training
    const batch = this.#isShared ? [] : [Math.min(batchSize, tensors[0][1].shape[0] ?? 0)]
    return faultIn(
      tensors,
      new Map(Array.from(names, ([name, shape]): [string, Form] => [name, { dtype: 'float32', shape: shape && [...batch, ...shape] }])),
    )
  }

  /** Samples of an output: none in a drain, else one to a whole batch; undefined: it cannot be. */
  #batchOf(tensors: AnyFrame['tensors'], marks: number): number | undefined {
    const batch = tensors.find(([name]) => name === 'output')?.[1].shape[0] ?? 0
    const [least, most] = marks & MARK.drain ? [0, 0] : [1, this.#definition.training.batchSize]
    return batch >= least && batch <= most ? batch : undefined
  }
}

function faultIn(tensors: AnyFrame['tensors'], forms: ReadonlyMap<string, Form>): FormFault | undefined {
  if (tensors.length !== forms.size || new Set(tensors.map(([name]) => name)).size !== forms.size) return 'tensors'
  let fault: FormFault | undefined
  for (const [name, { dtype, shape }] of tensors) {
    const form = forms.get(name)
    if (!form) return 'tensors'
    if (dtype !== form.dtype) return 'dtype'
    if (form.shape && !sameShape(shape, form.shape)) fault = 'shape'
  }
  return fault
}
