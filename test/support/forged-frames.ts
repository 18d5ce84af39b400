/** Frames as a liar would make them: whole, with right checksums, and wrong in one thing. */
import { crc32 } from 'node:zlib'
import { Packr } from 'msgpackr'
import { batchDigest } from '../../runtime/batch-digest.js'
import { FRAME_HEADER_BYTES, type TensorBytes } from '../../runtime/frame.js'
import type { BusConnect } from '../../runtime/tensor-bus/tensor-bus.js'

/** What may be changed. */
export interface Forged {
  run: string
  vnode: string
  batch: string
  step: number
  marks: number
  readonly tensors: { name: string; dtype: string; shape: number[]; bytes: Uint8Array }[]
}

const packr = new Packr({ useRecords: false })
const align = (size: number): number => Math.ceil(size / 64) * 64

/** The frame with a change, its checksums made anew. */
export function forge(frame: Uint8Array, change: (forged: Forged) => void): Uint8Array {
  const from = new DataView(frame.buffer, frame.byteOffset, frame.byteLength)
  const [metadataBytes, payloadOffset] = [from.getUint32(36, true), from.getUint32(40, true)]
  const { run, vnode, batch, tensors } = packr.unpack(Uint8Array.from(frame.subarray(64, 64 + metadataBytes))) as {
    readonly run: string
    readonly vnode: string
    readonly batch: string
    readonly tensors: readonly [string, string, number[], number, number][]
  }
  const forged: Forged = {
    run,
    vnode,
    batch,
    step: from.getUint32(16, true),
    marks: from.getUint8(7),
    tensors: tensors.map(([name, dtype, shape, at, size]) => {
      return { name, dtype, shape: [...shape], bytes: frame.slice(payloadOffset + at, payloadOffset + at + size) }
    }),
  }
  change(forged)
  let payloadBytes = 0
  const entries = forged.tensors.map(({ name, dtype, shape, bytes }) => {
    const at = payloadBytes
    payloadBytes = align(at + bytes.byteLength)
    return [name, dtype, shape, at, bytes.byteLength] as const
  })
  const packed = packr.pack({ run: forged.run, vnode: forged.vnode, batch: forged.batch, tensors: entries })
  const start = align(FRAME_HEADER_BYTES + packed.byteLength)
  const bytes = new Uint8Array(start + payloadBytes)
  bytes.set(frame.subarray(0, FRAME_HEADER_BYTES))
  bytes.set(packed, FRAME_HEADER_BYTES)
  forged.tensors.forEach((tensor, i) => bytes.set(tensor.bytes, start + entries[i][3]))
  const view = new DataView(bytes.buffer)
  view.setUint8(7, forged.marks)
  view.setUint32(16, forged.step, true)
  view.setUint32(36, packed.byteLength, true)
  view.setUint32(40, start, true)
  view.setUint32(44, payloadBytes, true)
  view.setUint32(48, crc32(bytes.subarray(56)), true)
  view.setUint32(52, crc32(bytes.subarray(0, 52)), true)
  return bytes
}

const floats = ({ bytes }: Pick<TensorBytes, 'bytes'>) => new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4)
const first = ({ tensors }: Forged) => tensors[0]

/** One lie for each reason for which the content of a frame is refused. */
export const LIES = {
  run: (frame: Forged) => void (frame.run = 'other'),
  step: (frame: Forged) => void frame.step++,
  tensors: (frame: Forged) => void frame.tensors.push({ name: 'more', dtype: 'float32', shape: [0], bytes: new Uint8Array(0) }),
  dtype: (frame: Forged) => void (first(frame).dtype = 'int32'),
  shape: (frame: Forged) => void first(frame).shape.push(1),
  labels: (frame: Forged) => void (frame.tensors[1].bytes[0] ^= 1),
  /** Another batch altogether, whose digest fits. */
  batch: (frame: Forged) => {
    const [, { bytes }] = frame.tensors
    bytes[0] ^= 1
    frame.batch = batchDigest({ shape: [1], bytes: new Uint8Array(1) }, bytes)
  },
  finite: (frame: Forged) => void (floats(first(frame))[0] = Number.NaN),
  norm: (frame: Forged) => floats(first(frame)).forEach((x, i, all) => (all[i] = 100_000 * x)),
} as const

/** A bus on which some frames are not what was sent. @param lie gives another frame; undefined: it goes as it is */
export function lyingBus(inner: BusConnect, lie: (frame: Uint8Array, from: string, to: string) => Uint8Array | undefined): BusConnect {
  return async (name) => {
    const bus = await inner(name)
    return {
      publish(subject, bytes) {
        const [, , , , to, kind] = subject.split('.')
        bus.publish(subject, (kind === 'frame' && lie(bytes, name, to)) || bytes)
      },
      subscribe: (subject, options) => bus.subscribe(subject, options),
      flush: (signal) => bus.flush(signal),
      drain: (signal) => bus.drain(signal),
      close: () => bus.close(),
      closed: bus.closed,
    }
  }
}
