import { randomUUID } from 'node:crypto'
import { systemClock, type Clock } from '../clock.js'
import { SwarmError } from '../errors.js'
import { abortedError, conflictError, notFoundError } from './object-key.js'
import type { ListedObject, ObjectStore, StoredObject } from './object-store.js'
import { isPlainEtag, type ListOptions, type NamedPut } from './repeated-call.js'
import { S3Failure, s3Error } from './s3-error.js'
import { StoreCalls } from './store-calls.js'
import { ASK, errorOfAnswer, PUT_ID, quoteEtag, SEND_HEADERS, STORE_PATH, unquoteEtag, type ListPage } from './store-protocol.js'

export interface HttpStoreOptions {
  /** Of the server with the routes: `http://host:port`, with a path in front if it has one. */
  readonly url: string
  /** What says who we are, or what gives it: asked for each request, so that it may be renewed. */
  readonly token: string | (() => string | Promise<string>)
  readonly clock?: Clock
  /** Default: the machine's own. */
  readonly fetch?: typeof fetch
}

/** A store that is reached over HTTP. */
export interface HttpStore extends ObjectStore {
  put(key: string, bytes: Uint8Array, options?: NamedPut): Promise<{ etag: string }>
  list(prefix: string, options?: ListOptions): AsyncIterable<ListedObject>
}

/** Over a hiccup, not over a restart: that is the patient store's part. */
const RETRY_DELAYS_MS = [50, 200]

/** A server that gives no sign of life for so long is gone; writing 100 MB to a slow disk takes less. */
const IDLE_TIMEOUT_MS = 30_000

/** Nobody tells how far an upload is, so its deadline grows with its size: 512 kbit/s is a slow line of a home. */
const SLOWEST_BYTES_PER_MS = 64

/** The S3 header of a put's name. Not from `s3-client.ts`: who asks over HTTP needs no S3 client. */
const S3_PUT_ID = 'x-amz-meta-swarmgrad-put'

/**
 * A store behind `storeRoutes`: all that its owner needs is an address and a token.
 *
 * Where the server sends us on to a pre-signed URL, the bytes go there, without the token. Requests whose answer is lost are repeated a few
 * times under the name of their put, so that a put never loses to itself.
 */
export function httpStore(options: HttpStoreOptions): HttpStore {
  return new RemoteStore(options)
}

/** How a request ended, whichever server answered it. */
interface Answer {
  readonly status: number
  readonly headers: Headers
  /** Empty unless it is the object that was asked for. */
  readonly bytes: Uint8Array
  /** Of an error. */
  readonly text: string
  /** Whether the server sent us on to the one that answered. */
  readonly isElsewhere: boolean
}

interface Ask {
  readonly method: 'GET' | 'HEAD' | 'PUT' | 'DELETE'
  readonly url: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: Uint8Array
  readonly signal?: AbortSignal
}

class RemoteStore implements HttpStore {
  readonly #url: string
  readonly #token: HttpStoreOptions['token']
  readonly #clock: Clock
  readonly #fetch: typeof fetch
  readonly #calls = new StoreCalls()
  /** Whether the server takes bodies itself, as far as it has said: else each put asks first. */
  #isStreaming = false

  constructor({ url, token, clock = systemClock, fetch: own = fetch }: HttpStoreOptions) {
    if (!URL.canParse(url) || !/^https?:/.test(url))
      throw new SwarmError('usage', { what: 'not the address of a server', expected: 'http://… or https://…', got: JSON.stringify(url) })
    this.#url = url.replace(/\/+$/, '') + STORE_PATH
    this.#token = token
    this.#clock = clock
    this.#fetch = own
  }

