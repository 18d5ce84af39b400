/**
 * Keys as names of objects in a bucket.
 *
 * MinIO keeps an object in a folder of its name, so it cannot hold `a` beside `a/b`, and no segment longer than 255 bytes. Other servers can,
 * but a bucket may move. So a name differs from its key in two ways, both of which keep the order of keys and every prefix:
 *
 * - it ends in `!`, which sorts before every character of a key, as the end of a string does; no folder ends so;
 * - a segment is divided after each 200 characters by `(/(` or `=/=`, of which the first sorts before a real `/` and the second after it: whichever
 *   the character that follows does. On both sides of the slash, so that no part is only dots.
 *
 * `runs/r1/head` is `runs/r1/head!`. What is not the name of a key is not the store's and is not listed.
 */
import { isKeySegment } from './object-key.js'
import { MAX_KEY_LENGTH } from './object-store.js'

const END = '!'
const BREAK_BELOW = '(/('
const BREAK_ABOVE = '=/='
const BREAKS = /\(\/\(|=\/=/g

/** Below MinIO's 255, with room for the end. */
const BREAK_EVERY = 200

/** The name of the object that holds `key`. */
export function nameOf(key: string): string {
  return startOf(key) + END
}

/** The key whose object has this name; undefined if no key's has. */
export function keyOf(name: string): string | undefined {
  if (!name.endsWith(END)) return undefined
  const key = name.slice(0, -END.length).replaceAll(BREAKS, '')
  return isKey(key) && nameOf(key) === name ? key : undefined
}

/**
 * What the names of all keys that start with `prefix` start with, as long as servers take it; undefined if there can be no such key.
 * Names of other keys may start so as well.
 */
export function namePrefixOf(prefix: string): string | undefined {
  const segments = prefix.split('/')
  const last = segments.pop()!
  if (prefix.length > MAX_KEY_LENGTH || !segments.every(isKeySegment) || (last !== '' && !isKeySegment(`${last}a`))) return undefined
  // `..` at its end would mean the folder above to MinIO.
  return startOf(prefix).replace(/(^|\/)\.+$/, '$1')
}

function isKey(key: string): boolean {
  return key.length <= MAX_KEY_LENGTH && key.split('/').every(isKeySegment)
}

/** The name of `start` and of every key that goes on after it, up to there. */
function startOf(start: string): string {
  let name = ''
  let length = 0
  for (const character of start) {
    if (character === '/') length = 0
    else if (length++ === BREAK_EVERY) {
      name += character < '/' ? BREAK_BELOW : BREAK_ABOVE
      length = 1
    }
    name += character
  }
  return name
}
