import { randomUUID } from 'node:crypto'
import { systemClock, type Clock } from '../clock.js'
import { abortedError, checkKey, conflictError, notFoundError } from './object-key.js'
import type { ListedObject, ObjectStore, PutOptions, StoredObject } from './object-store.js'
import { isPlainEtag, type ListOptions, type NamedPut } from './repeated-call.js'
import { PUT_ID_HEADER, S3Client, type PresignedRequest, type SignedMethod } from './s3-client.js'
import { S3Failure, s3Error } from './s3-error.js'
import { keyOf, nameOf, namePrefixOf } from './s3-keys.js'
import { ifMatchHeader, probeConditions, type EtagForm } from './s3-probe.js'
import { StoreCalls } from './store-calls.js'

export type { PresignedRequest, SignedMethod } from './s3-client.js'

export interface S3StoreOptions {
  /** `http://host:port` or `https://host:port`. */
  readonly endpoint: string
  /** The address that pre-signed URLs name, if others reach the server under another one. */
  readonly publicEndpoint?: string
  /** Made at the first call if it is missing. */
  readonly bucket: string
  readonly accessKey: string
  readonly secretKey: string
  /** Default us-east-1, which MinIO takes for its own. */
  readonly region?: string
  /** A key below which all objects are, for a bucket that holds other things too. */
  readonly prefix?: string
  readonly clock?: Clock
}

export interface PresignOptions extends NamedPut {
  /** For how long the URL is good to begin with, in seconds. Default 60. */
  readonly expiresS?: number
}

/** A store in a bucket. */
export interface S3Store extends ObjectStore {
  put(key: string, bytes: Uint8Array, options?: NamedPut): Promise<{ etag: string }>
  list(prefix: string, options?: ListOptions): AsyncIterable<ListedObject>
  /**
   * Makes sure that the bucket is there and that the server can do what the store promises. Each first call does so too.
   * @throws `store.unsuitable`, `store.denied`, `cluster.clock`, `store.unavailable`
   */
  probe(options?: { signal?: AbortSignal }): Promise<void>
  /** Signs one request for somebody who has no key: this method, this key, these conditions, soon. The conditions cannot be left out. */
  presign(method: SignedMethod, key: string, options?: PresignOptions): Promise<PresignedRequest>
}

/** Long enough for the way to a volunteer and back; an upload may take longer, since it is asked only at its start. */
const EXPIRES_S = 60

/** Over a hiccup, not over a restart: that is the patient store's part. */
const RETRY_DELAYS_MS = [50, 200]

const REGION = 'us-east-1'

/**
 * A store in a bucket of MinIO or any other S3 server with conditional writes.
 *
 * Each object is written by one request, never in parts. A request whose answer is lost is repeated a few times; as every object carries the
 * name of the put that wrote it, a conditional put that finds its condition broken by itself knows so and is done. An unconditional
 * one is simply done again: where others write the same key at the same moment, without a condition too, the earlier of two may win.
 *
 * @throws SwarmError `usage` for an address or a bucket that cannot be one
 */
export function s3Store(options: S3StoreOptions): S3Store {
  return new BucketStore(options)
}

class BucketStore implements S3Store {
  readonly #client: S3Client
  readonly #clock: Clock
  /** Of all names, with a slash at its end; or empty. */
  readonly #prefix: string
  readonly #where: string
  readonly #calls = new StoreCalls()
  #preparation: Promise<EtagForm> | undefined

  constructor({ region = REGION, clock = systemClock, prefix, ...options }: S3StoreOptions) {
    this.#client = new S3Client({ ...options, region, clock })
    this.#clock = clock
    this.#prefix = prefix === undefined ? '' : `${checkKey(prefix)}/`
    this.#where = `${options.endpoint}/${options.bucket}`
  }

