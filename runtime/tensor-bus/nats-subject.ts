/** Subjects on the wire: the bus's subject with its publisher behind it, `….from.<name>`, where the broker's permissions bind it. */
import { SwarmError } from '../errors.js'

/** One token of a subject, and the name of a peer: no white space, dot or wildcard. */
const TOKEN = /^[^\s.*>]+$/
const SUBJECT = /^[^\s.*>]+(?:\.[^\s.*>]+)*$/
/** The most bytes of a subject: NATS ends a connection whose control line exceeds 4,096, and names need room beside it. */
export const MAX_SUBJECT_BYTES = 1_024
/** The most bytes of a peer's name. */
const MAX_NAME_BYTES = 256

/** A message's subject as the bus has it, and who published it. */
export interface Sender {
  readonly subject: string
  readonly from: string
}

/** Asserts that a peer's name is one token. @throws `usage` */
export function checkName(name: string): void {
  if (TOKEN.test(name) && Buffer.byteLength(name) <= MAX_NAME_BYTES) return
  throw new SwarmError('usage', {
    what: 'a peer name is one token',
    expected: `no white space, dot, * or >, at most ${MAX_NAME_BYTES} bytes`,
    got: JSON.stringify(name),
  })
}

/** The wire subject that `name` publishes under. @throws `usage` */
export function publishedAs(subject: string, name: string): string {
  if (!isSubject(subject)) throw invalidSubject(subject)
  return `${subject}.from.${name}`
}

/** The wire subject to subscribe to; a wildcard also catches what `senderOf` then refuses. @throws `usage` */
export function subscribedAs(subject: string): string {
  const isWild = subject.endsWith('.>')
  if (!isSubject(isWild ? subject.slice(0, -2) : subject)) throw invalidSubject(subject)
  return isWild ? subject : `${subject}.from.*`
}

/** Who published what, from a wire subject heard under the subscription `pattern`; undefined if it is none of the pattern's. */
export function senderOf(wire: string, pattern: string): Sender | undefined {
  const nameDot = wire.lastIndexOf('.')
  const fromDot = wire.lastIndexOf('.', nameDot - 1)
  if (fromDot <= 0 || wire.slice(fromDot + 1, nameDot) !== 'from') return undefined
  const subject = wire.slice(0, fromDot)
  const isOurs = pattern.endsWith('.>')
    ? subject.startsWith(pattern.slice(0, -1)) && subject.length > pattern.length - 1
    : subject === pattern
  return isOurs ? { subject, from: wire.slice(nameDot + 1) } : undefined
}

function isSubject(subject: string): boolean {
  return SUBJECT.test(subject) && Buffer.byteLength(subject) <= MAX_SUBJECT_BYTES
}

function invalidSubject(subject: string): SwarmError {
  return new SwarmError('usage', {
    what: 'invalid subject',
    expected: `tokens joined by dots, at most ${MAX_SUBJECT_BYTES} bytes; only a subscription may end in .>`,
    got: JSON.stringify(subject.slice(0, 80)),
  })
}
