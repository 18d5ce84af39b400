/** The `minio` client, one S3 request at a time: a signal and a deadline for each, and one kind of failure. */
import http, { type IncomingMessage } from 'node:http'
import https from 'node:https'
import { Client, type ClientOptions } from 'minio'
import { presignSignatureV4 } from 'minio/dist/esm/signing.mjs'
import type { Clock } from '../clock.js'
import { SwarmError } from '../errors.js'
import { S3Failure } from './s3-error.js'

export interface S3ClientOptions {
  /** `http://host:port` or `https://host:port`. */
  readonly endpoint: string
  /** The address that pre-signed URLs name, where that of others differs. */
  readonly publicEndpoint?: string
  readonly bucket: string
  readonly accessKey: string
  readonly secretKey: string
  readonly region: string
  readonly clock: Clock
}

/** A request that somebody without a key may make, once signed: with exactly these headers. */
export interface PresignedRequest {
  readonly method: SignedMethod
  readonly url: string
  readonly headers: Readonly<Record<string, string>>
}

export type SignedMethod = 'GET' | 'HEAD' | 'PUT'

/** Of the put that wrote an object: how a put whose answer was lost knows its own work again. */
export const PUT_ID_HEADER = 'x-amz-meta-swarmgrad-put'

/** With the client's default of 64 MB larger objects would go in parts, unconditionally, and resume parts of another host. This is its maximum. */
const SINGLE_PUT_BYTES = 5 * 1024 * 1024 * 1024

/** A server that moves no byte for so long is gone; writing 100 MB to a slow disk takes less. */
const IDLE_TIMEOUT_MS = 30_000

/** More calls wait: each holds a connection and a whole object. */
const MAX_CONNECTIONS = 64

/** The most that S3 lists at once. */
const PAGE_LENGTH = 1000

/** An S3 bucket, without keys of ours, without retries. Every call rejects with `S3Failure`, or with the signal's reason. */
export class S3Client {
  readonly #options: S3ClientOptions
  readonly #url: URL
  readonly #agent: http.Agent

  /** @throws `usage` for an address or a bucket that cannot be one */
  constructor(options: S3ClientOptions) {
    this.#options = options
    this.#url = parseEndpoint(options.endpoint)
    if (options.publicEndpoint) parseEndpoint(options.publicEndpoint)
    if (!/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/.test(options.bucket))
      throw new SwarmError('usage', {
        what: 'not the name of a bucket',
        expected: '3 to 63 characters of [a-z0-9.-]',
        got: JSON.stringify(options.bucket),
      })
    const settings = { keepAlive: true, maxSockets: MAX_CONNECTIONS }
    this.#agent = this.#url.protocol === 'https:' ? new https.Agent(settings) : new http.Agent(settings)
  }

  /** Makes the bucket if it is missing. */
  async ensureBucket(signal?: AbortSignal): Promise<void> {
    const { bucket, region } = this.#options
    try {
      if (await this.#call(signal, (client) => client.bucketExists(bucket))) return
    } catch (error) {
      // A key may be good for objects and not for this question, whose answer has no body that tells why: a put says more.
      if (error instanceof S3Failure && error.status === 403) return
      throw error
    }
    try {
      await this.#call(signal, (client) => client.makeBucket(bucket, region))
    } catch (error) {
      // Somebody else was faster.
      if (error instanceof S3Failure && ['BucketAlreadyOwnedByYou', 'BucketAlreadyExists'].includes(error.s3Code)) return
      throw error
    }
  }

  /** One conditional request, whatever the size. The client sends a SHA-256 of the body (over TLS an MD5), which the server verifies. */
  put(name: string, bytes: Buffer, headers: Readonly<Record<string, string>>, signal?: AbortSignal): Promise<{ etag: string }> {
    return this.#call(signal, (client) => client.putObject(this.#options.bucket, name, bytes, bytes.length, { ...headers }))
  }

  /** @throws S3Failure `NoSuchKey` */
  get(name: string, signal?: AbortSignal): Promise<{ bytes: Uint8Array; etag: string }> {
    return this.#call(signal, async (client) => {
      const answer = (await client.getObject(this.#options.bucket, name)) as IncomingMessage
      return { bytes: await readBody(answer), etag: unquoted(answer.headers.etag ?? '') }
    })
  }

  /** The tag of an object and the name of the put that wrote it; undefined if there is no such object. */
  async stat(name: string, signal?: AbortSignal): Promise<{ etag: string; putId: string | undefined } | undefined> {
    try {
      return await this.#call(signal, async (client, answer) => {
        const { etag } = await client.statObject(this.#options.bucket, name)
        return { etag, putId: answer()?.headers[PUT_ID_HEADER]?.toString() }
      })
    } catch (error) {
      if (error instanceof S3Failure && error.isNotFound) return undefined
      throw error
    }
  }

  remove(name: string, signal?: AbortSignal): Promise<void> {
    return this.#call(signal, (client) => client.removeObject(this.#options.bucket, name))
  }

