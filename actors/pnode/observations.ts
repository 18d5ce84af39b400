/** Observations on their way from PNodes to control: many small ones become a few, twice in a second a handful of bytes for each VNode. */
import type { Clock } from '../../runtime/clock.js'
import { SwarmError } from '../../runtime/errors.js'
import { DROP_REASONS, isTraining } from '../../runtime/step-log.js'
import type { Observation } from '../reports.js'
import { CONTENT_REASONS, type FrameSuspicion, SUSPICION_REASONS } from './frame-checks.js'

const OBSERVATIONS_VERSION = 1
/** How long observations are gathered, in ms: half of what a progress display shows. */
const GATHER_MS = 100
/** Why VNodes drop messages; another reason is somebody's who wants to fill control's memory. */
const REASONS: ReadonlySet<unknown> = new Set([...DROP_REASONS, ...CONTENT_REASONS, 'frame.damaged', 'frame.version'])
const SUSPICIONS: ReadonlySet<unknown> = new Set(SUSPICION_REASONS)

type Applied = Observation & { readonly type: 'applied' }
type Restored = Observation & { readonly type: 'restored' }
type Dropped = Observation & { readonly type: 'dropped' }

/** Steps that one VNode applied one after the other. */
export interface AppliedSpan {
  readonly type: 'span'
  readonly run: string
  readonly vnode: string
  readonly term: number
  readonly firstStep: number
  readonly lastStep: number
  readonly busyMs: number
  /** Of all these steps, weighted equally. */
  readonly metrics: { readonly [name: string]: number }
}

/** A span that grows. */
interface Span {
  readonly run: string
  readonly vnode: string
  readonly term: number
  readonly firstStep: number
  lastStep: number
  steps: number
  busyMs: number
  readonly sums: { [name: string]: number }
}

export type Report = AppliedSpan | Restored | (Observation & { readonly type: 'dropped' | 'suspected' })

/** Gathers a PNode's observations and sends them on together. The first step after a restore goes at once: somebody waits for it. */
export class ObservationSender {
  readonly #clock: Clock
  readonly #send: (bytes: Uint8Array) => void
  #reports: Report[] = []
  /** Messages of each VNode that were dropped, by reason: however many, they are told in one line. */
  readonly #dropped = new Map<string, Dropped & { count: number }>()
  readonly #spans = new Map<string, Span>()
  /** VNodes, with their terms, that have been restored and not applied a step since. */
  readonly #fresh = new Set<string>()
  #cancel: (() => void) | undefined

  constructor(clock: Clock, send: (bytes: Uint8Array) => void) {
    this.#clock = clock
    this.#send = send
  }

  observe(observation: Observation): void {
    if (observation.type === 'applied') {
      if (!isTraining(observation.entry)) return
      const key = keyOf(observation)
      const span = this.#spans.get(key)
      if (span) grow(span, observation)
      else this.#spans.set(key, spanFrom(observation))
      if (this.#fresh.delete(key)) return this.flush()
    } else if (observation.type === 'dropped') {
      const { run, vnode, reason, count = 1 } = observation
      const key = `${run} ${vnode} ${reason}`
      this.#dropped.set(key, { ...observation, count: count + (this.#dropped.get(key)?.count ?? 0) })
    } else {
      this.#reports.push(observation)
      if (observation.type === 'restored') this.#fresh.add(keyOf(observation))
    }
    this.#cancel ??= this.#clock.after(GATHER_MS, () => this.flush())
  }

  flush(): void {
    this.#cancel?.()
    this.#cancel = undefined
    const reports = [...this.#reports, ...this.#dropped.values(), ...[...this.#spans.values()].map(spanOf)]
    this.#reports = []
    this.#dropped.clear()
    this.#spans.clear()
    if (reports.length > 0) this.#send(encodeReports(reports))
  }
}

const keyOf = ({ run, vnode, term }: Applied | Restored): string => `${run} ${vnode} ${term}`

function spanFrom(first: Applied): Span {
  const { run, vnode, term, entry, busyMs, metrics } = first
  return { run, vnode, term, firstStep: entry.step, lastStep: entry.step, steps: 1, busyMs, sums: { ...metrics } }
}

function grow(span: Span, { entry, busyMs, metrics }: Applied): void {
  span.lastStep = entry.step
  span.steps++
  span.busyMs += busyMs
  for (const name in metrics) span.sums[name] = (span.sums[name] ?? 0) + metrics[name]
}

function spanOf({ steps, sums, ...span }: Span): AppliedSpan {
  const metrics = Object.fromEntries(Object.entries(sums).map(([name, sum]) => [name, sum / steps]))
  return { type: 'span', ...span, metrics }
}

export function encodeReports(reports: readonly Report[]): Uint8Array {
  return new TextEncoder().encode(JSON.stringify({ v: OBSERVATIONS_VERSION, reports }))
}

/** @throws `frame.damaged`, `frame.version` */
export function decodeReports(bytes: Uint8Array): readonly Report[] {
  let value: { v: number; reports: readonly Report[] }
  try {
    value = JSON.parse(new TextDecoder().decode(bytes))
  } catch (cause) {
    throw new SwarmError('frame.damaged', { what: 'unreadable observations', retryable: true, cause })
  }
  if (value?.v !== OBSERVATIONS_VERSION)
    throw new SwarmError('frame.version', {
      what: 'observations of an unknown version',
      expected: OBSERVATIONS_VERSION,
      got: String(value?.v),
    })
  if (!Array.isArray(value.reports)) throw new SwarmError('frame.damaged', { what: 'observations without reports', retryable: true })
  return value.reports.filter(isReport)
}

function isReport(report: Partial<AppliedSpan> | null): boolean {
  if (typeof report?.run !== 'string' || typeof report.vnode !== 'string') return false
  const { type, firstStep, lastStep, term, metrics, busyMs } = report
  if (String(type) === 'dropped') return isDropped(report)
  if (String(type) === 'suspected') return isSuspicion(report)
  if (String(type) === 'restored') return Number.isSafeInteger(term)
  if (type !== 'span' || ![firstStep, lastStep, term].every(Number.isSafeInteger) || typeof busyMs !== 'number') return false
  // JSON has no NaN: what is not finite arrives as null.
  const isMetric = (value: unknown) => typeof value === 'number' || value === null
  return typeof metrics === 'object' && metrics !== null && Object.values(metrics).every(isMetric)
}

function isDropped(report: object): boolean {
  const { reason, count = 1 } = report as Partial<Dropped>
  return REASONS.has(reason) && Number.isSafeInteger(count) && count > 0
}

function isSuspicion(report: object): boolean {
  const { producer, pnode, term, step, reason } = report as Partial<FrameSuspicion>
  return typeof producer === 'string' && typeof pnode === 'string' && [term, step].every(Number.isSafeInteger) && SUSPICIONS.has(reason)
}
