/** As much of an S3 server as the store needs, in memory, without looking at signatures: for what real ones do rarely or never. */
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Teardown } from './servers.js'

export interface FakeS3Request {
  readonly method: string
  /** `/bucket/name`. */
  readonly path: string
  readonly headers: IncomingHttpHeaders
}

/** What happens to a request instead of what should: an answer with this status and code, or none although it is carried out. */
export type FakeS3Fault =
  | { readonly status: number; readonly code: string; readonly message?: string; readonly headers?: Record<string, string> }
  | 'lose-answer'

export interface FakeS3 {
  readonly endpoint: string
  /** Asked for each request; undefined lets it be. */
  fault: (request: FakeS3Request) => FakeS3Fault | undefined
  /** By path. */
  readonly objects: Map<string, FakeObject>
  /** All that were answered. */
  readonly requests: FakeS3Request[]
}

interface FakeObject {
  readonly bytes: Buffer
  readonly etag: string
  readonly headers: Readonly<Record<string, string>>
}

export interface FakeS3Options {
  /** How it wants the etag of If-Match. Default: either way. */
  readonly wants?: 'quoted' | 'unquoted'
  /** Conditions that it does not look at. */
  readonly ignores?: readonly ('if-match' | 'if-none-match')[]
}

export async function fakeS3(t: Teardown, { wants, ignores = [] }: FakeS3Options = {}): Promise<FakeS3> {
  const buckets = new Set<string>()
  const objects = new Map<string, FakeObject>()
  const fake: { -readonly [name in keyof FakeS3]: FakeS3[name] } = { endpoint: '', fault: () => undefined, objects, requests: [] }

  const isRefused = (headers: IncomingHttpHeaders, etag: string | undefined) => {
    if (headers['if-none-match'] && !ignores.includes('if-none-match') && etag !== undefined) return true
    const match = headers['if-match']
    if (match === undefined || ignores.includes('if-match')) return false
    const right = wants === 'quoted' ? [`"${etag}"`] : wants === 'unquoted' ? [etag] : [etag, `"${etag}"`]
    return etag === undefined || !right.includes(match)
  }

  const carryOut = (request: FakeS3Request, url: URL, body: Buffer, answer: ServerResponse) => {
    const { method, path, headers } = request
    const [, bucket, name] = /^\/([^/]+)\/?(.*)$/.exec(path) ?? []
    if (name === '' && method === 'PUT') {
      buckets.add(bucket)
      return answer.end()
    }
    if (!buckets.has(bucket)) return refuse(answer, 404, 'NoSuchBucket', method)
    if (name === '') return method === 'HEAD' ? answer.end() : answer.end(listing(objects, bucket, url.searchParams))
    const object = objects.get(path)
    if (method === 'PUT') {
      if (isRefused(headers, object?.etag)) return refuse(answer, 412, 'PreconditionFailed', method)
      const kept = Object.fromEntries(Object.entries(headers).filter(([header]) => header.startsWith('x-amz-meta-'))) as Record<
        string,
        string
      >
      const etag = createHash('md5').update(body).digest('hex')
      objects.set(path, { bytes: body, etag, headers: kept })
      return answer.setHeader('etag', `"${etag}"`).end()
    }
    if (method === 'DELETE') {
      objects.delete(path)
      return answer.writeHead(204).end()
    }
    if (!object) return refuse(answer, 404, 'NoSuchKey', method)
    answer.writeHead(200, { ...object.headers, etag: `"${object.etag}"`, 'content-length': object.bytes.length })
    answer.end(method === 'HEAD' ? undefined : object.bytes)
  }

  const serve = async (incoming: IncomingMessage, answer: ServerResponse) => {
    const parts: Buffer[] = []
    for await (const part of incoming) parts.push(part as Buffer)
    const url = new URL(incoming.url!, 'http://fake')
    const request = { method: incoming.method!, path: decodeURIComponent(url.pathname), headers: incoming.headers }
    fake.requests.push(request)
    const fault = fake.fault(request)
    if (fault === undefined) return carryOut(request, url, Buffer.concat(parts), answer)
    if (fault !== 'lose-answer') return refuse(answer, fault.status, fault.code, request.method, fault.message, fault.headers)
    const socket = incoming.socket
    answer.end = (() => socket.destroy()) as unknown as typeof answer.end
    carryOut(request, url, Buffer.concat(parts), answer)
  }

  // Who goes away in the middle of a request has no answer to get.
  const server = createServer((incoming, answer) => void serve(incoming, answer).catch(() => answer.destroy()))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.close()
    server.closeAllConnections()
  })
  fake.endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  return fake
}

function refuse(answer: ServerResponse, status: number, code: string, method: string, message = code, headers = {}): void {
  answer.writeHead(status, { 'content-type': 'application/xml', ...headers })
  answer.end(method === 'HEAD' ? undefined : `<?xml version="1.0"?><Error><Code>${code}</Code><Message>${message}</Message></Error>`)
}

function listing(objects: Map<string, FakeObject>, bucket: string, query: URLSearchParams): string {
  const after = query.get('start-after') ?? ''
  const names = [...objects.keys()]
    .filter((path) => path.startsWith(`/${bucket}/${query.get('prefix') ?? ''}`))
    .map((path) => path.slice(bucket.length + 2))
  const rest = names.filter((name) => name > after).sort()
  const page = rest.slice(0, Number(query.get('max-keys')))
  const entries = page.map(
    (name) => `<Contents><Key>${encodeURIComponent(name)}</Key><Size>${objects.get(`/${bucket}/${name}`)!.bytes.length}</Size></Contents>`,
  )
  return `<ListBucketResult><IsTruncated>${page.length < rest.length}</IsTruncated>${entries.join('')}</ListBucketResult>`
}
