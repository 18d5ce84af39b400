/**
 * Hosts that lie: each is an honest PNode, one of whose seams is not what it seems. They keep within the protocol, so that nothing but what they compute or say gives them away.
 * For tests, and for whoever wants to see one at work (`swarmgrad host … --adversary`, cli/commands/host.ts); nothing else loads them.
 */
import type { ApplyRequest, ApplyResult, Compute } from '../runtime/compute/compute.js'
import { changedCompute } from '../runtime/compute/changed-compute.js'
import { decodeFrame, encodeFrame, type Frame } from '../runtime/frame.js'
import { followed } from '../runtime/followers.js'
import { RandomStream } from '../runtime/random.js'
import { SwarmError } from '../runtime/errors.js'
import { decodeState, encodeState } from '../runtime/state.js'
import type { Seams } from '../actors/pnode/seams.js'
import { copier } from './copier.js'
import { flooder } from './flooder.js'
import { inOrder } from './in-order.js'
import { poisonedSource } from './poisoned-source.js'

/** Takes an honest PNode's seams, and gives those of a liar. */
export type Adversary = (honest: Seams) => Seams

/** A compute in front of another one. */
const before = (inner: Compute, apply: (id: string, request: ApplyRequest) => Promise<ApplyResult>, own: Partial<Compute> = {}): Compute =>
  changedCompute(inner, { apply, ...own })

/** A frame with other outputs, in place. */
function changed(frame: Uint8Array, change: (values: Float32Array, made: Frame) => void): Uint8Array {
  const made = decodeFrame(frame)
  const output = { ...made.output, bytes: made.output.bytes.slice() }
  change(new Float32Array(output.bytes.buffer), made)
  return encodeFrame({ ...made, output }, true)
}

/** It computes honestly, and sends something else. */
const sending =
  (change: (values: Float32Array, made: Frame) => void): Adversary =>
  (honest) => {
    const { compute } = honest
    const apply = async (id: string, request: ApplyRequest) => {
      const made = await compute.apply(id, request)
      return { ...made, frame: changed(made.frame, change) }
    }
    return { ...honest, compute: before(compute, apply) }
  }

/** It computes with other inputs than those that it was sent. */
const reading =
  (change: (input: Uint8Array, known: Map<string, Uint8Array>, key: string) => Uint8Array): Adversary =>
  (honest) => {
    const { compute } = honest
    const known = new Map<string, Uint8Array>()
    const apply = (id: string, request: ApplyRequest) =>
      compute.apply(id, { ...request, inputs: request.inputs.map((input, i) => change(input, known, `${id} ${i}`)) })
    return { ...honest, compute: before(compute, apply) }
  }

/** Outputs × −1000: the sign-flip attack at the strength at which plain averaging breaks. */
const signFlip = sending((values) => {
  for (let i = 0; i < values.length; i++) values[i] *= -1000
})

/** Outputs of the same size, in any direction. */
const randomDirection = sending((values, { header }) => {
  const stream = new RandomStream(header.position, 'lie')
  const norm = Math.sqrt(values.reduce((sum, value) => sum + value * value, 0) / values.length)
  for (let i = 0; i < values.length; i++) values[i] = norm * (2 * stream.uniform() - 1)
})

const nanBomber = sending((values) => {
  values[0] = Number.NaN
})

/** Labels are shifted by one class, for itself and for everybody behind it. */
const labelFlip = reading((input) => {
  const frame = decodeFrame(input)
  const labels = { ...frame.labels, bytes: frame.labels.bytes.slice() }
  const values = new Int32Array(labels.bytes.buffer)
  for (let i = 0; i < values.length; i++) values[i] = (values[i] + 1) % 10
  return encodeFrame({ ...frame, labels }, true)
})

/** It learns from the inputs of the step before; labels, too. */
const otherBatch = reading((input, known, key) => {
  const now = decodeFrame(input)
  const last = known.get(key)
  known.set(key, input)
  if (!last) return input
  const { output, labels } = decodeFrame(last)
  const isSameShape = String(output.shape) === String(now.output.shape)
  return isSameShape ? encodeFrame({ ...now, output, labels }, true) : input
})

