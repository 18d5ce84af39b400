/** What Dapr asks of an application that hosts actors: https://docs.dapr.io/reference/api/actors_api/, the part "Dapr calling to user service code". */
import { SwarmError, toSwarmError } from '../errors.js'
import { httpApp, rawBody } from '../http-server.js'
import type { Express, Request, Response } from '../http-server.js'
import { decodeSegment, encodeSegment } from './actor-keys.js'
import { MAX_CALL_BYTES } from './actor-system.js'
import type { ActorRef, Json } from './actor-system.js'
import { errorAnswer, resultAnswer } from '../answer.js'

/** What happens at Dapr's requests. */
export interface DaprAppHandlers {
  /** The types that are announced, not encoded. */
  types(): readonly string[]
  /** The sidecar has (re)started and asks for the types. */
  onConfig(): void
  /** A call; it is given up when `signal` aborts. What it throws goes to the caller. */
  call(target: ActorRef, method: string, text: string, signal: AbortSignal): Promise<Json>
  /** The sidecar has an actor for active here. */
  onClaim(target: ActorRef): void
  /** The sidecar holds the actor for inactive. */
  deactivate(target: ActorRef): Promise<void>
  /** A tick of a reminder. */
  remind(target: ActorRef, name: string, body: string): void
  /** What nobody hears. */
  report(error: SwarmError, target: ActorRef): void
}

/** The id and the method that no actor has: a call to them is answered at once, without a turn. Calls to it show that a type is hosted. */
export const NOBODY = '_'
/** Our actors stay until Dapr or their system says otherwise: an idle one costs only memory. */
const IDLE_TIMEOUT = '24h'
/** Dapr waits so long for a call under way before it moves an actor; calls are short. */
const DRAIN_TIMEOUT = '2s'
/** A reminder's argument is as large as a call's, and comes back inside our record inside Dapr's. */
const MAX_BODY_BYTES = 2 * MAX_CALL_BYTES

/**
 * An application for `listen`. A handler's error is an answer like any other (200, `{"error":…}`): daprd wraps the body of a 500 into a
 * text of its own and repeats the call where a resiliency policy says so.
 * @param token if given, what daprd must send (APP_API_TOKEN)
 */
export function daprApp(handlers: DaprAppHandlers, token?: string): Express {
  const app = httpApp()
  if (token !== undefined) {
    app.use((request, response, next) => {
      if (request.get('dapr-api-token') === token) next()
      else response.status(401).end()
    })
  }

  app.get('/healthz', (_request, response) => void response.status(200).end())

  app.get('/dapr/config', (_request, response) => {
    handlers.onConfig()
    response.json({
      entities: handlers.types().map(encodeSegment),
      actorIdleTimeout: IDLE_TIMEOUT,
      drainOngoingCallTimeout: DRAIN_TIMEOUT,
      drainRebalancedActors: true,
      reentrancy: { enabled: false },
    })
  })

  const onCall = async (request: Request, response: Response) => {
    const target = refOf(request)
    const method = decodeSegment(parameter(request, 'method'))
    if (!target || method === undefined) {
      answer(response, errorAnswer(new SwarmError('actor.not-found', { what: 'no name of an actor', where: request.path })))
      return
    }
    if (target.id !== '') handlers.onClaim(target)
    if (method === '') {
      answer(response, resultAnswer(null))
      return
    }
    const abort = new AbortController()
    response.on('close', () => abort.abort(new SwarmError('aborted', 'the caller has given up')))
    try {
      answer(response, resultAnswer(await handlers.call(target, method, bodyOf(request), abort.signal)))
    } catch (error) {
      answer(response, errorAnswer(toSwarmError(error, 'internal')))
    }
  }
  app.put('/actors/:type/:id/method/:method', rawBody(MAX_BODY_BYTES), (request, response, next) => {
    onCall(request, response).catch(next)
  })

  app.put('/actors/:type/:id/method/remind/:name', rawBody(MAX_BODY_BYTES), (request, response) => {
    const target = refOf(request)
    const name = decodeSegment(parameter(request, 'name'))
    if (target && name !== undefined) {
      handlers.onClaim(target)
      try {
        handlers.remind(target, name, bodyOf(request))
      } catch (error) {
        handlers.report(toSwarmError(error, 'internal'), target)
      }
    }
    response.status(200).end()
  })

  // Our timers live in this process. One that Dapr knows was set by somebody else: it has no business here.
  app.put('/actors/:type/:id/method/timer/:name', (_request, response) => void response.status(404).end())

  app.delete('/actors/:type/:id', (request, response) => {
    const target = refOf(request)
    const done = target ? handlers.deactivate(target) : Promise.resolve()
    void done.catch((error: unknown) => handlers.report(toSwarmError(error, 'internal'), target!)).then(() => response.status(200).end())
  })

  return app
}

function refOf(request: Request): ActorRef | undefined {
  const [type, id] = [decodeSegment(parameter(request, 'type')), decodeSegment(parameter(request, 'id'))]
  return type === undefined || id === undefined ? undefined : { type, id }
}

function parameter(request: Request, name: string): string {
  return String(request.params[name])
}

function bodyOf(request: Request): string {
  return Buffer.isBuffer(request.body) && request.body.length > 0 ? request.body.toString() : 'null'
}

function answer(response: Response, text: string): void {
  if (!response.destroyed) response.type('application/json').send(text)
}
