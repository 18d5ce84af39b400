/**
 * `npm run simulate -- [--seeds 1000] [--first-seed 1] [--jobs 2] [--faults 3,7] [--liars] [--json]`: whole clusters in simulated time, one for each seed.
 * With `--liars` clusters of which some hosts lie, and what became of disputes.
 * A seed that fails prints the line that shows it again, and the shortest list of its faults that was found. Exit status 1 if one fails.
 */
import { fork } from 'node:child_process'
import { availableParallelism } from 'node:os'
import { parseArgs } from 'node:util'
import { SIMULATING } from './flags.js'
import type { Tally } from './justice.js'
import { type SeedResult, trySeed } from './seeds.js'

const { values } = parseArgs({
  options: {
    seeds: { type: 'string', default: '1000' },
    'first-seed': { type: 'string', default: '1' },
    jobs: { type: 'string', default: String(Math.min(availableParallelism(), 8)) },
    faults: { type: 'string' },
    liars: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
    /** Of a process that another one has started: every how many seeds are its. */
    stride: { type: 'string' },
    /** Of such a process: it ends at the first seed that fails, without making it small. */
    'until-failure': { type: 'boolean', default: false },
  },
})

function count(name: 'seeds' | 'first-seed' | 'jobs' | 'stride'): number {
  const value = Number(values[name])
  if (Number.isSafeInteger(value) && value >= 1) return value
  process.stderr.write(`--${name}: expected a positive integer, got '${values[name]}'\n`)
  process.exit(2)
}

const seeds = count('seeds')
const first = count('first-seed')
const only = values.faults === undefined ? undefined : values.faults.split(',').flatMap((text) => (text === 'none' ? [] : [Number(text)]))

if (values.stride !== undefined) {
  const stride = count('stride')
  const isShort = values['until-failure']
  for (let seed = first; seed < first + seeds; seed += stride) {
    const result = await trySeed(seed, { only, shrink: !isShort, areLiars: values.liars })
    process.send!(result)
    if (isShort && !result.ok) break
  }
  process.disconnect()
} else {
  const isFine = await simulateAll()
  process.exitCode = isFine ? 0 : 1
}

async function simulateAll(): Promise<boolean> {
  const jobs = Math.min(count('jobs'), seeds)
  const startedMs = performance.now()
  const total = { seeds: 0, failed: 0, faults: 0, events: 0, stepsApplied: 0, takeovers: 0, simulatedHours: 0 }
  const kinds = new Map<string, number>()
  const justice = { disputes: 0, convicted: 0, wronged: 0, panels: 0, wrongPanels: 0, expectedWrongPanels: 0 }
  const onResult = (result: SeedResult) => {
    total.seeds++
    if (!result.ok) {
      total.failed++
      tellFailure(result.failure)
    } else {
      const { faults, events, stepsApplied, takeovers, simulatedMs } = result.outcome
      total.faults += faults.length
      total.events += events
      total.stepsApplied += stepsApplied
      total.takeovers += takeovers
      total.simulatedHours += simulatedMs / 3_600_000
      for (const [name, count] of Object.entries(result.outcome.tally ?? {})) justice[name as keyof Tally] += count
      for (const { kind } of faults) kinds.set(kind, (kinds.get(kind) ?? 0) + 1)
    }
    if (!values.json && total.seeds % 500 === 0) process.stderr.write(`${total.seeds} of ${seeds} seeds, ${total.failed} failed\n`)
  }
  const ended = await Promise.all(Array.from({ length: jobs }, (_, i) => runChild(first + i, seeds - i, jobs, onResult)))
  const seconds = Math.round((performance.now() - startedMs) / 100) / 10
  const faults = Object.fromEntries([...kinds].toSorted((a, b) => (a[0] < b[0] ? -1 : 1)))
  const summary = {
    ...total,
    simulatedHours: Math.round(total.simulatedHours * 10) / 10,
    seconds,
    ...(values.liars && { justice }),
    kinds: faults,
  }
  if (values.json) process.stdout.write(`${JSON.stringify({ v: 1, type: 'simulated', ...summary })}\n`)
  else {
    const { failed, stepsApplied, takeovers, simulatedHours } = summary
    process.stdout.write(
      `${total.seeds} seeds, ${failed} failed: ${total.faults} faults, ${stepsApplied} steps, ${takeovers} taken over by standbys, in ${simulatedHours} simulated hours; ${seconds} s\n`,
    )
    if (values.liars) process.stdout.write(`${sentenceOf(justice)}\n`)
    process.stdout.write(
      `${Object.entries(faults)
        .map(([kind, n]) => `${kind} ${n}`)
        .join(', ')}\n`,
    )
  }
  return summary.failed === 0 && total.seeds === seeds && ended.every((status) => status === 0)
}

function runChild(from: number, span: number, stride: number, onResult: (result: SeedResult) => void): Promise<number> {
  const flags = ['--first-seed', String(from), '--seeds', String(span), '--stride', String(stride)]
  const args = [...flags, ...(values.liars ? ['--liars'] : []), ...(values.faults === undefined ? [] : ['--faults', values.faults])]
  const child = fork(new URL(import.meta.url), args, { execArgv: [...process.execArgv, ...SIMULATING] })
  child.on('message', (result) => onResult(result as SeedResult))
  return new Promise((resolve) => child.on('exit', (code) => resolve(code ?? 1)))
}

function sentenceOf({ disputes, convicted, wronged, panels, wrongPanels, expectedWrongPanels }: Tally): string {
  const expected = `at most ${expectedWrongPanels.toFixed(1)} expected`
  return `${disputes} disputes settled, ${convicted} hosts convicted, of them ${wronged} honest; ${panels} settled by panels, of them ${wrongPanels} wrongly, ${expected}`
}

function tellFailure(failure: Extract<SeedResult, { ok: false }>['failure']): void {
  if (values.json) {
    process.stdout.write(`${JSON.stringify({ v: 1, type: 'failed', ...failure })}\n`)
    return
  }
  const { seed, message, faults, replay } = failure
  process.stdout.write(`✘ seed ${seed}: ${message}\n  ${replay}\n`)
  for (const fault of faults) process.stdout.write(`    ${JSON.stringify(fault)}\n`)
}
