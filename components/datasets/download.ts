/** Files fetched once from their official address, checked, and kept. */
import { createHash, randomUUID } from 'node:crypto'
import { mkdir, open, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { SwarmError, isSwarmError, toSwarmError } from '../../runtime/errors.js'

/** A file with a known content. */
export interface RemoteFile {
  readonly name: string
  readonly sizeBytes: number
  /** In hex. */
  readonly sha256: string
}

export interface DownloadOptions {
  readonly signal?: AbortSignal
  /** Called with the bytes of this file so far. */
  readonly onBytes?: (doneBytes: number) => void
}

/**
 * Downloads `file` into `folder` from the first of `origins` (addresses that end in `/`) that has it whole; resolves to its path.
 * What is written is a temporary file until its size and SHA-256 are right: a reader never sees a part.
 * @throws `dataset.missing` (retryable) if no origin answers; `dataset.damaged` if what came was not the file; `aborted`
 */
export async function downloadFile(
  file: RemoteFile,
  folder: string,
  origins: readonly string[],
  options: DownloadOptions = {},
): Promise<string> {
  const errors: SwarmError[] = []
  for (const origin of origins) {
    try {
      return await downloadFrom(`${origin}${file.name}`, file, folder, options)
    } catch (error) {
      if (!isSwarmError(error, 'dataset.missing', 'dataset.damaged')) throw error
      errors.push(error)
    }
  }
  const code = errors.some((error) => error.code === 'dataset.damaged') ? 'dataset.damaged' : 'dataset.missing'
  throw new SwarmError(code, { what: errors.map(({ message }) => message).join('; '), retryable: true, cause: errors.at(-1) })
}

async function downloadFrom(url: string, file: RemoteFile, folder: string, { signal, onBytes }: DownloadOptions): Promise<string> {
  const path = join(folder, file.name)
  const partial = `${path}.${randomUUID()}.part`
  try {
    const body = await request(url, signal)
    await mkdir(folder, { recursive: true })
    await receive(url, body, partial, file, onBytes)
    await rename(partial, path)
    return path
  } catch (error) {
    if (signal?.aborted) throw new SwarmError('aborted', { what: 'the download was aborted', where: url, cause: error })
    throw toSwarmError(error, 'dataset.missing', `could not store ${url} in ${folder}`)
  } finally {
    await rm(partial, { force: true })
  }
}

async function request(url: string, signal?: AbortSignal): Promise<ReadableStream<Uint8Array>> {
  const response = await fetch(url, { signal }).catch((error: unknown) => {
    const { message, cause } = error as Error
    const detail = cause instanceof Error ? cause.message : message
    throw new SwarmError('dataset.missing', { what: `no answer from ${url}: ${detail}`, retryable: true, cause: error })
  })
  if (response.ok && response.body) return response.body
  await response.body?.cancel()
  throw new SwarmError('dataset.missing', { what: `${url} was refused`, expected: 'status 200', got: response.status, retryable: true })
}

async function receive(
  url: string,
  body: ReadableStream<Uint8Array>,
  partial: string,
  file: RemoteFile,
  onBytes?: (doneBytes: number) => void,
) {
  const damaged = (expected: string, got: string, cause?: unknown) =>
    new SwarmError('dataset.damaged', { what: 'the download is not the published file', where: url, expected, got, retryable: true, cause })
  const hash = createHash('sha256')
  const output = await open(partial, 'wx')
  let done = 0
  const reader = body.getReader()
  try {
    for (;;) {
      const chunk = await reader.read().catch((error: unknown) => {
        throw damaged(`${file.sizeBytes} bytes`, `${done} bytes, then the connection ended`, error)
      })
      if (chunk.done) break
      done += chunk.value.byteLength
      if (done > file.sizeBytes) throw damaged(`${file.sizeBytes} bytes`, 'more')
      hash.update(chunk.value)
      await output.writeFile(chunk.value)
      onBytes?.(done)
    }
    if (done !== file.sizeBytes) throw damaged(`${file.sizeBytes} bytes`, `${done} bytes`)
    const sha256 = hash.digest('hex')
    if (sha256 !== file.sha256) throw damaged(`SHA-256 ${file.sha256}`, sha256)
    await output.sync()
  } finally {
    await reader.cancel().catch(() => undefined) // after a failure the body may be in error already
    await output.close()
  }
}
