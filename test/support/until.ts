import { systemClock } from '../../runtime/clock.js'

/** Asks again and again until it is so. @throws with `what` after `limitMs` */
export async function until(
  what: string | (() => string),
  isSo: () => Promise<boolean> | boolean,
  { limitMs = 30_000, everyMs = 20 }: { readonly limitMs?: number; readonly everyMs?: number } = {},
): Promise<void> {
  const endMs = systemClock.now() + limitMs
  while (!(await isSo())) {
    if (systemClock.now() > endMs) throw new Error(`not within ${limitMs} ms: ${typeof what === 'string' ? what : what()}`)
    await systemClock.sleep(everyMs)
  }
}
