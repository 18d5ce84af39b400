/** When a PNode counts as lost, and a run as standing still, as it was typed. */
import { assertTimes, DEFAULT_MEMBERSHIP, type MembershipOptions } from '../../actors/placement/placement.js'
import { type Settings, typed } from '../flags.js'

const TIMES = { heartbeat: 'heartbeatMs', suspectAfter: 'suspectMs', lostAfter: 'lostMs', standstillAfter: 'standstillMs' } as const

/** What was typed, in ms; anything else is as by default. @throws `usage`: times that do not fit together */
export function membershipOf(settings: Settings): Partial<MembershipOptions> {
  const given: Partial<MembershipOptions> = Object.fromEntries(timesIn(settings).map(([flag, seconds]) => [TIMES[flag], seconds * 1000]))
  assertTimes({ ...DEFAULT_MEMBERSHIP, ...given })
  return given
}

/** The same as words of a command line. */
export function wordsOfMembership(settings: Settings): { readonly [flag: string]: string } {
  return Object.fromEntries(timesIn(settings).map(([flag, seconds]) => [typed(flag).slice('--'.length), String(seconds)]))
}

function timesIn(settings: Settings): [keyof typeof TIMES, number][] {
  return (Object.keys(TIMES) as (keyof typeof TIMES)[]).flatMap((flag) => {
    const seconds = settings[flag]
    return seconds === undefined ? [] : [[flag, seconds] as [keyof typeof TIMES, number]]
  })
}
