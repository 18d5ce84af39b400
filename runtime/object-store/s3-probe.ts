import { randomUUID } from 'node:crypto'
import { SwarmError } from '../errors.js'
import type { S3Client } from './s3-client.js'
import { S3Failure } from './s3-error.js'

/** How a server wants the tag of `If-Match`: the standard says in quotes, some compare the text with what they keep without them. */
export type EtagForm = 'quoted' | 'unquoted'

/** An etag as this server wants it in `If-Match`. */
export function ifMatchHeader(etag: string, form: EtagForm): string {
  return form === 'quoted' ? `"${etag}"` : etag
}

/** Enough that a server which looks and then writes lets two through: of 8 all 8 won on one that ignores conditions. */
const WRITERS = 8

/** Rounds in which nobody wins, since servers may refuse all of several writers at one moment. */
const MAX_ROUNDS = 3

/** No etag of any object. */
const FOREIGN_ETAG = '00000000000000000000000000000000'

/**
 * Finds out by trying whether a server decides conditional writes, and how it wants its etags. Leaves nothing behind.
 * @param prefix of the names of the objects to try with
 * @throws SwarmError `store.unsuitable`; S3Failure
 */
export async function probeConditions(client: S3Client, prefix: string): Promise<EtagForm> {
  const name = `${prefix}@probe/${randomUUID()}`
  try {
    const created = await onlyWinner(client, name, { 'If-None-Match': '*' }, 'If-None-Match: *')
    const form = await findForm(client, name, created)
    const { etag } = await client.put(name, Buffer.from('replaced again'), {})
    await onlyWinner(client, name, { 'If-Match': ifMatchHeader(etag, form) }, 'If-Match')
    await client.remove(name)
    if (await isAccepted(client, name, { 'If-Match': ifMatchHeader(etag, form) })) throw unsuitable('If-Match creates what is not there')
    return form
  } finally {
    // Where even this fails the first error tells more, and one small object stays that no listing shows.
    await client.remove(name).catch(() => {})
  }
}

/** The form in which the server takes the right etag. One that takes a wrong one does not look. */
async function findForm(client: S3Client, name: string, etag: string): Promise<EtagForm> {
  for (const form of ['quoted', 'unquoted'] as const) {
    if (await isAccepted(client, name, { 'If-Match': ifMatchHeader(FOREIGN_ETAG, form) })) throw unsuitable('If-Match replaces any object')
  }
  for (const form of ['quoted', 'unquoted'] as const) {
    if (await isAccepted(client, name, { 'If-Match': ifMatchHeader(etag, form) })) return form
  }
  throw unsuitable('If-Match refuses the right etag')
}

/** The etag that the one of several writers got who won. */
async function onlyWinner(client: S3Client, name: string, headers: Record<string, string>, what: string): Promise<string> {
  for (let round = 0; round < MAX_ROUNDS; round++) {
    const puts = Array.from({ length: WRITERS }, (_, i) => client.put(name, Buffer.from(`${round}.${i}`), headers))
    const outcomes = await Promise.allSettled(puts)
    const winners = outcomes.flatMap((outcome) => (outcome.status === 'fulfilled' ? [outcome.value.etag] : []))
    if (winners.length > 1) throw unsuitable(`${winners.length} of ${WRITERS} concurrent writers with ${what} succeeded`)
    for (const outcome of outcomes) if (outcome.status === 'rejected' && !isRefusal(outcome.reason)) throw outcome.reason
    if (winners.length === 1) return winners[0]
  }
  throw unsuitable(`none of ${WRITERS} concurrent writers with ${what} succeeded`)
}

async function isAccepted(client: S3Client, name: string, headers: Record<string, string>): Promise<boolean> {
  try {
    await client.put(name, Buffer.from('replaced'), headers)
    return true
  } catch (error) {
    if (isRefusal(error)) return false
    throw error
  }
}

/** Whether the condition, and nothing else, was in the way; 409 is S3's word for a writer who came at the same moment. */
function isRefusal(error: unknown): boolean {
  return error instanceof S3Failure && (error.isConflict(true) || error.status === 409)
}

function unsuitable(got: string): SwarmError {
  return new SwarmError('store.unsuitable', {
    what: 'the server of the object store does not decide conditional writes',
    expected: 'exactly one of several writers with the same condition to succeed',
    got,
    fix: 'Use MinIO or another S3 server with conditional writes',
  })
}
