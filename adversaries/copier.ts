/**
 * A follower that computes nothing where it need not, and says what others have said. Its outputs are those that readers on the same machine are sent; its
 * state is the one that the owner has just stored, which it looks for in the object store. Where it may not look there it says nothing at all.
 */
import type { ApplyRequest, ApplyResult, Compute } from '../runtime/compute/compute.js'
import { changedCompute } from '../runtime/compute/changed-compute.js'
import { isSwarmError } from '../runtime/errors.js'
import { followed } from '../runtime/followers.js'
import { decodeFrame, encodeFrame, type Frame } from '../runtime/frame.js'
import { decodeState, type StateTensor } from '../runtime/state.js'
import type { Seams } from '../actors/pnode/seams.js'
import type { VNodeMachineDefinition } from '../components/definition.js'
import { inOrder } from './in-order.js'

/** How often it looks for a state, in ms, and how many times. */
const [LOOK_MS, MOST_LOOKS] = [50, 400]

/** Frames that it remembers. */
const MOST_SEEN = 2_000

/** Where something stands that it follows. */
interface Following {
  readonly run: string
  readonly generation: number
  /** The last one that it was asked to apply. */
  readonly step: number
}

export function copier(honest: Seams): Seams {
  const { compute, store, clock } = honest
  /** What machines here read, by their ids. */
  const inputs = new Map<string, readonly string[]>()
  const seen = new Map<string, Frame>()
  const waiting = new Map<string, (frame: Frame) => void>()
  const following = new Map<string, Following>()
  const keyOf = ({ run, generation, vnode, position }: Frame['header']) => `${run}/${generation}/${vnode}/${position}`

  const look = (frame: Frame) => {
    const key = keyOf(frame.header)
    seen.set(key, frame)
    if (seen.size > MOST_SEEN) for (const [oldest] of [...seen].slice(0, MOST_SEEN / 2)) seen.delete(oldest)
    waiting.get(key)?.(frame)
    waiting.delete(key)
  }
  const isRead = (run: string, vnode: string) => [...inputs].some(([id, read]) => id.startsWith(`${run}/`) && read.includes(vnode))
  const sent = (header: Frame['header']) =>
    new Promise<Frame>((resolve) => {
      const known = seen.get(keyOf(header))
      if (known) resolve(known)
      else waiting.set(keyOf(header), resolve)
    })

  const load: Compute['load'] = (id, definition, blob, options) => {
    inputs.set(id, (definition as VNodeMachineDefinition).vnode.inputs)
    return compute.load(id, definition, blob, options)
  }
  const unload: Compute['unload'] = (id) => {
    inputs.delete(id)
    following.delete(id)
    return compute.unload(id)
  }
  const apply = async (id: string, request: ApplyRequest): Promise<ApplyResult> => {
    const { header, step } = request
    for (const input of request.inputs) look(decodeFrame(input))
    const owner = followed(id.split('/')[1])
    if (owner === undefined || request.feedbackHeader || !isRead(header.run, owner)) return compute.apply(id, request)
    following.set(id, { run: header.run, generation: header.generation, step })
    const { output, labels, batch } = await sent({ ...header, vnode: owner })
    return { frame: encodeFrame({ header, output, labels, batch }, true), metrics: {}, busyMs: 0 }
  }
  const snapshot: Compute['snapshot'] = async (id) => {
    // As of now: the next step may be asked for before the answer is there.
    const it = following.get(id)
    const own = await compute.snapshot(id)
    return it ? ((await stolen({ store, clock }, it, decodeState(own))) ?? new Promise<never>(() => undefined)) : own
  }
  return { ...honest, compute: changedCompute(compute, { load, unload, ...inOrder({ apply, snapshot }) }) }
}

/** The state after a step that is most like what its own was. */
async function stolen(
  { store, clock }: Pick<Seams, 'store' | 'clock'>,
  { run, generation, step }: Following,
  own: readonly StateTensor[],
): Promise<Uint8Array | undefined> {
  for (let looks = 0; looks < MOST_LOOKS; looks++) {
    const alike: { readonly bytes: Uint8Array; readonly far: number }[] = []
    try {
      for await (const { key } of store.list(`runs/${run}/blobs/${generation}/`)) {
        const { bytes } = await store.get(key)
        const tensors = decodeState(bytes)
        if (stepOf(tensors) === step) alike.push({ bytes, far: distance(own, tensors) })
      }
    } catch (error) {
      // Not for hosts.
      if (isSwarmError(error, 'store.denied')) return undefined
      throw error
    }
    const [nearest] = alike.toSorted((a, b) => a.far - b.far)
    if (nearest && nearest.far < Infinity) return nearest.bytes
    await clock.sleep(LOOK_MS)
  }
  return undefined
}

const stepOf = (tensors: readonly StateTensor[]): number | undefined => tensors.find(({ name }) => name === 'step')?.values[0]

/** Of two states of one VNode some steps apart it is small; Infinity: they are of different networks. */
function distance(a: readonly StateTensor[], b: readonly StateTensor[]): number {
  let sum = 0
  for (const { name, values, dtype } of a) {
    const other = b.find((tensor) => tensor.name === name)
    if (other?.values.length !== values.length) return Infinity
    if (dtype === 'float32' && name.startsWith('layers/'))
      for (const [i, value] of values.entries()) sum += Math.abs(value - other.values[i])
  }
  return sum
}
