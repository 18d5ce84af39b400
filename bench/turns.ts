/** Programs that have the machine in turn, half a second each: whatever else slows it down slows all of them down, so that a few per cent can be seen. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { childPath, type Figures } from './measure.js'

const TURN_MS = 500

/** What a child prints where what is counted begins, and where it ends. */
export const COUNTED = { begins: 'begins', ends: 'ends' } as const

/** What a child has measured of itself, and how long it had the machine for what is counted, in ms. */
export interface Turns {
  readonly ownMs: number
  readonly figures: Figures
}

/**
 * Runs a compiled child script once for each list of arguments, all at the same time, of which one goes on and the others are stopped.
 * A child prints the lines of COUNTED, and a JSON object last. @throws if one fails; then none is left
 */
export async function inTurns(script: string, ...argumentLists: readonly (readonly string[])[]): Promise<Turns[]> {
  const children = argumentLists.map((args) => new StoppableChild(script, args))
  // Nobody hears a signal while it is stopped.
  const endAll = () => {
    for (const child of children) child.end()
  }
  const leave = () => process.exit(130)
  process.on('exit', endAll).on('SIGINT', leave).on('SIGTERM', leave)
  try {
    while (children.some((child) => child.isRunning)) for (const child of children) await child.takeTurn()
    return await Promise.all(children.map((child) => child.measured))
  } finally {
    endAll()
    process.off('exit', endAll).off('SIGINT', leave).off('SIGTERM', leave)
  }
}

class StoppableChild {
  readonly measured: Promise<Turns>
  readonly #process: ChildProcess
  /** Settles when the process has closed. */
  readonly #closed: Promise<unknown>
  #ownMs = 0
  #turnBegan: number | undefined
  readonly #ownMsAt = new Map<string, number>()
  #lastLine = ''

  constructor(script: string, args: readonly string[]) {
    this.#process = spawn(process.execPath, [childPath(script), ...args], { stdio: ['ignore', 'pipe', 'inherit'] })
    this.#process.kill('SIGSTOP')
    this.#closed = once(this.#process, 'close')
    createInterface({ input: this.#process.stdout! }).on('line', (line) => {
      this.#lastLine = line
      this.#ownMsAt.set(line, this.#ownMs + (this.#turnBegan === undefined ? 0 : performance.now() - this.#turnBegan))
    })
    this.measured = this.#closed.then(() => this.#result(`${script} ${args.join(' ')}`))
    // Whoever waits for another one first hears of it then.
    this.measured.catch(() => undefined)
  }

  get isRunning(): boolean {
    return this.#process.exitCode === null && this.#process.signalCode === null
  }

  async takeTurn(): Promise<void> {
    if (!this.isRunning) return
    this.#turnBegan = performance.now()
    this.#process.kill('SIGCONT')
    await Promise.race([sleep(TURN_MS), this.#closed])
    this.#process.kill('SIGSTOP')
    this.#ownMs += performance.now() - this.#turnBegan
    this.#turnBegan = undefined
  }

  end(): void {
    if (this.isRunning) this.#process.kill('SIGKILL')
  }

  #result(what: string): Turns {
    const [from, to] = [COUNTED.begins, COUNTED.ends].map((line) => this.#ownMsAt.get(line))
    if (this.#process.exitCode !== 0 || from === undefined || to === undefined)
      throw new Error(`${what} ended with ${this.#process.exitCode ?? this.#process.signalCode}: ${this.#lastLine}`)
    return { ownMs: to - from, figures: JSON.parse(this.#lastLine) as Figures }
  }
}
