/** Tries a step that was given up once more, on this machine: says whether it would work now, and changes nothing. */
import { backendOfClass } from '../components/backends.js'
import { datasetFromShards, shardKey } from '../components/datasets/index.js'
import type { ErrorRecord } from '../runtime/errors.js'
import { readHead } from '../runtime/head-store.js'
import type { ObjectStore } from '../runtime/object-store/object-store.js'
import type { DeadLetter } from './run/dead-letters.js'
import { lineageOf, readDefinition } from './run/run-definition.js'
import { scratchRun } from './scratch-run.js'
import { local, resume } from './train.js'

export interface LetterReplay {
  /** Step of the checkpoint that it was replayed from; 0: from the seed, since no checkpoint before the step is kept. */
  readonly fromStep: number
  /** Undefined: the step works now. */
  readonly error: ErrorRecord | undefined
}

export interface LetterReplayOptions {
  /** False: everything on the calling thread, which a step that ends its worker would end. Default true. */
  readonly threads?: boolean
  /** A step that takes longer counts as hung, in ms. Default 60,000. */
  readonly stepDeadlineMs?: number
  readonly signal?: AbortSignal
  readonly onProgress?: (step: number, total: number) => void
}

/**
 * Replays the run in memory up to the step, from the newest checkpoint before it that is kept, with the same bits as then; what the VNode, or one that
 * it reads from, has skipped there is tried.
 * @throws `run.not-found`, `store.damaged`, `checkpoint.class` (the checkpoint was written by another kind of machine), `aborted`
 */
export async function replayDeadLetter(
  store: ObjectStore,
  { run, vnode, position, step }: DeadLetter,
  { threads = true, stepDeadlineMs, signal, onProgress }: LetterReplayOptions = {},
): Promise<LetterReplay> {
  const [{ head }, definition] = await Promise.all([readHead(store, run), readDefinition(store, run)])
  const manifest = head.manifests.find((ref) => ref.position < position)
  // Those before it have to have applied the step, or it would not be tried; what others have given up there says nothing of it.
  const lineage = new Set(lineageOf(definition.network, vnode))
  const skips = (head.skips ?? []).filter((skip) => skip.position !== position || !lineage.has(skip.vnode))
  const beginning = { generation: head.generation, manifests: manifest ? [manifest] : [], skips }
  const scratch = await scratchRun(store, run, definition, beginning)
  const dataset = await datasetFromShards(definition.data, async (sha256) => (await store.get(shardKey(sha256))).bytes)
  const stop = new AbortController()
  const pause = new AbortController()
  let isApplied = false
  let error: ErrorRecord | undefined
  const replay = resume(
    run,
    {
      on: local({
        pnodes: 1,
        threads,
        backend: backendOfClass(head.computeClass),
        ...(stepDeadlineMs !== undefined && { stepDeadlineMs }),
      }),
      store: scratch,
      signal: AbortSignal.any([...(signal ? [signal] : []), stop.signal, pause.signal]),
      checkpoint: { everySteps: 1_000_000 },
      // Once is enough to know.
      maxDeliveryAttempts: 1,
      maxDeadLetters: skips.length + 1,
    },
    {
      dataset,
      onObservation(observation) {
        if (observation.type !== 'applied' || observation.vnode !== vnode || observation.entry.position !== position) return
        isApplied = true
        // Its refinement may fail yet: it is done before the checkpoint that the run pauses with.
        if (definition.training.refinement) pause.abort()
        else stop.abort()
      },
    },
  )
  for await (const event of replay.events(stop.signal)) {
    if (event.type === 'progress') onProgress?.(Math.min(event.step, step), step)
    if (event.type === 'deadLettered' ? !lineage.has(event.vnode) : event.type !== 'failed') continue
    error = (event as { readonly error: ErrorRecord }).error
    stop.abort()
  }
  // It has said what it was asked; how it ends is no news, unless it never came there.
  await replay.result.catch((reason: unknown) => {
    if (!isApplied && !error) throw reason
  })
  signal?.throwIfAborted()
  return { fromStep: manifest?.step ?? 0, error }
}
