/** How a run is carried out: `runs/<run>/settings`. None of it changes a bit of the result, so a resume may write it anew. */
import { longestWay } from '../../components/feedback.js'
import { withoutUndefined } from '../../components/options.js'
import { canonicalJson } from '../../runtime/canonical-json.js'
import { SwarmError, isSwarmError } from '../../runtime/errors.js'
import { MAX_REPLICAS } from '../../runtime/followers.js'
import type { ObjectStore } from '../../runtime/object-store/object-store.js'
import { checkedConstraints, type Constraints } from './constraints.js'
import { DEFAULT_POISON_LIMITS, type PoisonLimits } from './poison.js'
import type { RunDefinition } from './run-definition.js'

export const RUN_SETTINGS_VERSION = 1

/** When the source asks for a checkpoint. */
export interface CutPolicy {
  /** Steps from one checkpoint to the next, at most. */
  readonly everySteps: number
  /** Time from one checkpoint to the next, at most, in ms. */
  readonly everyMs: number
  /** How far the source may be ahead of the newest manifest, in positions: what retention has room for. */
  readonly maxAhead: number
  /** Steps after which a checkpoint is wanted in any case (a replay that must match recorded ones). */
  readonly atSteps?: readonly number[]
}

export interface RunSettings {
  readonly v: typeof RUN_SETTINGS_VERSION
  /** Steps in flight on every edge: 1 to 1,024. */
  readonly window: number
  readonly cuts: CutPolicy
  /** Followers of each VNode that stand by, 0 to 8. Absent: 0. */
  readonly replicas?: number
  /** How many PNodes apply each VNode's log, of which all have to agree, 2 to 9. Absent: one, which nobody compares. */
  readonly redundancy?: number
  /** Share of the segments of each PNode that somebody else applies as well, above 0, at most 1. Absent: none. */
  readonly audits?: number
  /** Nobody has asked for these audits. */
  readonly areAuditsDefault?: true
  /** Where its VNodes may be. Absent: anywhere. */
  readonly constraints?: Constraints
  /** Those that differ from the defaults. */
  readonly poison?: Partial<PoisonLimits>
}

/** When checkpoints are taken. None of it changes the result. */
export interface CheckpointOptions {
  /** Default 200. */
  readonly everySteps?: number
  /** Default 30. */
  readonly everySeconds?: number
  /** Outputs that a VNode keeps between two checkpoints, in bytes. Default 128 MiB, and in any case twice as many outputs as VNodes stand in a row. */
  readonly retentionBytes?: number
}

/** 200 steps are seconds of work to replay; 128 MiB are room for hundreds of steps of a wide layer, and little beside tfjs itself. */
const DEFAULT_CHECKPOINT = { everySteps: 200, everySeconds: 30 } as const
const DEFAULT_RETENTION_BYTES = 128 * 2 ** 20
/** A commit carries four bytes for each step since the one before, and has to stay a short message. */
const MAX_STEPS_PER_CUT = 8_192

/** What whoever starts a run may set. */
export interface ExecutionOptions extends Partial<PoisonLimits> {
  readonly window: number
  readonly checkpoint?: CheckpointOptions
  readonly atSteps?: ReadonlySet<number>
  readonly replicas?: number
  readonly redundancy?: number
  readonly audits?: number
  readonly constraints?: Constraints
}

/** The share of segments that is audited on a cluster, unless a trainer says another. */
export const DEFAULT_AUDITS = 0.03

export const settingsKey = (run: string): string => `runs/${run}/settings`

/** Cuts as often as asked, and before any VNode's kept outputs outgrow their budget. @throws `usage` */
export function runSettings(
  { network, training, timetable }: RunDefinition,
  { window, checkpoint = {}, atSteps, replicas = 0, redundancy = 1, audits = 0, constraints, ...limits }: ExecutionOptions,
): RunSettings {
  const { everySteps, everySeconds, retentionBytes = DEFAULT_RETENTION_BYTES } = { ...DEFAULT_CHECKPOINT, ...withoutUndefined(checkpoint) }
  const isValid = Number.isSafeInteger(everySteps) && everySteps >= 1 && everySeconds > 0 && retentionBytes >= 0
  if (!isValid)
    throw new SwarmError('usage', {
      what: 'checkpoint options out of range',
      expected: 'everySteps ≥ 1, everySeconds > 0, retentionBytes ≥ 0',
      got: JSON.stringify(checkpoint),
    })
  const bytesOf = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 4 * training.batchSize)
  // Derivatives that go back are as large as what they are of, and are kept as long.
  const largest = Math.max(
    ...network.vnodes.map(({ outputShape, inputShapes, feedback }) =>
      feedback?.of === 'gradients' && feedback.to.length > 0
        ? [outputShape, ...inputShapes].reduce((sum, shape) => sum + bytesOf(shape), 0)
        : bytesOf(outputShape),
    ),
  )
  const affordable = Math.min(Math.floor(retentionBytes / largest), MAX_STEPS_PER_CUT)
  // An evaluation cannot be cut in two: there is always room for one, and for what is in flight.
  const least =
    Math.max(timetable.evaluationBatches, timetable.finalBatches) + (timetable.epochDrains ?? timetable.drains ?? 0) + 2 * window + 2
  // The first VNode is a whole row ahead of the last when all work at once, and while the last comes to one cut there is another to run to.
  const inARow = checkpoint.retentionBytes === undefined ? 2 * longestWay(network.vnodes) : 0
  return {
    v: RUN_SETTINGS_VERSION,
    window,
    cuts: {
      everySteps: Math.min(everySteps, MAX_STEPS_PER_CUT),
      everyMs: everySeconds * 1000,
      maxAhead: Math.max(affordable, least + inARow),
      ...(atSteps && { atSteps: [...atSteps] }),
    },
    ...(checked('replicas', replicas, 0, MAX_REPLICAS) > 0 && { replicas }),
    ...(checked('redundancy', redundancy, 1, MAX_REPLICAS + 1) > 1 && { redundancy }),
    ...(checkedShare(audits, Math.max(replicas, redundancy - 1)) > 0 && { audits }),
    ...checkedConstraints(network, constraints),
    ...checkedLimits(limits),
  }
}

