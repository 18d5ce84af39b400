/**
 * The entry of a worker thread: it starts the machines of a module, says that it is warm, and then answers each request in
 * the order received. Whatever ends it, ends only this thread.
 */
import { writeSync } from 'node:fs'
import { parentPort, workerData, type Transferable } from 'node:worker_threads'
import { failure, MachineHost, type HostReply, type HostRequest } from './machine-host.js'
import { importMachines } from './machine-module.js'

/** What a worker is started with. */
export interface WorkerOptions {
  /** URL of the module that exports `startMachines`. */
  readonly machines: string
}

/** What a worker receives. */
export interface WorkerRequest {
  readonly id: number
  readonly request: HostRequest
}

/** What a worker sends: first that it is warm or why it is not, with id 0, then one reply for each request. */
export interface WorkerReply {
  readonly id: number
  readonly reply: HostReply
}

const STDERR = 2

if (parentPort) await serve(parentPort, workerData as WorkerOptions)

async function serve(port: NonNullable<typeof parentPort>, options: WorkerOptions): Promise<void> {
  printAtOnce()
  const host = await warm(options)
  if (!(host instanceof MachineHost)) {
    port.postMessage({ id: 0, reply: host } satisfies WorkerReply)
    return
  }
  const queue: WorkerRequest[] = []
  let isRunning = false
  const run = async (): Promise<void> => {
    isRunning = true
    for (let next = queue.shift(); next; next = queue.shift()) {
      const answer = host.execute(next.request)
      const reply = answer instanceof Promise ? await answer : answer
      send(port, next, reply)
    }
    isRunning = false
  }
  port.on('message', (message: WorkerRequest) => {
    queue.push(message)
    if (!isRunning) void run()
  })
  port.postMessage({ id: 0, reply: { ok: true, value: undefined } } satisfies WorkerReply)
}

/**
 * Lets user code print to the process's stderr only (stdout is for results), and at once: what takes the usual way, through the
 * event loop of the process, is lost when the worker hangs or the process ends.
 */
function printAtOnce(): void {
  const later = process.stderr.write.bind(process.stderr)
  const now = (chunk: string | Uint8Array, ...rest: unknown[]): boolean => {
    let bytes = typeof chunk === 'string' ? Buffer.from(chunk) : chunk
    try {
      while (bytes.byteLength > 0) bytes = bytes.subarray(writeSync(STDERR, bytes))
    } catch {
      return later(bytes) // a full pipe that does not block: the usual way waits
    }
    const written = rest.at(-1)
    if (typeof written === 'function') written()
    return true
  }
  process.stdout.write = now
  process.stderr.write = now
}

async function warm({ machines }: WorkerOptions): Promise<MachineHost | HostReply> {
  try {
    const startMachines = await importMachines(new URL(machines))
    return new MachineHost(await startMachines(), { shared: true })
  } catch (error) {
    return failure(error, 'the machines could not be started', true)
  }
}

function send(port: NonNullable<typeof parentPort>, { id, request }: WorkerRequest, reply: HostReply): void {
  if (request.kind !== 'snapshot' || !reply.ok) {
    port.postMessage({ id, reply } satisfies WorkerReply)
    return
  }
  const blob = reply.value as Uint8Array
  // A view of something larger, or of shared memory, is copied: only a buffer that is nothing but the blob is given away.
  const own = blob.buffer instanceof ArrayBuffer && blob.byteLength === blob.buffer.byteLength ? blob : new Uint8Array(blob)
  port.postMessage({ id, reply: { ok: true, value: own } } satisfies WorkerReply, [own.buffer as Transferable & ArrayBuffer])
}