  get(key: string, { signal }: { signal?: AbortSignal } = {}): Promise<StoredObject> {
    return this.#calls.run(key, signal, () =>
      this.#repeat(signal, async () => {
        const answer = await this.#ask({ method: 'GET', url: this.#urlOf(key), signal })
        if (answer.status !== 200) throw this.#errorOf(answer, key)
        return { bytes: answer.bytes, etag: etagOf(answer) }
      }),
    )
  }

  put(key: string, bytes: Uint8Array, options: NamedPut = {}): Promise<{ etag: string }> {
    return this.#calls.run(key, options.signal, async () => {
      const copy = new Uint8Array(bytes)
      const { signal, ifMatch, ifNoneMatch, putId = randomUUID() } = options
      if (ifMatch !== undefined && !isPlainEtag(ifMatch)) throw conflictError(key, undefined, options)
      const headers: Record<string, string> = { [PUT_ID]: putId }
      if (ifNoneMatch) headers['if-none-match'] = ifNoneMatch
      if (ifMatch !== undefined) headers['if-match'] = quoteEtag(ifMatch)
      return this.#repeat(signal, async () => {
        const answer = await this.#putAsking(key, copy, headers, signal)
        if (answer.status === 200) return { etag: etagOf(answer) }
        const isConflict = answer.status === 412 || (ifMatch !== undefined && answer.status === 404)
        if (!answer.isElsewhere || !isConflict) throw this.#errorOf(answer, key)
        // The S3 server knows no names of puts: it may be our own whose answer was lost.
        const found = await this.#stat(key, signal)
        if (found?.putId === putId) return { etag: found.etag }
        throw conflictError(key, found?.etag, options)
      })
    })
  }

  delete(key: string, { signal }: { signal?: AbortSignal } = {}): Promise<void> {
    return this.#calls.run(key, signal, () =>
      this.#repeat(signal, async () => {
        const answer = await this.#ask({ method: 'DELETE', url: this.#urlOf(key), signal })
        if (answer.status !== 204) throw this.#errorOf(answer, key)
      }),
    )
  }

  async *list(prefix: string, { after = '', signal }: ListOptions = {}): AsyncGenerator<ListedObject> {
    for (let isLast = false, last = after; !isLast;) {
      const url = `${this.#url}?${new URLSearchParams({ prefix, after: last }).toString()}`
      const page = await this.#calls.run(undefined, signal, () =>
        this.#repeat(signal, async () => {
          const answer = await this.#ask({ method: 'GET', url, signal })
          if (answer.status !== 200) throw this.#errorOf(answer, prefix)
          return JSON.parse(new TextDecoder().decode(answer.bytes)) as ListPage
        }),
      )
      for (const { key, sizeBytes } of page.objects) {
        last = key
        yield { key, sizeBytes }
      }
      isLast = page.isLast
    }
  }

  close(): Promise<void> {
    return this.#calls.close()
  }

  #urlOf(key: string): string {
    return `${this.#url}/${key}`
  }

  /** Puts to wherever the server wants it. Until it has said that it takes bodies itself it is asked, by a request without one. */
  async #putAsking(key: string, body: Uint8Array, headers: Record<string, string>, signal: AbortSignal | undefined): Promise<Answer> {
    const put = { method: 'PUT', url: this.#urlOf(key), headers, body, signal } as const
    if (this.#isStreaming) return this.#ask(put)
    const answer = await this.#ask({ ...put, headers: { ...headers, [ASK]: '1' } })
    if (answer.isElsewhere || answer.status !== 204) return answer
    this.#isStreaming = true
    return this.#ask(put)
  }

  /** The tag of an object on an S3 server and the name of the put that wrote it; undefined if there is none. */
  async #stat(key: string, signal: AbortSignal | undefined): Promise<{ etag: string; putId: string | null } | undefined> {
    const answer = await this.#ask({ method: 'HEAD', url: this.#urlOf(key), signal })
    if (answer.status === 404) return undefined
    if (answer.status !== 200) throw this.#errorOf(answer, key)
    return { etag: etagOf(answer), putId: answer.headers.get(S3_PUT_ID) }
  }

  /** One request, and the one that it is sent on to. By hand: the body is sent only there, the token only here. */
  async #ask(ask: Ask): Promise<Answer> {
    const token = typeof this.#token === 'string' ? this.#token : await this.#token()
    const isAsking = ask.headers?.[ASK] !== undefined
    const headers = { ...ask.headers, authorization: `Bearer ${token}` }
    const answer = await this.#exchange({ ...ask, headers, body: isAsking ? undefined : ask.body })
    if (answer.status !== 307) return answer
    const url = answer.headers.get('location') ?? ''
    const signed = JSON.parse(answer.headers.get(SEND_HEADERS) ?? '{}') as Record<string, string>
    if (!/^https?:/.test(url)) throw new SwarmError('store.unavailable', { what: 'sent on to no address', where: ask.url, got: url })
    this.#isStreaming = false
    return { ...(await this.#exchange({ ...ask, url, headers: signed })), isElsewhere: true }
  }

  /** One request and all of its answer, under a deadline. @throws `store.unavailable`, `aborted` */
  async #exchange({ method, url, headers, body, signal }: Ask): Promise<Answer> {
    const controller = new AbortController()
    const onAbort = () => controller.abort(signal!.reason)
    signal?.addEventListener('abort', onAbort, { once: true })
    if (signal?.aborted) onAbort()
    const deadline = (ms: number) =>
      this.#clock.after(ms, () => controller.abort(new Error(`no sign of life for ${Math.round(ms / 1000)} s`)))
    let cancel = deadline(IDLE_TIMEOUT_MS + (body?.length ?? 0) / SLOWEST_BYTES_PER_MS)
    const stillAlive = () => {
      cancel()
      cancel = deadline(IDLE_TIMEOUT_MS)
    }
    try {
      const {
        status,
        headers: received,
        ...answer
      } = await this.#fetch(url, {
        method,
        headers,
        body: body as Uint8Array<ArrayBuffer> | undefined,
        redirect: 'manual',
        signal: controller.signal,
      }).then(async (response) => {
        stillAlive()
        const bytes = await readBody(response, stillAlive)
        const isError = response.status >= 300
        return { status: response.status, headers: response.headers, bytes, text: isError ? new TextDecoder().decode(bytes) : '' }
      })
      return { status, headers: received, ...answer, isElsewhere: false }
    } catch (error) {
      if (signal?.aborted) throw abortedError(signal)
      throw unreachable(error, new URL(url).origin)
    } finally {
      cancel()
      signal?.removeEventListener('abort', onAbort)
    }
  }

  /** Repeats `work` over failures that pass soon. */
  async #repeat<T>(signal: AbortSignal | undefined, work: () => Promise<T>): Promise<T> {
    for (const delayMs of RETRY_DELAYS_MS) {
      try {
        return await work()
      } catch (error) {
        if (!(error instanceof SwarmError) || !error.retryable || this.#calls.isClosed) throw error
      }
      await this.#clock.sleep(delayMs, signal)
    }
    return work()
  }

  #errorOf({ status, text, isElsewhere }: Answer, key: string): SwarmError {
    if (!isElsewhere) return errorOfAnswer(status, text, key)
    const s3Code = /<Code>([^<]*)<\/Code>/.exec(text)?.[1]
    const message = /<Message>([^<]*)<\/Message>/.exec(text)?.[1] ?? ''
    const failure = new S3Failure({ s3Code, status, message })
    if (failure.isNotFound) return notFoundError(key)
    // The next attempt gets a new one.
    if (status === 403 && /expired/i.test(message))
      return new SwarmError('store.denied', { what: 'a pre-signed URL that has expired', where: key, fix: CLOCKS, retryable: true })
    return s3Error(failure, key)
  }
}

