import { SwarmError, toSwarmError } from '../errors.js'
import { httpRouter, rawBody, type Request, type RequestHandler, type Response, type Router } from '../http-server.js'
import { checkKey } from './object-key.js'
import type { ListedObject, ObjectStore } from './object-store.js'
import { isPlainEtag, isPutId, type NamedPut } from './repeated-call.js'
import type { PresignedRequest, SignedMethod } from './s3-store.js'
import { ASK, PAGE_LENGTH, PUT_ID, quoteEtag, SEND_HEADERS, statusOf, STORE_PATH, unquoteEtag, type ListPage } from './store-protocol.js'

export type StoreOperation = 'get' | 'put' | 'delete' | 'list'

/** What one caller may do, and how the bytes reach him. */
export interface Access {
  /** @param key of `list`: the prefix */
  allows(operation: StoreOperation, key: string): boolean | Promise<boolean>
  /** `stream`: the bytes pass through this server. `redirect`: the caller gets a pre-signed URL for each object and fetches or sends them himself. */
  readonly via: 'stream' | 'redirect'
}

export interface StoreRoutesOptions {
  readonly store: ObjectStore
  /** Who asks, by his token. @throws `cluster.token` */
  readonly authorize: (request: Request) => Promise<Access>
  /** Needed for `redirect`: the `presign` of an S3 store. */
  readonly presign?: (method: SignedMethod, key: string, options: NamedPut) => Promise<PresignedRequest>
  /** Default 128 MiB: what stores promise to hold, and some. */
  readonly maxObjectBytes?: number
}

const MAX_OBJECT_BYTES = 128 * 1024 * 1024

/** Puts whose outcome is remembered for a caller who did not hear it: more than are ever repeated at one time. */
const REMEMBERED_PUTS = 1000

/**
 * Routes that give others a store over HTTP (`store-protocol.ts`), each caller what he may do and no more.
 * A put is carried through even if its caller goes away, and its outcome is told to him when he repeats it under the same name.
 */
export function storeRoutes(options: StoreRoutesOptions): Router {
  const router = httpRouter()
  const puts: Puts = new Map()
  const objects = `${STORE_PATH}/*key`
  router.get(STORE_PATH, (request, response) => answerList(options, request, response))
  router.get(objects, (request, response) => answerGet(options, request, response))
  router.put(
    objects,
    // Before the body is read: nobody sends 100 MB to learn that he may not.
    (request, response, next) => admitPut(options, request, response, next),
    rawBody(options.maxObjectBytes ?? MAX_OBJECT_BYTES),
    (request, response) => answerPut(options, puts, request, response),
  )
  router.delete(objects, (request, response) => answerDelete(options, request, response))
  router.use(STORE_PATH, answerError)
  return router
}

/** By name and key. */
type Puts = Map<string, Promise<{ etag: string }>>

async function answerList(options: StoreRoutesOptions, request: Request, response: Response): Promise<void> {
  const prefix = queryOf(request, 'prefix')
  await admit(options, request, ['list'], prefix)
  response.json(await pageOf(options.store, prefix, queryOf(request, 'after'), untilClosed(response)))
}

async function answerGet(options: StoreRoutesOptions, request: Request, response: Response): Promise<void> {
  const key = keyOf(request)
  const method = request.method === 'HEAD' ? 'HEAD' : 'GET'
  // Whoever may write an object may ask whether it is his: that is how a put whose answer was lost is settled.
  const access = await admit(options, request, method === 'HEAD' ? ['get', 'put'] : ['get'], key)
  if (access.via === 'redirect') return redirect(options, response, method, key, {})
  const { bytes, etag } = await options.store.get(key, { signal: untilClosed(response) })
  response.set({ ETag: quoteEtag(etag), 'Content-Type': 'application/octet-stream', 'Content-Length': String(bytes.length) })
  response.end(method === 'HEAD' ? undefined : bytes)
}

async function admitPut(options: StoreRoutesOptions, request: Request, response: Response, next: () => void): Promise<void> {
  const key = keyOf(request)
  const access = await admit(options, request, ['put'], key)
  if (access.via === 'redirect') return redirect(options, response, 'PUT', key, putOptionsOf(request))
  if (request.headers[ASK] !== undefined) return void response.status(204).end()
  next()
}

