/** Object keys for actors: types, ids and names hold any characters, object keys only a few. */
import { SwarmError } from '../errors.js'
import { MAX_KEY_LENGTH } from '../object-store/object-store.js'
import type { ActorRef } from './actor-system.js'

/** Letters, digits and `-` stand for themselves, so does `.` where the segment is not only dots; anything else is `_XX` per UTF-8 byte. */
const PLAIN = /[A-Za-z0-9.-]/

/** One segment of an object key for any well-formed string; different strings give different segments. @throws `usage` for a lone surrogate */
export function encodeSegment(text: string): string {
  if (/\p{Surrogate}/u.test(text))
    throw new SwarmError('usage', { what: 'an actor name is no well-formed string', got: JSON.stringify(text) })
  if (text === '') return '_'
  const isPlain = /^\.+$/.test(text) ? () => false : (char: string) => PLAIN.test(char)
  let segment = ''
  for (const char of text) segment += isPlain(char) ? char : escape(char)
  return segment
}

/** The string that `encodeSegment` encoded; undefined for anything that it never writes. */
export function decodeSegment(segment: string): string | undefined {
  if (segment === '_') return ''
  if (!/^(?:[A-Za-z0-9.-]|_[0-9A-F]{2})+$/.test(segment)) return undefined
  const bytes = segment.match(/_..|./g)!.map((part) => (part.length === 3 ? Number.parseInt(part.slice(1), 16) : part.charCodeAt(0)))
  let text: string
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(Uint8Array.from(bytes))
  } catch {
    return undefined
  }
  return encodeSegment(text) === segment ? text : undefined
}

/** The key under which an actor's things lie: `<type>/<id>`. Unique for each actor. */
export function actorPath(ref: ActorRef): string {
  return `${encodeSegment(ref.type)}/${encodeSegment(ref.id)}`
}

/** The object key of one named thing of an actor. @throws `usage` if it is longer than a store accepts */
export function actorKey(prefix: string, kind: 'actors' | 'reminders', ref: ActorRef, name: string): string {
  const key = `${prefix}${kind}/${actorPath(ref)}/${encodeSegment(name)}`
  if (key.length > MAX_KEY_LENGTH) {
    throw new SwarmError('usage', {
      what: 'the names of an actor and its state key are too long',
      where: `${describeRef(ref)}, ${JSON.stringify(name)}`,
      expected: `at most ${MAX_KEY_LENGTH} characters when encoded`,
      got: key.length,
    })
  }
  return key
}

/** The host in the name of a type that only one host has: `<role>.<host>`. Undefined for other types. */
export function hostOf(type: string): string | undefined {
  const dot = type.indexOf('.')
  return dot === -1 ? undefined : type.slice(dot + 1)
}

/** An actor as messages name it. */
export function describeRef({ type, id }: ActorRef): string {
  return `${type} ${JSON.stringify(id)}`
}

function escape(char: string): string {
  return [...new TextEncoder().encode(char)].map((byte) => `_${byte.toString(16).toUpperCase().padStart(2, '0')}`).join('')
}