const CLOCKS = 'If it happens again, compare the clocks of the control host and of the object store'

function etagOf({ headers }: Answer): string {
  return unquoteEtag(headers.get('etag') ?? '')
}

function unreachable(error: unknown, where: string): SwarmError {
  // `fetch failed` says nothing: its cause does.
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error
  const code = cause instanceof Error && 'code' in cause ? `${String(cause.code)}: ` : ''
  return new SwarmError('store.unavailable', {
    what: `the object store does not answer (${code}${cause instanceof Error ? cause.message : String(cause)})`,
    where,
    fix: 'Check that it runs and that the address is right',
    // A fetch that could not even be tried, for a token that is no header, has no cause.
    retryable: !(error instanceof TypeError) || error.cause !== undefined,
    cause: error,
  })
}

/** The whole body in a buffer of its own. */
async function readBody(response: Response, onPart: () => void): Promise<Uint8Array> {
  const announced = Number(response.headers.get('content-length') ?? 0)
  let bytes = new Uint8Array(response.body ? announced : 0)
  let length = 0
  for await (const part of response.body ?? []) {
    onPart()
    if (length + part.length > bytes.length) {
      // Not announced: twice the room each time, so that every byte is moved about once.
      const larger = new Uint8Array(Math.max(2 * bytes.length, length + part.length))
      larger.set(bytes.subarray(0, length))
      bytes = larger
    }
    bytes.set(part, length)
    length += part.length
  }
  if (length < announced && response.body) throw new Error(`${length} of ${announced} bytes arrived`)
  return length === bytes.length ? bytes : bytes.slice(0, length)
}
