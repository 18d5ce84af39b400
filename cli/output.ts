/** Where words go: results on standard output, everything else on standard error; as JSON lines or for people. */
import { Chalk, type ChalkInstance } from 'chalk'
import { type SwarmError, toSwarmError } from '../runtime/errors.js'

/** Version of the JSON lines. */
export const JSON_VERSION = 1

export interface OutputOptions {
  readonly isJson: boolean
  readonly isQuiet: boolean
  readonly isVerbose: boolean
}

/** The slice of the environment and of a stream that decides about colours. */
interface Terminal {
  readonly isTTY?: boolean
}

/** How many colours a stream shows: FORCE_COLOR, then NO_COLOR and TERM=dumb, then whether it is a terminal. */
export function colourLevel(stream: Terminal, environment: { readonly [name: string]: string | undefined }): 0 | 1 | 2 | 3 {
  const { FORCE_COLOR, NO_COLOR, TERM, COLORTERM } = environment
  if (FORCE_COLOR !== undefined)
    return FORCE_COLOR === '0' || FORCE_COLOR === 'false' ? 0 : FORCE_COLOR === '3' ? 3 : FORCE_COLOR === '2' ? 2 : 1
  if ((NO_COLOR !== undefined && NO_COLOR !== '') || TERM === 'dumb' || stream.isTTY !== true) return 0
  return COLORTERM === 'truecolor' || COLORTERM === '24bit' ? 3 : TERM?.includes('256') ? 2 : 1
}

/** The two streams of this process, and how to write on them. */
export class Output {
  readonly isJson: boolean
  readonly isQuiet: boolean
  readonly isVerbose: boolean
  /** Colours of standard output, and of standard error. */
  readonly style: ChalkInstance = new Chalk({ level: colourLevel(process.stdout, process.env) })
  readonly errorStyle: ChalkInstance = new Chalk({ level: colourLevel(process.stderr, process.env) })

  constructor({ isJson, isQuiet, isVerbose }: OutputOptions) {
    this.isJson = isJson
    this.isQuiet = isQuiet
    this.isVerbose = isVerbose
  }

  /** Whether standard error can be drawn on. */
  get isLive(): boolean {
    return process.stderr.isTTY && process.env.TERM !== 'dumb' && !this.isJson && !this.isQuiet
  }

  /** Result for a person. */
  result(text: string): void {
    if (!this.isJson) process.stdout.write(`${text}\n`)
  }

  /** Result for a program. */
  record(record: { readonly type: string; readonly [field: string]: unknown }): void {
    if (this.isJson) process.stdout.write(`${JSON.stringify({ v: JSON_VERSION, ...record })}\n`)
  }

  /** Progress for a person. */
  note(text: string): void {
    if (!this.isJson && !this.isQuiet) process.stderr.write(`${text}\n`)
  }

  /** One line; the stack only if asked for. */
  error(thrown: unknown): void {
    const error = toSwarmError(thrown, 'internal')
    this.record({ type: 'error', ...error.toJSON() })
    if (!this.isJson) {
      const { red, dim } = this.errorStyle
      process.stderr.write(`${red('error:')} ${error.message.replaceAll(/\s*\n\s*/g, ' ')} ${dim(`[${error.code}]`)}\n`)
    }
    if (this.isVerbose) process.stderr.write(`${stackOf(error)}\n`)
  }
}

function stackOf(error: SwarmError): string {
  const causes: string[] = []
  for (let cause: unknown = error; cause instanceof Error && causes.length < 8; cause = cause.cause)
    causes.push(cause.stack ?? cause.message)
  return causes.join('\ncaused by ')
}