/**
 * As `runSettings`, for a cluster, where runs are audited without being asked for: but where whoever audits would be one follower too many.
 * @param before of the run that is resumed: what nobody says again stays
 */
export function clusterSettings(definition: RunDefinition, options: ExecutionOptions, before: RunSettings | undefined): RunSettings {
  const { replicas = 0, redundancy = 1 } = options
  const byDefault = Math.max(replicas, redundancy - 1) < MAX_REPLICAS ? DEFAULT_AUDITS : 0
  const areAuditsDefault = options.audits === undefined && (!before || before.areAuditsDefault === true)
  const audits = options.audits ?? (areAuditsDefault ? byDefault : before?.audits)
  const settings = runSettings(definition, { ...options, audits })
  return areAuditsDefault && settings.audits ? { ...settings, areAuditsDefault } : settings
}

/** A head names every skip, and has to stay a short object. */
const MAX_DEAD_LETTERS = 1_000
const MAX_DELIVERY_ATTEMPTS = 100

function checked(what: string, value: number, least: number, most: number): number {
  if (Number.isSafeInteger(value) && value >= least && value <= most) return value
  throw new SwarmError('usage', { what, expected: `an integer from ${least} to ${most}`, got: String(value) })
}

function checkedShare(audits: number, followers: number): number {
  if (audits > 0 && followers >= MAX_REPLICAS) {
    const expected = `fewer than ${MAX_REPLICAS} followers of each VNode: who audits is one more`
    throw new SwarmError('usage', { what: 'audits', expected, got: String(followers) })
  }
  if (audits >= 0 && audits <= 1) return audits
  throw new SwarmError('usage', { what: 'audits', expected: 'a share from 0 to 1', got: String(audits) })
}

function checkedLimits({ maxDeadLetters, maxDeliveryAttempts }: Partial<PoisonLimits> = {}): Pick<RunSettings, 'poison'> {
  if (maxDeadLetters !== undefined) checked('maxDeadLetters', maxDeadLetters, 0, MAX_DEAD_LETTERS)
  if (maxDeliveryAttempts !== undefined) checked('maxDeliveryAttempts', maxDeliveryAttempts, 1, MAX_DELIVERY_ATTEMPTS)
  if (maxDeadLetters === undefined && maxDeliveryAttempts === undefined) return {}
  return {
    poison: { ...(maxDeadLetters !== undefined && { maxDeadLetters }), ...(maxDeliveryAttempts !== undefined && { maxDeliveryAttempts }) },
  }
}

/** How long a step of this run is tried. */
export async function poisonLimits(store: ObjectStore, run: string): Promise<PoisonLimits> {
  const settings = await settingsIfAny(store, run)
  return { ...DEFAULT_POISON_LIMITS, ...settings?.poison }
}

/** As of its last start. Settings that cannot be read are no reason to stop a run that is under way. @throws codes of the store */
export function settingsIfAny(store: ObjectStore, run: string): Promise<RunSettings | undefined> {
  return readSettings(store, run).catch((error: unknown) => {
    if (!isSwarmError(error) || error.retryable) throw error
    return undefined
  })
}

export async function writeSettings(store: ObjectStore, run: string, settings: RunSettings): Promise<void> {
  await store.put(settingsKey(run), new TextEncoder().encode(canonicalJson(settings)))
}

/** @throws `store.not-found`, `store.damaged`, `definition.version` */
export async function readSettings(store: ObjectStore, run: string): Promise<RunSettings> {
  const { bytes } = await store.get(settingsKey(run))
  let settings: RunSettings
  try {
    settings = JSON.parse(new TextDecoder().decode(bytes))
  } catch (cause) {
    throw new SwarmError('store.damaged', { what: 'unreadable settings', where: settingsKey(run), cause })
  }
  if (settings?.v !== RUN_SETTINGS_VERSION) {
    throw new SwarmError('definition.version', {
      what: 'settings of another version',
      where: settingsKey(run),
      expected: RUN_SETTINGS_VERSION,
      got: String(settings?.v),
    })
  }
  return settings
}
