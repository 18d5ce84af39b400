import { readFileSync, readlinkSync } from 'node:fs'

/**
 * This process as text that no other process ever has on this machine: `<pid>,<start>,<boot>,<pid namespace>`.
 * On Linux the start time (in clock ticks since boot) tells it from a later process with the same pid, and the boot id from one before a
 * restart of the machine. Elsewhere the last three are empty and the pid alone has to do.
 */
export function processIdentity(): string {
  own ??= [process.pid, readStat('self')?.startTicks ?? '', bootId(), pidNamespace()].join(',')
  return own
}

let own: string | undefined

/** The pid in an identity, or undefined if `identity` is not one. */
export function pidOf(identity: string): number | undefined {
  const match = IDENTITY.exec(identity)
  return match ? Number(match[1]) : undefined
}

const IDENTITY = /^([1-9]\d*),(\d*),([0-9a-f]*),(\d*)$/

/**
 * True only if the process has ended and none of its threads can touch a file any more.
 * A zombie counts as gone. A process of another pid namespace of the same boot (another container) cannot be seen from here and so never
 * counts as gone; nor does text that is no identity.
 */
export function isGone(identity: string): boolean {
  const [, pidText, start, boot, namespace] = IDENTITY.exec(identity) ?? []
  if (pidText === undefined || identity === processIdentity()) return false
  if (boot !== bootId()) return true
  if (namespace !== pidNamespace()) return false
  const pid = Number(pidText)
  const stat = start ? readStat(pid) : undefined
  if (!stat) return !answers(pid)
  // Of a killed process the main thread may be a zombie while another thread still finishes a rename: only the last one counts.
  const isEnded = (stat.state === 'Z' || stat.state === 'X') && stat.threads <= 1
  return isEnded || stat.startTicks !== start
}

/** Whether a signal could be sent. Asked even where /proc has no entry, since `hidepid` hides the processes of others. */
function answers(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return !(error instanceof Error && 'code' in error && error.code === 'ESRCH')
  }
}

/** proc(5): the fields after the command's name, which is in parentheses and may itself hold spaces and parentheses. */
function readStat(pid: number | 'self'): { state: string; threads: number; startTicks: string } | undefined {
  const text = readOrEmpty(() => readFileSync(`/proc/${pid}/stat`, 'latin1'))
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
  const [state, threads, startTicks] = [fields[0], fields[17], fields[19]]
  return state && threads && startTicks ? { state, threads: Number(threads), startTicks } : undefined
}

function bootId(): string {
  boot ??= readOrEmpty(() => readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').slice(0, 8))
  return boot
}

let boot: string | undefined

function pidNamespace(): string {
  namespace ??= /\d+/.exec(readOrEmpty(() => readlinkSync('/proc/self/ns/pid')))?.[0] ?? ''
  return namespace
}

let namespace: string | undefined

function readOrEmpty(read: () => string): string {
  try {
    return read()
  } catch {
    return ''
  }
}
