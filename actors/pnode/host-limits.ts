/** What the owner of a machine has allowed, and what follows from how it is used; pure but for what it remembers: time is handed in. */
import type { MachineUse } from '../../runtime/machine-use.js'

export interface OwnersTerms {
  /** What VNodes may use, in bytes. */
  readonly memoryBytes: number
  /** Nothing is computed while others use the machine. */
  readonly pauseWhenBusy: boolean
  readonly onBattery: 'pause' | 'continue'
}

/** What there is to see. */
export interface HostUse extends MachineUse {
  readonly nowMs: number
  /** Of the tensors of its VNodes, in bytes. */
  readonly tensorBytes: number
  /** What its VNodes were thought to need when they were placed, in bytes: of each run. */
  readonly placedBytes: ReadonlyMap<string, number>
}

export interface HostVerdict {
  /** Why it is to have no VNodes for now; undefined: it may. */
  readonly pause: string | undefined
  /** What placement may count on, in bytes. */
  readonly memoryBytes: number
}

/** The machine is in use when others have this share of its processors for so long: as volunteers know it from BOINC, a quarter. */
export const BUSY_SHARE = 0.25
export const BUSY_MS = 10_000
/** It is free again when they have had less than this share for so long: whoever reads for a minute is still there. */
export const QUIET_SHARE = 0.15
export const QUIET_MS = 60_000
/** A plug that is pulled and put back. */
export const MAINS_MS = 10_000
/** More memory than allowed, for so long: what a checkpoint needs for a moment is not meant. */
export const OVER_MS = 10_000
/** After so long without that it lends all of it again. */
export const BACK_MS = 10 * 60_000

export class HostLimits {
  #terms: OwnersTerms
  readonly #busy = new Latch(BUSY_MS, QUIET_MS)
  readonly #battery = new Latch(0, MAINS_MS)
  /** Resident memory when nothing was here. */
  #idleBytes: number | undefined
  #overSinceMs: number | undefined
  /** What is lent after it was too much, and since when. */
  #less: { readonly memoryBytes: number; readonly atMs: number } | undefined

  constructor(terms: OwnersTerms) {
    this.#terms = terms
  }

  /** The owner allows more, or less. */
  change(terms: Partial<OwnersTerms>): void {
    this.#terms = { ...this.#terms, ...terms }
    this.#less = undefined
    this.#overSinceMs = undefined
  }

  judge(use: HostUse): HostVerdict {
    const { pauseWhenBusy, onBattery } = this.#terms
    const { othersShare, power, nowMs } = use
    const isBusy = pauseWhenBusy && this.#busy.set(othersShare === undefined ? undefined : this.#isUsed(othersShare), nowMs)
    const isOnBattery = onBattery === 'pause' && this.#battery.set(power === 'battery', nowMs)
    const reasons = [isOnBattery && 'it runs on its battery', isBusy && 'its owner uses it'].filter((reason) => reason !== false)
    return { pause: reasons.length > 0 ? reasons.join(', and ') : undefined, memoryBytes: this.#lent(use) }
  }

  /** Between the two thresholds it is as it was. */
  #isUsed(othersShare: number): boolean | undefined {
    if (othersShare >= BUSY_SHARE) return true
    return othersShare < QUIET_SHARE ? false : undefined
  }

  #lent({ nowMs, residentBytes, tensorBytes, placedBytes }: HostUse): number {
    const { memoryBytes } = this.#terms
    const needs = [...placedBytes.values()]
    const placed = needs.reduce((sum, each) => sum + each, 0)
    if (placed === 0) this.#idleBytes = residentBytes
    const usedBytes = Math.max(tensorBytes, residentBytes - (this.#idleBytes ?? residentBytes))
    if (placed === 0 || usedBytes <= memoryBytes) this.#overSinceMs = undefined
    else if (nowMs - (this.#overSinceMs ??= nowMs) >= OVER_MS) {
      this.#overSinceMs = undefined
      // In the units of placement, which thinks of each run by itself: the largest gives up what is too much.
      const allowed = (memoryBytes * placed) / usedBytes
      const most = Math.max(...needs)
      this.#less = { memoryBytes: Math.floor(Math.max(0, Math.min(allowed, most - (placed - allowed)))), atMs: nowMs }
    }
    if (this.#less && nowMs - this.#less.atMs >= BACK_MS) this.#less = undefined
    return Math.min(memoryBytes, this.#less?.memoryBytes ?? Infinity)
  }
}

/** On when it was asked for all of `onMs`, off when not for all of `offMs`. */
class Latch {
  readonly #onMs: number
  readonly #offMs: number
  #isOn = false
  #sinceMs: number | undefined

  constructor(onMs: number, offMs: number) {
    this.#onMs = onMs
    this.#offMs = offMs
  }

  /** @param wanted undefined: neither */
  set(wanted: boolean | undefined, nowMs: number): boolean {
    if (wanted === undefined || wanted === this.#isOn) this.#sinceMs = undefined
    else if (nowMs - (this.#sinceMs ??= nowMs) >= (wanted ? this.#onMs : this.#offMs)) {
      this.#isOn = wanted
      this.#sinceMs = undefined
    }
    return this.#isOn
  }
}
