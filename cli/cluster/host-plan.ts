/** What lending a machine means, before it is lent: who, to whom, how much of it. */
import { availableParallelism, hostname, totalmem, userInfo } from 'node:os'
import { SwarmError } from '../../runtime/errors.js'
import type { Power } from '../../runtime/machine-use.js'
import { count, size } from '../view/format.js'
import type { Settings } from '../flags.js'

/** What the owner of a machine agrees to. */
export interface HostPlan {
  /** Of the control host. */
  readonly url: string
  readonly name: string
  readonly owner: string
  readonly folder: string
  /** What it talks to besides control. */
  readonly servers: readonly string[]
  readonly limits: HostLimits
  readonly relay: 'auto' | 'always' | 'never'
  /** SHA-256 of users' modules. */
  readonly allowsCode: readonly string[]
}

export interface HostLimits {
  readonly memoryBytes: number
  /** Share of one core, above 0 to 1. */
  readonly cpuShare: number
  readonly diskBytes: number
  /** Undefined: no limit. */
  readonly uploadBytesPerSecond: number | undefined
  readonly vnodes: number | undefined
  readonly pauseWhenBusy: boolean
  readonly onBattery: 'pause' | 'continue'
}

/** Code and logs: a bundle is some 100 kB, a day of logs some MB. */
export const DEFAULT_DISK_BYTES = 1e9
/** The rest is for its owner, the system and the frames under way. */
const MEMORY_SHARE = 0.5
const MOST_NAME_CHARACTERS = 40

/** A name that control takes, out of the one that a machine has: `Ada's-MacBook.local` is `ada-s-macbook`. */
export function nameOfMachine(machine: string = hostname()): string {
  const [first] = machine.toLowerCase().split('.')
  const name = first
    .replaceAll(/[^a-z0-9]+/g, '-')
    .replaceAll(/^-+/g, '')
    .slice(0, MOST_NAME_CHARACTERS)
    .replaceAll(/-+$/g, '')
  return name === '' || name === 'control' || name === 'localhost' ? 'pnode' : name
}

export function hostPlan(where: Pick<HostPlan, 'url' | 'folder' | 'name' | 'servers'>, settings: Settings): HostPlan {
  return {
    ...where,
    owner: settings.owner ?? userName(),
    limits: {
      memoryBytes: settings.maxMemory ?? Math.floor(totalmem() * MEMORY_SHARE),
      cpuShare: settings.maxCpu ?? 1,
      diskBytes: settings.maxDisk ?? DEFAULT_DISK_BYTES,
      uploadBytesPerSecond: settings.maxUpload,
      vnodes: settings.maxVNodes,
      pauseWhenBusy: settings.pauseWhenBusy ?? false,
      onBattery: settings.onBattery ?? 'continue',
    },
    relay: settings.relay ?? 'auto',
    allowsCode: settings.allowCode ?? [],
  }
}

/** The plan as rows of a table. */
export function describePlan(plan: HostPlan, key: { readonly fingerprint: string; readonly isNew: boolean }): [string, string][] {
  const { limits, allowsCode, relay } = plan
  const cores = availableParallelism()
  const upload = limits.uploadBytesPerSecond
  const calls = {
    auto: 'from outside only to the sidecar’s port, if control can reach it; else over what it opened itself',
    always: 'none from outside: everything is opened from here',
    never: 'from outside to the sidecar’s port',
  }
  return [
    ['name', `${plan.name}, lent by ${plan.owner}`],
    ['key', `${key.fingerprint}${key.isNew ? ', just made' : ''}; it stays on this machine`],
    ['talks to', [plan.url, ...plan.servers, 'the object store, at addresses that control signs'].join(', ')],
    ['connections', calls[relay]],
    ['folder', plan.folder],
    ['memory', `${size(limits.memoryBytes)} for VNodes${limits.vnodes === undefined ? '' : `, at most ${count(limits.vnodes)} of them`}`],
    ['processor', limits.cpuShare === 1 ? `one core of ${cores}` : `${Math.round(limits.cpuShare * 100)} % of one core of ${cores}`],
    ['pauses', pausesOf(limits)],
    ['disk', `${size(limits.diskBytes)} for code and logs`],
    ['upload', upload === undefined ? 'no limit' : `${size(upload)} a second`],
    ['code', allowsCode.length === 0 ? 'swarmgrad’s own, nobody else’s' : `swarmgrad’s own, and ${allowsCode.join(', ')}`],
  ]
}

function pausesOf({ pauseWhenBusy, onBattery }: HostLimits): string {
  const when = [pauseWhenBusy && 'while you use this machine', onBattery === 'pause' && 'while it runs on its battery'].filter(
    (each) => each !== false,
  )
  return when.length > 0 ? when.join(', and ') : 'never: see --pause-when-busy and --on-battery'
}

/** @throws `usage`: what the owner asked for cannot be kept here */
export function assertCanTell(onBattery: Settings['onBattery'], power: Power, platform: string = process.platform): void {
  if (onBattery !== 'pause' || power !== 'unknown') return
  const what = `--on-battery pause: on ${platform} it cannot be told here whether this machine runs on its battery`
  throw new SwarmError('usage', { what, fix: 'Leave it out, and end this command when you unplug the machine' })
}

function userName(): string {
  try {
    return userInfo().username
  } catch {
    // A user without an entry, as in some containers.
    return 'somebody'
  }
}
