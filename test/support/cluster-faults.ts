/** What goes wrong with a test cluster: processes are killed, stopped and started again, workers stand still, hosts are cut off. */
import { systemClock } from '../../runtime/clock.js'
import { readHead } from '../../runtime/head-store.js'
import type { RandomStream } from '../../runtime/random.js'
import type { TestCluster } from './cluster.js'
import type { Peer } from './cluster-peer.js'
import { layStone } from './stones.js'

/** Whose fault it is: one of what is struck, at a time. */
interface Fault {
  readonly target: 'host' | 'hosts' | 'worker' | 'control' | 'minio' | 'nats' | 'placement' | 'scheduler'
  /** Strikes, and mends it. */
  readonly strike: (struck: Struck) => Promise<unknown>
}

interface Struck {
  readonly cluster: TestCluster
  readonly stream: RandomStream
  /** Of the host, or of control. */
  readonly peer: Peer
  readonly name: string
  readonly stone: string
  /** Aborted when the run is over: then everything is mended at once. */
  readonly over: AbortSignal
}

/** Longest time for which what was killed stays away, in ms. */
const AWAY_MS = 1_500
/** Shortest and longest stop of a process, in ms: shorter and longer than the silence after which it is lost. */
const [SHORT_STOP_MS, LONG_STOP_MS] = [300, 9_000]
/** The longest that a worker stands still, in ms: after twice as long its step would count as hung. */
const LONG_REST_MS = 5_000
const LONG_CUT_MS = 120_000
/** Whatever cannot be started because something else is away is tried again, in ms. */
const AGAIN_MS = 500
const START_LIMIT_MS = 90_000

const rest = (ms: number, over: AbortSignal) => systemClock.sleep(ms, over).catch(() => undefined)
const away = ({ stream, over }: Struck) => rest(stream.below(AWAY_MS), over)
const stopMs = (stream: RandomStream) => SHORT_STOP_MS + stream.below(LONG_STOP_MS - SHORT_STOP_MS)

/** Starts it until it runs. */
async function untilStarted(what: string, start: () => Promise<void>): Promise<void> {
  const endMs = performance.now() + START_LIMIT_MS
  for (;;) {
    try {
      return await start()
    } catch (cause) {
      if (performance.now() > endMs) throw new Error(`${what} does not start again`, { cause })
      await systemClock.sleep(AGAIN_MS)
    }
  }
}

const startAgain = async (name: string, peer: Peer) => {
  if (!peer.daprd.isRunning) await untilStarted(`the daprd of ${name}`, () => peer.daprd.restart())
  if (!peer.isRunning) await untilStarted(name, () => peer.startApp())
}

async function killed({ peer, name, ...struck }: Struck, kill: (peer: Peer) => Promise<unknown>): Promise<void> {
  await kill(peer)
  await away({ peer, name, ...struck })
  await startAgain(name, peer)
}

async function stopped({ peer, stream, over }: Struck, hasDaprd: boolean): Promise<void> {
  peer.signal('SIGSTOP')
  if (hasDaprd) await peer.daprd.kill('SIGSTOP')
  await rest(stopMs(stream), over)
  peer.signal('SIGCONT')
  if (hasDaprd) await peer.daprd.kill('SIGCONT')
}

const serverKilled = (name: 'minio' | 'nats' | 'placement' | 'scheduler'): Fault => ({
  target: name,
  async strike(struck) {
    const server = struck.cluster.servers.servers[name]
    await server.kill()
    await away(struck)
    await untilStarted(name, () => server.restart())
  },
})

/** Resolves with false if it was mended before its time. */
async function cutOff(struck: Struck, forMs: number): Promise<boolean> {
  const { cluster, name, peer, over } = struck
  const line = cluster.hosts.get(name)!.line!
  await line.cut(peer)
  await rest(forMs, over)
  await line.mend(peer)
  return !over.aborted
}

