/** What a flag is, and how the text of one becomes a value. */
import { SwarmError } from '../runtime/errors.js'

/** One flag; `parse` takes the text of the command line, the environment or a configuration file. */
export interface Flag<T> {
  /** As commander wants it: `--epochs <N>`. */
  readonly syntax: string
  /** What it does, and its unit. */
  readonly description: string
  /** What holds without it, in words. The library's own constants decide; a test compares them. */
  readonly default?: string
  /** Without a variable and a key a flag is for the command line alone. */
  readonly environment?: string
  /** Key in a configuration file. */
  readonly key?: string
  readonly isRepeatable?: boolean
  /** Understood, but not shown in `--help`. */
  readonly isHidden?: boolean
  /** @param name where the text stood, for errors. @throws `usage` */
  parse(text: string, name: string): T
}

/** Infers the type of its values. */
export const flag = <T>(flag: Flag<T>): Flag<T> => flag

/** @throws `usage` */
export function refuse(name: string, expected: string, got: string): never {
  throw new SwarmError('usage', { what: name, expected, got: `'${got}'` })
}

/** Anything but nothing. */
export const text = (value: string, name: string): string => (value === '' ? refuse(name, 'a value', value) : value)

/** From `least` to `most`, both included. */
export function integer(least: number, most = Number.MAX_SAFE_INTEGER) {
  const expected = most === Number.MAX_SAFE_INTEGER ? `an integer ≥ ${least}` : `an integer from ${least} to ${most}`
  return (value: string, name: string): number => {
    const number = /^\d+$/.test(value) ? Number(value) : Number.NaN
    return number >= least && number <= most ? number : refuse(name, expected, value)
  }
}

/** A finite number that fits. @param expected in words */
export function number(expected: string, fits: (value: number) => boolean) {
  return (value: string, name: string): number => {
    const number = value.trim() === '' ? Number.NaN : Number(value)
    return Number.isFinite(number) && fits(number) ? number : refuse(name, expected, value)
  }
}

/** One of these words. */
export function oneOf<const Names extends readonly string[]>(...names: Names) {
  return (value: string, name: string): Names[number] => (names.includes(value) ? value : refuse(name, names.join(' or '), value))
}

/** `true`, `1`, `yes`, `on`, and their opposites. */
export function isTrue(value: string, name: string): boolean {
  if (['true', '1', 'yes', 'on'].includes(value.toLowerCase())) return true
  if (['false', '0', 'no', 'off', ''].includes(value.toLowerCase())) return false
  return refuse(name, 'true or false', value)
}

/** The variable of a flag. */
export const environment = (name: string) => `SWARMGRAD_${name}`