async function answerPut({ store }: StoreRoutesOptions, puts: Puts, request: Request, response: Response): Promise<void> {
  const key = keyOf(request)
  const putOptions = putOptionsOf(request)
  const name = `${putOptions.putId} ${key}`
  let put = puts.get(name)
  if (!put) {
    put = store.put(key, Buffer.isBuffer(request.body) ? request.body : Buffer.alloc(0), putOptions)
    if (putOptions.putId !== undefined) remember(puts, name, put)
  }
  const { etag } = await put
  response.set('ETag', quoteEtag(etag)).status(200).end()
}

async function answerDelete(options: StoreRoutesOptions, request: Request, response: Response): Promise<void> {
  const key = keyOf(request)
  await admit(options, request, ['delete'], key)
  await options.store.delete(key, { signal: untilClosed(response) })
  response.status(204).end()
}

/** @throws `store.denied` unless one of `operations` is allowed, and what `authorize` throws */
async function admit(
  { authorize }: StoreRoutesOptions,
  request: Request,
  operations: readonly StoreOperation[],
  key: string,
): Promise<Access> {
  const access = await authorize(request)
  for (const operation of operations) if (await access.allows(operation, key)) return access
  throw new SwarmError('store.denied', { what: `no right to ${operations[0]} this`, where: key })
}

async function redirect(
  { presign }: StoreRoutesOptions,
  response: Response,
  method: SignedMethod,
  key: string,
  options: NamedPut,
): Promise<void> {
  if (!presign) throw new SwarmError('internal', { what: 'access by redirect to a store that cannot sign URLs', where: key })
  const { url, headers } = await presign(method, key, options)
  response.set({ Location: url, [SEND_HEADERS]: JSON.stringify(headers), 'Cache-Control': 'no-store' })
  response.status(307).end()
}

function remember(puts: Puts, name: string, put: Promise<{ etag: string }>): void {
  puts.set(name, put)
  // What failed may be tried again.
  put.catch(() => puts.delete(name))
  for (const oldest of puts.keys()) {
    if (puts.size <= REMEMBERED_PUTS) break
    puts.delete(oldest)
  }
}

async function pageOf(store: ObjectStore, prefix: string, after: string, signal: AbortSignal): Promise<ListPage> {
  const objects: ListedObject[] = []
  // A store that can begins there; from others come the keys before it too.
  const options = { signal, ...(after && { after }) }
  for await (const { key, sizeBytes } of store.list(prefix, options)) {
    if (key <= after) continue
    if (objects.length === PAGE_LENGTH) return { objects, isLast: false }
    objects.push({ key, sizeBytes })
  }
  return { objects, isLast: true }
}

/** Aborted when the caller goes away before he has his answer. */
function untilClosed(response: Response): AbortSignal {
  const controller = new AbortController()
  response.once('close', () => {
    if (!response.writableFinished) controller.abort(new Error('the caller went away'))
  })
  return controller.signal
}

/** @throws `store.invalid-key` */
function keyOf(request: Request): string {
  const { key } = request.params
  return checkKey(Array.isArray(key) ? key.join('/') : key)
}

function queryOf(request: Request, name: string): string {
  const value = request.query[name]
  return typeof value === 'string' ? value : ''
}

/** @throws `usage` for conditions that this protocol does not have */
function putOptionsOf(request: Request): NamedPut {
  const { 'if-none-match': ifNoneMatch, 'if-match': match } = request.headers
  const putId = request.headers[PUT_ID]?.toString()
  const ifMatch = match === undefined ? undefined : unquoteEtag(match)
  const isKnown =
    (ifNoneMatch === undefined || ifNoneMatch === '*') &&
    (ifMatch === undefined || isPlainEtag(ifMatch)) &&
    (putId === undefined || isPutId(putId))
  if (!isKnown) throw new SwarmError('usage', { what: 'a condition or a name of a put that cannot be', where: keyOf(request) })
  return { ...(ifNoneMatch && { ifNoneMatch: '*' as const }), ...(ifMatch !== undefined && { ifMatch }), ...(putId && { putId }) }
}

/** Express knows an error handler by its four parameters. */
function answerError(error: unknown, _request: Request, response: Response, next: Parameters<RequestHandler>[2]): void {
  if (response.headersSent) return next(error)
  const answer = isTooLarge(error)
    ? new SwarmError('store.too-large', { what: 'the object is too large', expected: `at most ${error.limit} bytes`, got: error.length })
    : toSwarmError(error, 'internal')
  response.status(statusOf(answer)).json(answer)
}

/** The body parser's own error. */
function isTooLarge(error: unknown): error is { limit: number; length: number } {
  return error instanceof Error && 'type' in error && error.type === 'entity.too.large'
}
