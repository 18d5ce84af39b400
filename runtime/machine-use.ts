/** How the machine is used besides by us, and what runs it: looked at, never changed. */
import { readdir, readFile } from 'node:fs/promises'
import { cpus } from 'node:os'
import { join } from 'node:path'

export type Power = 'mains' | 'battery' | 'unknown'

export interface MachineUse {
  /** Share of all processors that others than this process have used since the last look, 0 to 1; undefined: it cannot be told yet. */
  readonly othersShare: number | undefined
  /** `unknown`: it cannot be told on this operating system. */
  readonly power: Power
  /** Resident memory of this process, in bytes. */
  readonly residentBytes: number
}

/** Where to look: the machine itself, or what a test says. */
export interface MachineUseSource {
  look(): Promise<MachineUse>
}

/** Of all processors together since they were started, in ms. */
export interface ProcessorTimes {
  readonly busyMs: number
  readonly idleMs: number
  /** Of `busyMs`, this process. */
  readonly ownMs: number
}

const POWER_FOLDER = '/sys/class/power_supply'

/** The machine that this process runs on. What it starts, as its sidecar, counts as others. */
export function machineUse(): MachineUseSource {
  let before: ProcessorTimes | undefined
  return {
    async look() {
      const now = processorTimes()
      const othersShare = before && othersShareOf(before, now)
      before = now
      return { othersShare, power: await powerOf(process.platform, POWER_FOLDER), residentBytes: process.memoryUsage.rss() }
    },
  }
}

function processorTimes(): ProcessorTimes {
  let [busyMs, idleMs] = [0, 0]
  for (const { times } of cpus()) {
    busyMs += times.user + times.nice + times.sys + times.irq
    idleMs += times.idle
  }
  const own = process.cpuUsage()
  return { busyMs, idleMs, ownMs: (own.user + own.system) / 1000 }
}

/** 0 to 1; undefined where no time has passed, or the system tells none. */
export function othersShareOf(before: ProcessorTimes, now: ProcessorTimes): number | undefined {
  const busyMs = now.busyMs - before.busyMs
  const allMs = busyMs + now.idleMs - before.idleMs
  if (allMs <= 0) return undefined
  return Math.min(1, Math.max(0, (busyMs - (now.ownMs - before.ownMs)) / allMs))
}

/** By the power supplies that Linux shows: on battery if one that drives the machine discharges and nothing else feeds it. */
export async function powerOf(platform: string, folder: string): Promise<Power> {
  if (platform !== 'linux') return 'unknown'
  const names = await readdir(folder).catch((): string[] => [])
  const supplies = await Promise.all(
    names.map(async (name) => {
      const [type, online, status, scope] = await Promise.all(
        ['type', 'online', 'status', 'scope'].map((file) => wordIn(join(folder, name, file))),
      )
      return { type, online, status, scope }
    }),
  )
  // Mice and headsets have batteries, too.
  const own = supplies.filter(({ scope }) => scope !== 'Device')
  const isFed = own.some(({ type, online }) => type !== 'Battery' && online === '1')
  return !isFed && own.some(({ type, status }) => type === 'Battery' && status === 'Discharging') ? 'battery' : 'mains'
}

/** Undefined: there is no such file. */
async function wordIn(path: string): Promise<string | undefined> {
  return readFile(path, 'utf8').then(
    (text) => text.trim(),
    () => undefined,
  )
}
