/** The trace of spot instances that come and go (Parcae, NSDI '24): 11.4 hours, 10 to 32 nodes. */
import { existsSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import type { Fault } from '../test/simulation/faults.js'

export interface Change {
  readonly atMs: number
  readonly isAdded: boolean
  readonly node: string
}

const FILE = 'traces/p3-preemption.csv'

/** In the order of time. @throws if the file is not there */
export function readTrace(): Change[] {
  const folders = [...(process.env.SWARMGRAD_DATA ? [resolve(process.env.SWARMGRAD_DATA)] : []), resolve('data'), resolve('../shared/data')]
  const path = folders.map((folder) => join(folder, FILE)).find(existsSync)
  if (path === undefined) throw new Error(`no ${FILE} in ${folders.join(', ')}: set SWARMGRAD_DATA to the folder that has it`)
  const lines = readFileSync(path, 'utf8').trim().split('\n')
  return lines.map((line) => {
    const [atMs, what, node] = line.trim().split(',')
    return { atMs: Number(atMs), isAdded: what === 'add', node }
  })
}

/** Nodes that are there from the beginning. */
export const firstNodes = (trace: readonly Change[]): string[] =>
  trace.filter(({ atMs, isAdded }) => atMs === 0 && isAdded).map(({ node }) => node)

/** A removal is a crash that nobody is told of; whoever is added later joins. */
export function faultsOf(trace: readonly Change[]): Fault[] {
  return trace
    .filter(({ atMs }) => atMs > 0)
    .map(({ atMs, isAdded, node }) =>
      isAdded ? { atMs, kind: 'join', host: node } : { atMs, kind: 'crash', host: node, returnsMs: Infinity, isSilent: true },
    )
}

/** How many nodes there are, and for how long, in ms: one stretch after the other until the last change. */
export function stretches(trace: readonly Change[]): { readonly fromMs: number; readonly toMs: number; readonly nodes: number }[] {
  const times = [...new Set(trace.map(({ atMs }) => atMs))]
  let nodes = 0
  return times.slice(0, -1).map((fromMs, i) => {
    for (const change of trace) if (change.atMs === fromMs) nodes += change.isAdded ? 1 : -1
    return { fromMs, toMs: times[i + 1], nodes }
  })
}
