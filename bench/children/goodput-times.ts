/**
 * What a step, a start, a restore and a transfer take: the times that `bench/goodput.ts` simulates. One VNode (dense 1024 to 1024, `pred`, Adam,
 * batch 1,024) in a real worker; its frames over a real NATS server and its states to and from a real MinIO, both ends on this machine.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { performance } from 'node:perf_hooks'
import { prepare } from '../../actors/prepare.js'
import { DEFINITION_VERSION } from '../../components/definition.js'
import { pred } from '../../index.js'
import { systemClock as clock } from '../../runtime/clock.js'
import { computePool } from '../../runtime/compute/thread-compute.js'
import { encodeFrame } from '../../runtime/frame.js'
import { memoryStore } from '../../runtime/object-store/memory-store.js'
import { s3Store } from '../../runtime/object-store/s3-store.js'
import { startMinio, startNats } from '../../runtime/services/index.js'
import { natsBus } from '../../runtime/tensor-bus/nats-bus.js'
import { median } from '../measure.js'
import { equal, noise } from './networks.js'

const BATCH = 1_024
const STEPS = 24
const REPEATS = 7
const ROOT = { rootUser: 'bench-root', rootPassword: 'bench-root-password' }

async function timed<T>(work: () => Promise<T>): Promise<{ readonly ms: number; readonly value: T }> {
  const begun = performance.now()
  const value = await work()
  return { ms: performance.now() - begun, value }
}

/** The median of some repeats, of which the first ones do not count. */
async function medianMs(repeats: number, work: () => Promise<unknown>): Promise<number> {
  const all: number[] = []
  for (let i = 0; i < repeats; i++) all.push((await timed(work)).ms)
  return median(all.slice(Math.floor(repeats / 4)))
}

const training = { data: noise(BATCH, 1_024), rule: pred(), epochs: 1, batchSize: BATCH }
const { definition } = await prepare(equal, training, memoryStore())
const { network } = definition
const machine = { v: DEFINITION_VERSION, vnode: network.vnodes[1], target: network.target, training: definition.training, bundles: {} }
const pool = computePool({ machines: new URL('../../components/vnode-machine.js', import.meta.url), clock, spares: 0 })
const compute = pool.compute('bench')
const { ms: startMs } = await timed(() => compute.start())
await compute.load('one', machine, undefined)
const header = { kind: 'output', marks: 0, generation: 1, term: 1, step: 1, position: 1, evaluation: 0, run: 'bench', vnode: 'v' } as const
const input = encodeFrame(
  {
    header,
    output: { dtype: 'float32', shape: [BATCH, 1_024], bytes: new Uint8Array(new Float32Array(BATCH * 1_024).fill(0.5).buffer) },
    labels: { dtype: 'int32', shape: [BATCH], bytes: new Uint8Array(4 * BATCH) },
    batch: '',
  },
  true,
)
let step = 0
const stepMs = await medianMs(STEPS, () => {
  step++
  return compute.apply('one', { step, evaluation: 0, inputs: [input], areInputsWhole: true, header })
})
const { frame } = await compute.apply('one', { step: step + 1, evaluation: 0, inputs: [input], areInputsWhole: true, header })
let blob = new Uint8Array()
const snapshotMs = await medianMs(REPEATS, async () => (blob = (await compute.snapshot('one')) as Uint8Array<ArrayBuffer>))
const loadMs = await medianMs(REPEATS, async () => {
  await compute.unload('one')
  await compute.load('one', machine, blob)
})
await pool.close()

const folder = await mkdtemp(join(tmpdir(), 'swarmgrad-times-'))
const minio = await startMinio({ folder: join(folder, 'minio'), ...ROOT })
const nats = await startNats({ folder: join(folder, 'nats') })
try {
  const store = s3Store({ endpoint: minio.endpoint, bucket: 'bench', accessKey: ROOT.rootUser, secretKey: ROOT.rootPassword, clock })
  let n = 0
  const putMs = await medianMs(REPEATS, () => store.put(`state-${++n}`, blob))
  const getMs = await medianMs(REPEATS, () => store.get('state-1'))
  await store.close()
  const [from, to] = await Promise.all(['a', 'b'].map((name) => natsBus({ servers: [nats.url], name })))
  const inbox = to.subscribe('sg.r.to.b.v.frame', { capacity: 100 })
  await inbox.ready
  const arrivals = inbox[Symbol.asyncIterator]()
  const frameMs = await medianMs(STEPS, async () => {
    from.publish('sg.r.to.b.v.frame', frame)
    await arrivals.next()
  })
  from.close()
  to.close()
  const sizes = { frameBytes: frame.byteLength, stateBytes: blob.byteLength }
  const lines = { bytesPerMs: frame.byteLength / frameMs, putBytesPerMs: blob.byteLength / putMs, getBytesPerMs: blob.byteLength / getMs }
  process.stdout.write(`${JSON.stringify({ startMs, loadMs, stepMs, snapshotMs, ...sizes, frameMs, putMs, getMs, ...lines })}\n`)
} finally {
  await Promise.all([minio.stop(), nats.stop()])
  await rm(folder, { recursive: true, force: true })
}
process.exit()
