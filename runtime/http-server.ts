/** HTTP servers of ours: Express, bound to one address, closed without waiting for idle connections. */
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import express, { type Express, type Router } from 'express'
import { systemClock } from './clock.js'
import { SwarmError } from './errors.js'

export type { Express, Request, RequestHandler, Response, Router } from 'express'

/** Where a server listens. */
export interface ListenOptions {
  /** Default 127.0.0.1: nothing is open to the network unless asked for. */
  readonly host?: string
  /** Default 0: any free one. */
  readonly port?: number
}

/** A server that listens. */
export interface HttpServer {
  readonly host: string
  readonly port: number
  readonly url: string
  /** Ends idle connections, waits for answers under way at most `graceMs` (default 1,000), ends them too. */
  close(graceMs?: number): Promise<void>
}

/**
 * Longer than clients keep an idle connection (daprd, as Go does: 90 s; Node's own 5 s are less): whoever closes it must not be the
 * one who is just being sent a request, which would be lost.
 */
const KEEP_ALIVE_MS = 120_000

/** An application without routes. A rejected handler goes to the error handlers, never to the process. */
export function httpApp(): Express {
  const app = express()
  app.disable('x-powered-by')
  app.disable('etag')
  return app
}

/** Routes to be mounted on an application. */
export function httpRouter(): Router {
  return express.Router()
}

/** Reads JSON bodies. @param limitBytes a longer body is answered with 413 */
export function httpJson(limitBytes: number): express.RequestHandler {
  return express.json({ limit: limitBytes })
}

/** Reads bodies of any content type as a Buffer, JSON included. @param limitBytes a longer body is answered with 413 */
export function rawBody(limitBytes: number): express.RequestHandler {
  return express.raw({ type: () => true, limit: limitBytes })
}

/** @throws `port.taken`, `service.failed` */
export async function listen(app: Express, { host = '127.0.0.1', port = 0 }: ListenOptions = {}): Promise<HttpServer> {
  const server = createServer(app)
  server.keepAliveTimeout = KEEP_ALIVE_MS
  server.listen(port, host)
  try {
    await once(server, 'listening')
  } catch (cause) {
    const isTaken = (cause as NodeJS.ErrnoException).code === 'EADDRINUSE'
    const fix = isTaken ? 'Choose another port, or 0 for any free one' : undefined
    const what = isTaken ? 'the port is taken' : `cannot listen: ${(cause as Error).message}`
    throw new SwarmError(isTaken ? 'port.taken' : 'service.failed', { what, where: `${host}:${port}`, fix, cause })
  }
  const actual = (server.address() as AddressInfo).port
  return {
    host,
    port: actual,
    url: `http://${host.includes(':') ? `[${host}]` : host}:${actual}`,
    async close(graceMs = 1_000) {
      const closed = once(server, 'close')
      server.close()
      server.closeIdleConnections()
      const cancel = systemClock.after(graceMs, () => server.closeAllConnections())
      await closed
      cancel()
    },
  }
}
