/** One row per evaluation, kept with the run: what `run.history()` and `swarmgrad metrics` show. */
import { SwarmError } from '../../runtime/errors.js'
import type { ObjectStore } from '../../runtime/object-store/object-store.js'
import type { Metrics } from '../events.js'
import type { Evaluated } from '../reports.js'

export interface HistoryRow<M extends Metrics = Metrics> {
  /** The step after which it was measured. */
  readonly step: number
  readonly epoch: number
  readonly split: 'validation' | 'test'
  /** Of the network's answer. */
  readonly metrics: M
  /** Of every VNode's own head. */
  readonly vnodes: readonly { readonly vnode: string; readonly metrics: M }[]
}

const HISTORY_VERSION = 1
const prefix = (run: string): string => `runs/${run}/history/`

export async function writeHistory(store: ObjectStore, run: string, row: HistoryRow): Promise<void> {
  const key = `${prefix(run)}${String(row.step).padStart(10, '0')}`
  await store.put(key, new TextEncoder().encode(JSON.stringify({ v: HISTORY_VERSION, ...row })))
}

/** In the order of steps. @throws `store.damaged`, codes of the store */
export async function readHistory(store: ObjectStore, run: string): Promise<HistoryRow[]> {
  const rows: HistoryRow[] = []
  for await (const { key } of store.list(prefix(run))) {
    const { bytes } = await store.get(key)
    try {
      const { v, ...row } = JSON.parse(new TextDecoder().decode(bytes)) as HistoryRow & { v: number }
      if (v === HISTORY_VERSION) rows.push(row)
    } catch (cause) {
      throw new SwarmError('store.damaged', { what: 'unreadable evaluation', where: key, cause })
    }
  }
  return rows
}

/** Sums over samples to means; `accuracy` where answers can be right. */
export function means({ count = 0, correct, ...sums }: Evaluated['sums']): { readonly [name: string]: number } {
  const entries = Object.entries(sums).map(([name, sum]) => [name, sum / count] as const)
  return { ...Object.fromEntries(entries), ...(correct !== undefined && { accuracy: correct / count }), count }
}
