/** A process of a test cluster with a sidecar: either can be killed, stopped, and started again where it was. */
import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { startSidecar, type SidecarOptions } from '../../actors/control/cluster-servers.js'
import type { JoinAnswer } from '../../actors/control/control-api.js'
import type { PNodeHost } from '../../actors/pnode/pnode.js'
import { SwarmError, type ErrorCode } from '../../runtime/errors.js'
import { type DaprdServer, freePort } from '../../runtime/services/index.js'

/** What the process tells its parent. */
export interface PeerMessage {
  readonly ready?: { readonly url?: string; readonly trainerToken?: string; readonly joinToken?: string; readonly adminToken?: string }
  readonly joined?: JoinAnswer
  readonly error?: { readonly code: string; readonly message: string }
  /** Of a PNode that was asked for them. */
  readonly stats?: PNodeStats
}

/** Where each VNode of a PNode stands. */
export type PNodeStats = PNodeHost['stats']

export interface PeerOptions {
  readonly sidecar: SidecarOptions
  /** File name of its program, beside this one. */
  readonly program: string
  readonly argumentsOf: (ports: { readonly appPort: number; readonly sidecar: { readonly httpPort: number } }) => object
}

/** How long a process has until it is ready, in ms: daprd and the placement service take a few seconds, more on a busy machine. */
const READY_MS = 60_000

export class Peer {
  readonly daprd: DaprdServer
  /** What it could tell nobody else. */
  readonly errors: { readonly code: string; readonly message: string }[] = []
  /** What it was given to join with, last. */
  joined: JoinAnswer | undefined
  ready: NonNullable<PeerMessage['ready']> = {}
  readonly #options: PeerOptions
  readonly #appPort: number
  #app: ChildProcess | undefined

  private constructor(options: PeerOptions, daprd: DaprdServer, appPort: number) {
    this.#options = options
    this.daprd = daprd
    this.#appPort = appPort
  }

  static async start(options: PeerOptions): Promise<Peer> {
    const appPort = await freePort()
    const peer = new Peer(options, await startSidecar(appPort, options.sidecar), appPort)
    try {
      await peer.startApp()
    } catch (error) {
      await peer.kill()
      throw error
    }
    return peer
  }

  get pid(): number {
    return this.#app!.pid!
  }

  get isRunning(): boolean {
    return this.#app !== undefined && this.#app.exitCode === null && this.#app.signalCode === null
  }

  /** Resolves when it is ready. @throws the last error that it told before it ended */
  async startApp(): Promise<void> {
    const { program, argumentsOf } = this.#options
    const argument = argumentsOf({ appPort: this.#appPort, sidecar: { httpPort: this.daprd.httpPort } })
    const app = fork(new URL(`./${program}`, import.meta.url), [JSON.stringify(argument)], { execArgv: [], cwd: this.daprd.folder })
    this.#app = app
    let last: PeerMessage['error']
    await new Promise<void>((resolve, reject) => {
      const fail = (what: string) =>
        reject(new SwarmError((last?.code ?? 'internal') as ErrorCode, `${this.#options.sidecar.appId} ${what}: ${last?.message}`))
      const timer = setTimeout(() => fail(`is not ready after ${READY_MS} ms`), READY_MS)
      app.on('message', ({ ready, joined, error }: PeerMessage) => {
        if (joined) this.joined = joined
        if (error) this.errors.push((last = error))
        if (!ready) return
        this.ready = ready
        clearTimeout(timer)
        resolve()
      })
      app.once('exit', (code, signal) => {
        clearTimeout(timer)
        fail(`ended with ${signal ?? code}`)
      })
    })
  }

  signal(signal: NodeJS.Signals): void {
    this.#app!.kill(signal)
  }

  /** Of a PNode, asked past all networks. */
  stats(): Promise<PNodeStats> {
    const app = this.#app!
    return new Promise((resolve) => {
      const hear = ({ stats }: PeerMessage) => {
        if (!stats) return
        app.off('message', hear)
        resolve(stats)
      }
      app.on('message', hear)
      app.send('stats')
    })
  }

  /** Resolves with its status, or the signal that ended it. */
  async ended(): Promise<number | NodeJS.Signals | null> {
    if (this.isRunning) await once(this.#app!, 'exit')
    return this.#app!.signalCode ?? this.#app!.exitCode
  }

  async killApp(): Promise<void> {
    if (!this.isRunning) return
    this.signal('SIGKILL')
    await this.ended()
  }

  /** App and sidecar. */
  async kill(): Promise<void> {
    await Promise.all([this.#app && this.killApp(), this.daprd.kill()])
  }

  /** SIGTERM to the app, which hands over; then its sidecar, as whoever starts both does. */
  async leave(): Promise<number | NodeJS.Signals | null> {
    this.signal('SIGTERM')
    const status = await this.ended()
    await this.daprd.stop()
    return status
  }
}
