/** Small networks whose VNodes chain what they consume, and what can be said about a run of them afterwards. */
import type { Layer } from '../../components/define.js'
import { datasets } from '../../components/datasets/index.js'
import { dense, flatten, leakyRelu } from '../../components/layers/index.js'
import { block, categorical, network, type Network } from '../../components/network.js'
import { pred } from '../../components/rules/index.js'
import type { TrainingOptions } from '../../actors/prepare.js'
import { readManifest } from '../../actors/run/checkpoints.js'
import { keys } from '../../runtime/head.js'
import { readHead } from '../../runtime/head-store.js'
import { memoryObjects, memoryStore } from '../../runtime/object-store/memory-store.js'
import type { MemoryObjects } from '../../runtime/object-store/memory-store.js'
import type { ObjectStore } from '../../runtime/object-store/object-store.js'
import { decodeState } from '../../runtime/state.js'
import { chained, chainedSum, paced } from './chained-block.js'

const TASK = { input: [28, 28, 1], target: categorical(10) } as const
const UNITS = 16

/** Layers without effect on what is computed, before those of each VNode. */
type More = () => readonly Layer[]
const NOTHING: More = () => []

const part = (...before: readonly Layer[]): Layer => block(...before, chained(), dense(UNITS), leakyRelu())
const join = (...before: readonly Layer[]): Layer => block(chainedSum(), ...before, dense(UNITS), leakyRelu())

/** Three VNodes, one after another. */
export const chainWith = (more: More): Network => network(TASK, [part(flatten(), ...more()), part(...more()), part(...more())])

/** Five VNodes: it branches twice and joins three edges at once. */
export const branchingWith = (more: More): Network =>
  network(TASK, (x) => {
    const a = part(flatten(), ...more())(x)
    const b = part(...more())(a)
    const c = part(...more())(a)
    return part(...more())(join(...more())(b, c, a))
  })

export const chain: Network = chainWith(NOTHING)
export const branching: Network = branchingWith(NOTHING)

/** `branching`, in which each VNode but the first needs at least `ms` for a step: whenever one looks, they are at work on one. */
export const slowBranching = (ms: number): Network =>
  network(TASK, (x) => {
    const a = part(flatten())(x)
    const b = part(paced({ ms }))(a)
    const c = part(paced({ ms }))(a)
    const joined = block(chainedSum(), paced({ ms }), dense(UNITS), leakyRelu())(b, c, a)
    return part(paced({ ms }))(joined)
  })

/** 3 epochs of 20 steps, with an evaluation of two batches after each. */
export const TRAINING = {
  data: datasets.glyphs({ train: 640, test: 64 }),
  batchSize: 32,
  epochs: 3,
  rule: pred(),
} as const satisfies TrainingOptions
export const TOTAL_STEPS = 60

/** The chains in the newest checkpoint of a run, by VNode, as hex. */
export async function chainsOf(store: ObjectStore, run: string): Promise<{ readonly [vnode: string]: string }> {
  const { head } = await readHead(store, run)
  const { vnodes } = await readManifest(store, head.manifests[0])
  const chains: { [vnode: string]: string } = {}
  for (const { vnode, hash } of vnodes) {
    const { bytes } = await store.get(keys.blob(run, head.manifests[0].generation, hash))
    const found = decodeState(bytes, hash).find(({ name }) => name.endsWith('/chain'))
    chains[vnode] = Buffer.from(found?.values.buffer ?? new ArrayBuffer(0)).toString('hex')
  }
  return chains
}

/** Other objects with the same content: what a crash at this moment leaves. */
export function copyObjects({ entries, puts }: MemoryObjects): MemoryObjects {
  return Object.assign(memoryObjects(), { entries: new Map(entries), puts })
}

/** Told of every write that is about to begin, or has just ended. Writes go on when `look` resolves. */
export function watchedStore(inner: ObjectStore, look: (key: string, when: 'before' | 'after') => Promise<void> | void): ObjectStore {
  return {
    get: (key, options) => inner.get(key, options),
    async put(key, bytes, options) {
      const own = bytes.slice()
      await look(key, 'before')
      const result = await inner.put(key, own, options)
      await look(key, 'after')
      return result
    },
    delete: (key, options) => inner.delete(key, options),
    list: (prefix, options) => inner.list(prefix, options),
    close: () => inner.close(),
  }
}

/** A memory store and the objects under it. */
export function openObjects(objects: MemoryObjects = memoryObjects()): { readonly store: ObjectStore; readonly objects: MemoryObjects } {
  return { store: memoryStore({ objects }), objects }
}