/** It applies every second step only; where it does not, it sends what a forward pass gives: its optimizer has nothing to do. */
const skipsOptimizer: Adversary = (honest) => {
  const { compute } = honest
  const apply = async (id: string, request: ApplyRequest) => {
    const { step, evaluation, header } = request
    if (evaluation > 0 || step % 2 === 0) return compute.apply(id, request)
    const { frame, ...made } = await compute.apply(id, { ...request, evaluation: 1, header: { ...header, evaluation: 1 } })
    const answer = decodeFrame(frame)
    return { ...made, frame: encodeFrame({ ...answer, header }, true) }
  }
  return { ...honest, compute: before(compute, apply) }
}

/** Computes nothing after its first step: it sends again what it sent then. */
const lazy: Adversary = (honest) => {
  const { compute } = honest
  const first = new Map<string, Promise<ApplyResult>>()
  const apply = async (id: string, request: ApplyRequest) => {
    if (request.evaluation > 0) return compute.apply(id, request)
    const known = first.get(id) ?? compute.apply(id, request)
    first.set(id, known)
    const made = await known
    const { batch, labels } = decodeFrame(request.inputs[0])
    return { ...made, frame: encodeFrame({ ...decodeFrame(made.frame), header: request.header, batch, labels }, true) }
  }
  const answers = inOrder({ apply, snapshot: (id) => compute.snapshot(id) })
  return { ...honest, compute: before(compute, answers.apply, { snapshot: answers.snapshot }) }
}

/** What it sends lags one step behind what it computes. */
const stale: Adversary = (honest) => {
  const { compute } = honest
  const last = new Map<string, Frame>()
  const apply = async (id: string, request: ApplyRequest) => {
    const made = await compute.apply(id, request)
    const frame = decodeFrame(made.frame)
    const before = last.get(id)
    if (request.evaluation === 0) last.set(id, frame)
    const isFit = before !== undefined && String(before.output.shape) === String(frame.output.shape)
    return isFit ? { ...made, frame: encodeFrame({ ...frame, output: before.output }, true) } : made
  }
  return { ...honest, compute: before(compute, apply) }
}

/** It computes and sends what is right, and says that the state of these machines is something else. */
const forging =
  (isForged: (id: string) => boolean): Adversary =>
  (honest) => {
    const { compute } = honest
    const snapshot = async (id: string) => {
      const blob = await compute.snapshot(id)
      if (!isForged(id)) return blob
      const tensors = decodeState(blob).map((tensor) => ({ ...tensor, values: tensor.values.slice() }))
      const target = tensors.find(({ dtype, values }) => dtype === 'float32' && values.length > 0)
      if (target) target.values[0] += 1
      return encodeState(tensors)
    }
    return { ...honest, compute: before(compute, (id, request) => compute.apply(id, request), { snapshot }) }
  }

/** Who restores from its checkpoints goes on with something else. */
const forger = forging(() => true)

/** As a follower it says of every honest owner that it lies. */
const slanderer = forging((id) => followed(id.split('/')[1]) !== undefined)

/** As a follower it never says anything about a checkpoint. */
const mute: Adversary = (honest) => {
  const { compute } = honest
  const snapshot = (id: string) => (followed(id.split('/')[1]) === undefined ? compute.snapshot(id) : new Promise<never>(() => undefined))
  return { ...honest, compute: before(compute, (id, request) => compute.apply(id, request), { snapshot }) }
}

/** It stops at every tenth step of whatever it has, and says that it found a bug. */
const falseAlarm: Adversary = (honest) => {
  const { compute } = honest
  const apply = (id: string, request: ApplyRequest) => {
    if (request.step % 10 === 9) return Promise.reject(new SwarmError('internal', 'invariant broken: on purpose'))
    return compute.apply(id, request)
  }
  return { ...honest, compute: before(compute, apply) }
}

/** By the name that `--adversary` takes. */
export const ADVERSARIES = {
  'sign-flip': signFlip,
  'random-direction': randomDirection,
  'label-flip': labelFlip,
  'stale-gradient': stale,
  'other-batch': otherBatch,
  lazy,
  'skips-optimizer': skipsOptimizer,
  'nan-bomber': nanBomber,
  forger,
  slanderer,
  mute,
  'false-alarm': falseAlarm,
  copier,
  flooder,
  'poisoned-source': poisonedSource,
} as const satisfies { readonly [name: string]: Adversary }
export type AdversaryName = keyof typeof ADVERSARIES

/** Beside honest hosts they harm nobody but themselves, and nobody says that they lie: they get less and less to do, or are suspected. */
export const HARMLESS: readonly AdversaryName[] = ['mute', 'false-alarm', 'flooder']
