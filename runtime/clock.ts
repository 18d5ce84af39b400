/** Time as something that is handed in. Nothing that touches a VNode's state may read it. */
export interface Clock {
  /** Milliseconds since the epoch; only for people and for measuring. */
  now(): number
  /** Calls `callback` once after `delayMs`; the returned function cancels it. Never keeps the process alive by itself. */
  after(delayMs: number, callback: () => void): () => void
  /** Resolves after `delayMs`, or rejects with the signal's reason. */
  sleep(delayMs: number, signal?: AbortSignal): Promise<void>
}

/** Keeps the process alive until the returned function is called: timers of a `Clock` do not. */
export function keepAlive(): () => void {
  const timer = setInterval(() => {}, 2 ** 30)
  return () => clearInterval(timer)
}

/** The machine's clock: the one place in the lower layers that reads it. */
export const systemClock: Clock = {
  now: () => performance.timeOrigin + performance.now(),
  after(delayMs, callback) {
    const timer = setTimeout(callback, delayMs)
    timer.unref()
    return () => clearTimeout(timer)
  },
  sleep(delayMs, signal) {
    return new Promise((resolve, reject) => {
      signal?.throwIfAborted()
      const onAbort = () => {
        clearTimeout(timer)
        reject(signal!.reason)
      }
      const timer = setTimeout(() => {
        signal?.removeEventListener('abort', onAbort)
        resolve()
      }, delayMs)
      signal?.addEventListener('abort', onAbort, { once: true })
    })
  },
}