/** By what it is called in reports. */
export const CLUSTER_FAULTS = {
  'app killed': { target: 'host', strike: (struck) => killed(struck, (peer) => peer.killApp()) },
  'app segfault': {
    target: 'host',
    strike: (struck) =>
      killed(struck, (peer) => {
        peer.signal('SIGSEGV')
        return peer.ended()
      }),
  },
  'daprd killed': { target: 'host', strike: (struck) => killed(struck, (peer) => peer.daprd.kill()) },
  'PNode killed': { target: 'host', strike: (struck) => killed(struck, (peer) => peer.kill()) },
  'all PNodes killed': {
    target: 'hosts',
    async strike(struck) {
      const all = [...struck.cluster.hosts]
      await Promise.all(all.map(([, { peer }]) => peer.kill()))
      await away(struck)
      await Promise.all(all.map(([name, { peer }]) => startAgain(name, peer)))
    },
  },
  'app stopped': { target: 'host', strike: (struck) => stopped(struck, false) },
  'PNode stopped': { target: 'host', strike: (struck) => stopped(struck, true) },
  'PNode cut off': { target: 'host', strike: (struck) => cutOff(struck, stopMs(struck.stream)) },
  'connection aborted': { target: 'host', strike: async ({ cluster, name }) => cluster.hosts.get(name)!.line!.abort() },
  'worker hangs': { target: 'worker', strike: ({ stone, over }) => layStone(stone, Infinity, over) },
  'worker rests': { target: 'worker', strike: ({ stone, stream, over }) => layStone(stone, stream.below(LONG_REST_MS), over) },
  'control killed': { target: 'control', strike: (struck) => killed(struck, (peer) => peer.kill()) },
  'control stopped': { target: 'control', strike: (struck) => stopped(struck, false) },
  'control and its disk lost': {
    target: 'control',
    strike: async ({ cluster, peer, name }) => {
      await cluster.loseControlDisk().catch(() => undefined)
      await startAgain(name, peer)
    },
  },
  'nats-server killed': serverKilled('nats'),
  'MinIO killed': serverKilled('minio'),
  'placement killed': serverKilled('placement'),
  'scheduler killed': serverKilled('scheduler'),
} as const satisfies { readonly [what: string]: Fault }

/** Too long for most runs. */
export const LONG_FAULTS = {
  'PNode cut off for 120 s': { target: 'host', strike: (struck) => cutOff(struck, LONG_CUT_MS) },
} as const satisfies { readonly [what: string]: Fault }

export type ClusterFault = keyof typeof CLUSTER_FAULTS | keyof typeof LONG_FAULTS

export interface StrikerOptions {
  readonly cluster: TestCluster
  readonly stream: RandomStream
  /** Over which the VNodes of the run stumble. */
  readonly stone: string
}

/** Strikes one run: what is struck already is left alone until it is mended. */
export class Striker {
  /** What has come about. */
  readonly struck: string[] = []
  readonly #options: StrikerOptions
  readonly #struckNow = new Set<string>()
  readonly #strikes: Promise<unknown>[] = []
  readonly #over = new AbortController()

  constructor(options: StrikerOptions) {
    this.#options = options
  }

  /** Resolves when it is mended, with false if nobody was there to be struck. A host that has something of the run is chosen first. */
  strike(what: ClusterFault, run: string): Promise<boolean> {
    const strike = this.#strike(what, run)
    strike.catch(() => undefined)
    this.#strikes.push(strike)
    return strike
  }

  /** The run is over: everything is mended. @throws what could not be mended */
  async end(): Promise<void> {
    this.#over.abort()
    await Promise.all(this.#strikes)
  }

  async #strike(what: ClusterFault, run: string): Promise<boolean> {
    const { cluster, stream, stone } = this.#options
    const { target, strike }: Fault = { ...CLUSTER_FAULTS, ...LONG_FAULTS }[what]
    const busy = target === 'host' ? await busyHosts(cluster, run) : []
    const names = target === 'hosts' ? [...cluster.hosts.keys()] : [target === 'host' ? this.#choose(busy) : target]
    if (names.some((name) => name === undefined || this.#struckNow.has(name))) return false
    for (const name of names) this.#struckNow.add(name!)
    const [name] = names as string[]
    const peer = target === 'control' ? cluster.control : (cluster.hosts.get(name)?.peer ?? cluster.control)
    const hasCome = await strike({ cluster, stream, peer, name, stone, over: this.#over.signal })
    for (const one of names) this.#struckNow.delete(one!)
    if (hasCome === false) return false
    this.struck.push(what)
    return true
  }

  #choose(busy: readonly string[]): string | undefined {
    const { cluster, stream } = this.#options
    const free = [...cluster.hosts.keys()].filter((name) => !this.#struckNow.has(name))
    const best = free.filter((name) => busy.includes(name))
    const among = best.length > 0 ? best : free
    return among.length > 0 ? among[stream.below(among.length)] : undefined
  }
}

/** Those that have something of the run, as far as the store can say now. */
async function busyHosts(cluster: TestCluster, run: string): Promise<readonly string[]> {
  const read = readHead(cluster.store, run).then(({ head }) => Object.values(head.directory).map(({ pnode }) => pnode))
  return Promise.race([read, systemClock.sleep(AGAIN_MS).then(() => [])]).catch(() => [])
}
