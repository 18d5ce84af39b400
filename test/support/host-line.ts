/** The way of a PNode to control, the object store and the broker, which can be cut for a while or broken. */
import type { Peer } from './cluster-peer.js'
import { changedControl } from './changed-control.js'
import { type CuttableLine, cuttableLine } from './cuttable-line.js'
import type { Teardown } from './servers.js'

export interface HostLine {
  /** Where its PNode finds the control API. */
  readonly url: string
  /** Cuts a PNode off from everybody: its sidecar, through which the actors' calls go in and out, stands still meanwhile. */
  cut(peer: Peer): Promise<void>
  mend(peer: Peer): Promise<void>
  /** Holds what goes to the control API and the object store, and nothing else. */
  cutStore(): void
  mendStore(): void
  /** Breaks its connections to the broker, once. */
  abort(): void
}

/** @param url of the control API @param broker as control tells its address */
export async function hostLine(t: Teardown, url: string, broker: string): Promise<HostLine> {
  const messages = await cuttableLine(t, broker)
  const servers = [`nats://127.0.0.1:${messages.port}`]
  // Objects too are asked for here: their owner tells where they are, by URLs that hold for one request.
  const changed = await changedControl(t, url, async (answer) => ({ ...answer, broker: { ...answer.broker, servers } }))
  const api = await cuttableLine(t, changed)
  const lines: readonly CuttableLine[] = [messages, api]
  return {
    url: `http://127.0.0.1:${api.port}`,
    async cut({ daprd }) {
      for (const line of lines) line.cut()
      await daprd.kill('SIGSTOP')
    },
    async mend({ daprd }) {
      for (const line of lines) line.mend()
      await daprd.kill('SIGCONT')
    },
    cutStore: () => api.cut(),
    mendStore: () => api.mend(),
    abort: () => messages.abort(),
  }
}
