/**
 * What travels over the broker besides frames and signals (M34). `sg.channel.<name>`, the sender behind it as everywhere; a broker's
 * permissions say who may publish and read which (nats-authority.ts).
 *
 * | channel | from | to | what |
 * |---|---|---|---|
 * | heartbeats | PNodes | control | every second: that it is there, its load, its VNodes |
 * | metrics | PNodes | control | steps applied, VNodes restored, messages dropped (observations.ts) |
 *
 * Questions and their answers go `sg.ask.<to>.<method>`, `sg.answer.<to>.<id>` (ask.ts). `task_inbound`, `task_results`, `alerts` and
 * `supervision_events` are reserved, and permitted, for what is to come.
 */
import type { Clock } from '../../runtime/clock.js'
import { SwarmError } from '../../runtime/errors.js'
import type { TensorBus } from '../../runtime/tensor-bus/tensor-bus.js'
import type { Heartbeat } from '../calls.js'
import { ObservationSender } from '../pnode/observations.js'
import type { Observation } from '../reports.js'

export type Channel = 'heartbeats' | 'metrics'

export const channel = (name: Channel): string => `sg.channel.${name}`
/** What control is called on the broker. */
export const CONTROL = 'control'
const HEARTBEAT_VERSION = 1

export function encodeHeartbeat(heartbeat: Heartbeat): Uint8Array {
  return new TextEncoder().encode(JSON.stringify({ v: HEARTBEAT_VERSION, ...heartbeat }))
}

/** @param from who the broker says it is: nobody else's heart beats here. @throws `frame.damaged`, `frame.version` */
export function decodeHeartbeat(bytes: Uint8Array, from: string): Heartbeat {
  let value: Heartbeat & { v: number }
  try {
    value = JSON.parse(new TextDecoder().decode(bytes))
  } catch (cause) {
    throw new SwarmError('frame.damaged', { what: 'unreadable heartbeat', where: from, retryable: true, cause })
  }
  if (value?.v !== HEARTBEAT_VERSION)
    throw new SwarmError('frame.version', {
      what: 'heartbeat of an unknown version',
      where: from,
      expected: HEARTBEAT_VERSION,
      got: String(value?.v),
    })
  const { pnode, busyShare, vnodes, placedBytes } = value
  const isValid =
    pnode === from &&
    Number.isFinite(busyShare) &&
    Array.isArray(vnodes) &&
    vnodes.every((id) => typeof id === 'string') &&
    areBytes(placedBytes)
  if (!isValid) throw new SwarmError('frame.damaged', { what: 'heartbeat with wrong fields', where: from, retryable: true })
  return { pnode, busyShare, vnodes, ...(placedBytes && { placedBytes }) }
}

function areBytes(byRun: unknown): boolean {
  if (byRun === undefined) return true
  return typeof byRun === 'object' && byRun !== null && Object.values(byRun).every((bytes) => Number.isFinite(bytes) && bytes >= 0)
}

/** A PNode's line to control. */
export interface ControlLine {
  /** Publishes a heartbeat; control asks for a new join by `rejoin` where it does not know us. */
  heartbeat(beat: Heartbeat): Promise<boolean>
  observe(observation: Observation): void
  close(): void
}

export function controlLine(bus: TensorBus, clock: Clock): ControlLine {
  const sender = new ObservationSender(clock, (bytes) => publish('metrics', bytes))
  let isClosed = false
  // What is gathered then has nowhere to go.
  void bus.closed.then(() => (isClosed = true))
  const publish = (name: Channel, bytes: Uint8Array) => {
    if (!isClosed) bus.publish(channel(name), bytes)
  }
  return {
    heartbeat: async (beat) => {
      publish('heartbeats', encodeHeartbeat(beat))
      return true
    },
    observe: (observation) => sender.observe(observation),
    close: () => {
      sender.flush()
      isClosed = true
    },
  }
}