  get(key: string, { signal }: { signal?: AbortSignal } = {}): Promise<StoredObject> {
    return this.#call(key, signal, async () => {
      await this.#prepared(signal)
      try {
        return await this.#repeat(signal, () => this.#client.get(this.#nameOf(key), signal))
      } catch (error) {
        throw error instanceof S3Failure && error.isNotFound ? notFoundError(key) : error
      }
    })
  }

  put(key: string, bytes: Uint8Array, options: NamedPut = {}): Promise<{ etag: string }> {
    return this.#call(key, options.signal, async () => {
      const copy = Buffer.from(bytes)
      const { signal, putId = randomUUID() } = options
      const form = await this.#prepared(signal)
      const headers = this.#headersOf({ ...options, putId }, form)
      return this.#repeat(signal, async () => {
        try {
          if (!headers) throw new S3Failure({ s3Code: 'PreconditionFailed', status: 412, message: 'an etag of no object' })
          return await this.#client.put(this.#nameOf(key), copy, headers, signal)
        } catch (error) {
          if (!(error instanceof S3Failure) || !isConditional(options) || !error.isConflict(options.ifMatch !== undefined)) throw error
          const found = await this.#client.stat(this.#nameOf(key), signal)
          if (found?.putId === putId) return { etag: found.etag }
          throw conflictError(key, found?.etag, options)
        }
      })
    })
  }

  delete(key: string, { signal }: { signal?: AbortSignal } = {}): Promise<void> {
    return this.#call(key, signal, async () => {
      await this.#prepared(signal)
      try {
        await this.#repeat(signal, () => this.#client.remove(this.#nameOf(key), signal))
      } catch (error) {
        if (!(error instanceof S3Failure && error.isNotFound)) throw error
      }
    })
  }

  async *list(prefix: string, { after, signal }: ListOptions = {}): AsyncGenerator<ListedObject> {
    const start = namePrefixOf(prefix)
    let last = after === undefined ? '' : this.#nameOf(after)
    for (let isLast = false; !isLast;) {
      const page = await this.#call(undefined, signal, async () => {
        if (start === undefined) return { objects: [], isLast: true }
        await this.#prepared(signal)
        return this.#repeat(signal, () => this.#client.page(this.#prefix + start, last, signal))
      })
      for (const { name, sizeBytes } of page.objects) {
        last = name
        const key = keyOf(name.slice(this.#prefix.length))
        if (key?.startsWith(prefix)) yield { key, sizeBytes }
      }
      isLast = page.isLast
    }
  }

  probe({ signal }: { signal?: AbortSignal } = {}): Promise<void> {
    return this.#call(undefined, signal, async () => void (await this.#prepared(signal)))
  }

  presign(method: SignedMethod, key: string, { expiresS = EXPIRES_S, ...options }: PresignOptions = {}): Promise<PresignedRequest> {
    return this.#call(key, options.signal, async () => {
      const form = await this.#prepared(options.signal)
      const headers = method === 'PUT' ? this.#headersOf(options, form) : {}
      if (!headers) throw conflictError(key, undefined, options)
      return this.#client.presign(method, this.#nameOf(key), headers, expiresS)
    })
  }

  async close(): Promise<void> {
    await this.#calls.close()
    await Promise.allSettled([this.#preparation])
    this.#client.close()
  }

  #nameOf(key: string): string {
    return this.#prefix + nameOf(key)
  }

  /** The headers of a put; undefined if its condition cannot hold. */
  #headersOf({ ifNoneMatch, ifMatch, putId = randomUUID() }: NamedPut, form: EtagForm): Record<string, string> | undefined {
    if (ifMatch !== undefined && !isPlainEtag(ifMatch)) return undefined
    return {
      [PUT_ID_HEADER]: putId,
      ...(ifNoneMatch && { 'If-None-Match': ifNoneMatch }),
      ...(ifMatch !== undefined && { 'If-Match': ifMatchHeader(ifMatch, form) }),
    }
  }

  #call<T>(key: string | undefined, signal: AbortSignal | undefined, work: () => Promise<T>): Promise<T> {
    const where = key === undefined ? this.#where : `${this.#where}, ${key}`
    return this.#calls.run(key, signal, work, (error) => (error instanceof S3Failure ? s3Error(error, where) : error))
  }

  /** Repeats `work` over failures that pass soon. */
  async #repeat<T>(signal: AbortSignal | undefined, work: () => Promise<T>): Promise<T> {
    for (const delayMs of RETRY_DELAYS_MS) {
      try {
        return await work()
      } catch (error) {
        if (signal?.aborted || !(error instanceof S3Failure) || !error.isTransient) throw error
      }
      await this.#clock.sleep(delayMs, signal)
    }
    return work()
  }

  /** How this server wants its etags, found out once for all calls; so no caller's signal ends it, only his wait. */
  async #prepared(signal: AbortSignal | undefined): Promise<EtagForm> {
    if (!this.#preparation) {
      const preparation = this.#prepare()
      this.#preparation = preparation
      preparation.catch(() => {
        this.#preparation = undefined
      })
    }
    return signal ? unlessAborted(this.#preparation, signal) : this.#preparation
  }

  #prepare(): Promise<EtagForm> {
    return this.#repeat(undefined, async () => {
      await this.#client.ensureBucket()
      return probeConditions(this.#client, this.#prefix)
    })
  }
}

function isConditional({ ifNoneMatch, ifMatch }: PutOptions): boolean {
  return ifNoneMatch !== undefined || ifMatch !== undefined
}

/** What `promise` gives, or a rejection as soon as the signal says stop. */
function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(abortedError(signal))
    signal.addEventListener('abort', onAbort, { once: true })
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort))
  })
}