  /** The first names after `after` that start with `prefix`, in order. */
  page(
    prefix: string,
    after: string,
    signal?: AbortSignal,
  ): Promise<{ objects: readonly { name: string; sizeBytes: number }[]; isLast: boolean }> {
    return this.#call(signal, async (client) => {
      const page = await client.listObjectsV2Query(this.#options.bucket, prefix, '', '', PAGE_LENGTH, after)
      const objects = page.objects.flatMap(({ name, size }) => (name === undefined ? [] : [{ name, sizeBytes: size }]))
      return { objects, isLast: !page.isTruncated || objects.length === 0 }
    })
  }

  /** Signs a request, headers included, so that whoever makes it can leave none of them out. The client signs none, but has the function that could. */
  presign(method: SignedMethod, name: string, headers: Readonly<Record<string, string>>, expiresS: number): PresignedRequest {
    const { endpoint, publicEndpoint = endpoint, bucket, accessKey, secretKey, region, clock } = this.#options
    const { protocol, host } = new URL(publicEndpoint)
    const path = `/${bucket}/${name.split('/').map(escape).join('/')}`
    // oxlint-disable-next-line no-restricted-globals -- the time is the clock's; the client wants it as a Date.
    const now = new Date(clock.now())
    // In lower case, since the function sorts them as they are.
    const signed = Object.fromEntries(Object.entries(headers).map(([header, value]) => [header.toLowerCase(), value]))
    const request = { method, path, protocol, headers: { ...signed, host } }
    return { method, headers: signed, url: presignSignatureV4(request, accessKey, secretKey, undefined, region, now, expiresS) }
  }

  /** Ends idle connections. */
  close(): void {
    this.#agent.destroy()
  }

  /** A client of its own for each request: the one way to hand it a signal, and to see the answer. */
  async #call<T>(
    signal: AbortSignal | undefined,
    work: (client: Client, answer: () => IncomingMessage | undefined) => Promise<T>,
  ): Promise<T> {
    let answer: IncomingMessage | undefined
    let ours: string | undefined
    const send = this.#url.protocol === 'https:' ? https.request : http.request
    const request = (options: http.RequestOptions, onAnswer: (answer: IncomingMessage) => void) => {
      ours = (options.headers as http.OutgoingHttpHeaders | undefined)?.['x-amz-date']?.toString()
      const sent = send({ ...options, signal, timeout: IDLE_TIMEOUT_MS }, (received) => {
        answer = received
        onAnswer(received)
      })
      return sent.on('timeout', () => sent.destroy(new Error(`no byte for ${IDLE_TIMEOUT_MS / 1000} s`)))
    }
    try {
      return await work(new Client(this.#settings({ request } as NonNullable<ClientOptions['transport']>)), () => answer)
    } catch (error) {
      // The client does not read the answers that it would like to repeat; unread they hold their connection.
      answer?.resume()
      if (signal?.aborted) throw signal.reason
      throw failureOf(error, answer, ours)
    }
  }

  #settings(transport: NonNullable<ClientOptions['transport']>): ClientOptions {
    const { accessKey, secretKey, region } = this.#options
    return {
      endPoint: this.#url.hostname.replace(/^\[|\]$/g, ''),
      port: Number(this.#url.port) || (this.#url.protocol === 'https:' ? 443 : 80),
      useSSL: this.#url.protocol === 'https:',
      accessKey,
      secretKey,
      region,
      partSize: SINGLE_PUT_BYTES,
      transport,
      transportAgent: this.#agent,
      // They ignore signals and print.
      retryOptions: { disableRetry: true },
    }
  }
}

function parseEndpoint(endpoint: string): URL {
  const url = URL.canParse(endpoint) ? new URL(endpoint) : undefined
  if (url && /^https?:$/.test(url.protocol) && url.pathname === '/' && !url.search && !url.username) return url
  throw new SwarmError('usage', {
    what: 'not the address of an object store',
    expected: 'http://host:port or https://host:port',
    got: JSON.stringify(endpoint),
  })
}

/** As S3 signs it: everything but what is never reserved. */
function escape(segment: string): string {
  return encodeURIComponent(segment).replace(/[!'()*]/g, (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`)
}

function unquoted(etag: string): string {
  return etag.replace(/^"|"$/g, '')
}

/** The body in a buffer of its own. */
async function readBody(answer: IncomingMessage): Promise<Uint8Array> {
  const bytes = new Uint8Array(Number(answer.headers['content-length'] ?? 0))
  let length = 0
  for await (const part of answer as AsyncIterable<Buffer>) {
    if (length + part.length > bytes.length) throw new Error(`more bytes than the ${bytes.length} announced`)
    bytes.set(part, length)
    length += part.length
  }
  if (length < bytes.length) throw new Error(`${length} of ${bytes.length} bytes arrived`)
  return bytes
}

/** What the client throws: an `S3Error` with the fields of the answer's XML in lower case, or anything else. */
function failureOf(error: unknown, answer: IncomingMessage | undefined, ours: string | undefined): S3Failure {
  const fields = (error instanceof Error ? error : {}) as Record<string, unknown>
  const text = (name: string) => {
    const value = fields[name]
    return typeof value === 'string' || typeof value === 'number' ? String(value) : undefined
  }
  const status = answer?.statusCode
  // An answer that was a success, and broke off: whatever was asked may be done, and its outcome is unknown.
  const isAnswered = status !== undefined && status >= 300
  return new S3Failure({
    s3Code: isAnswered ? text('code') : undefined,
    status: isAnswered ? status : undefined,
    message: text('message') || text('code') || '',
    ours: text('requesttime') ?? ours,
    theirs: text('servertime') ?? answer?.headers.date,
    cause: error,
  })
}
