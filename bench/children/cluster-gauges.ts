/** What a run shows of its speed, and what the system shows of processes. */
import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Run, RunEvent } from '../../index.js'

/** Of `/proc/<pid>/stat` on Linux: a hundredth of a second. */
const TICK_MS = 10
const PAGE_BYTES = 4_096

type ByName = { readonly [name: string]: number }

/** CPU time of each process so far, in ms; none where there is no /proc, or for a process that has ended. */
export function cpuMs(pids: ByName): ByName {
  return ofEach(pids, (pid) => {
    const fields = readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ').at(-1)!.split(' ')
    return (Number(fields[11]) + Number(fields[12])) * TICK_MS
  })
}

/** Memory of each process, in MB. */
export function residentMB(pids: ByName): ByName {
  return ofEach(pids, (pid) => (Number(readFileSync(`/proc/${pid}/statm`, 'latin1').split(' ')[1]) * PAGE_BYTES) / 1e6)
}

function ofEach(pids: ByName, read: (pid: number) => number): ByName {
  const values = Object.entries(pids).flatMap(([name, pid]): [string, number][] => {
    try {
      return [[name, read(pid)]]
    } catch {
      return []
    }
  })
  return Object.fromEntries(values)
}

type Progress = RunEvent & { readonly type: 'progress' }

/**
 * The steady rate of a run, from its progress: the first steps, in which code is compiled, and the end, at which everything is hashed, are left
 * out. With it the CPU time of each process for a step.
 */
export async function steadily(
  run: Run,
  { warmUp, batch, pids }: { readonly warmUp: number; readonly batch: number; readonly pids: ByName },
): Promise<{ readonly samplesPerSecond: number; readonly cpuMsPerStep: ByName }> {
  const seen: { readonly at: Progress; readonly cpu: ByName }[] = []
  for await (const event of run.events()) {
    if (event.type === 'progress' && event.step >= warmUp && event.step < event.totalSteps) seen.push({ at: event, cpu: cpuMs(pids) })
  }
  await run.result
  const [first] = seen
  const last = seen.at(-1)
  if (!first || !last || first === last) throw new Error('the run was too short to be measured')
  const steps = last.at.step - first.at.step
  const used = Object.entries(last.cpu).map(([name, ms]) => [name, (ms - (first.cpu[name] ?? 0)) / steps])
  return {
    samplesPerSecond: (steps * batch * 1000) / (last.at.atMs - first.at.atMs),
    cpuMsPerStep: Object.fromEntries(used),
  }
}

/** Nothing that a benchmark waits for takes longer. */
const LONGEST_MS = 120_000
const LOOK_MS = 20

/** @throws after two minutes, saying what did not come; what makes the run fail */
export async function until(run: Run, isSo: () => boolean, what: string): Promise<void> {
  let failure: unknown
  run.result.catch((error: unknown) => (failure = error))
  for (const end = performance.now() + LONGEST_MS; !isSo(); await sleep(LOOK_MS)) {
    if (failure) throw failure
    if (performance.now() > end) throw new Error(`waited ${LONGEST_MS} ms for ${what}`)
  }
}
