/** What a sidecar answers to a call: the actor's answer, or Dapr's own words. */
import { unwrapAnswer } from '../answer.js'
import { SwarmError } from '../errors.js'
import type { Json } from './actor-system.js'
import type { SidecarAnswer } from './dapr-sidecar.js'

/** Dapr 1.14 says it in words only, later versions with a code; all after five seconds of looking. */
const NO_ADDRESS = /did not find address|ERR_ACTOR_NO_ADDRESS/i

/** The actor's result. @throws the actor's code, `actor.not-found` for a type that nobody has, `actor.unreachable` (retryable) for what Dapr could not do */
export function parseAnswer({ status, body }: SidecarAnswer, what: string): Json {
  if (status === 200) return unwrapAnswer(body, what)
  const message = daprMessage(body)
  if (NO_ADDRESS.test(message)) throw new SwarmError('actor.not-found', { what: 'no host has this actor type', where: what })
  throw new SwarmError('actor.unreachable', { what: `Dapr did not reach the actor: ${message}`, where: what, got: status, retryable: true })
}

/** `{"errorCode":…,"message":…}`, or whatever it is. */
function daprMessage(body: string): string {
  try {
    const { errorCode, message } = JSON.parse(body) as { errorCode?: unknown; message?: unknown }
    if (typeof message === 'string') return typeof errorCode === 'string' ? `${message} (${errorCode})` : message
  } catch {
    // Not Dapr's form: said as it is.
  }
  return body.slice(0, 500)
}
