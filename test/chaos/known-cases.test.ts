/**
 * The cases that others test by name, in one process: Psyche's (kill one, kill all but one, rejoin during a round, pause, kill the coordinator) and torchft's
 * (deadlock, a communicator that is aborted, segmentation fault; a process killed by SIGKILL is in process.test.ts). On real servers:
 * test/services/cluster-known-cases.test.ts.
 */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { memoryBroker } from '../../runtime/tensor-bus/memory-bus.js'
import { readHead } from '../../runtime/head-store.js'
import type { LocalSwarm } from '../../actors/local-swarm.js'
import { type Internals, local, type Local, resume, type Run, type RunResult, train } from '../../actors/train.js'
import { openPools, type Outcome, renamed, stumblingNetworks, undisturbed } from '../support/chaos-run.js'
import { cuttableBus } from '../support/cut-bus.js'
import { folder } from '../support/processes.js'
import type { RunMessage } from '../support/run-process.js'
import { branching, chainsOf, openObjects, TOTAL_STEPS, TRAINING } from '../support/small-runs.js'
import { layStone } from '../support/stones.js'

const pools = openPools()
test.after.always(() => pools.close())
let expected: Outcome
test.before(async () => {
  expected = await undisturbed('branching')
})

let runs = 0
const checkpoint = { everySteps: 7 }

/** A run of the branching network. Whoever is lost does not come back by himself. */
class Case {
  readonly store = openObjects().store
  readonly bus = cuttableBus(memoryBroker().connect)
  readonly #on: Local
  readonly #strikes = new Map<number, (pnode: string) => void>()
  #swarm: LocalSwarm | undefined
  #run: Run

  constructor(on: Partial<Local> = {}, network = branching) {
    this.#on = local({ pnodes: 4, window: 2, threads: false, returnMs: Infinity, ...on })
    this.#run = train(network, TRAINING, { on: this.#on, store: this.store, checkpoint }, { ...this.#internals(), id: 'a' })
    this.#run.result.catch(() => undefined)
  }

  get swarm(): LocalSwarm {
    return this.#swarm!
  }

  get run(): Run {
    return this.#run
  }

  /** Calls `strike` while a VNode on that PNode applies this step, or the first one after it. Resolves when what it returns has. */
  at<T>(step: number, strike: (pnode: string) => Promise<T> | T): Promise<T> {
    return new Promise((resolve, reject) => {
      this.#strikes.set(step, (pnode) => void (async () => strike(pnode))().then(resolve, reject))
    })
  }

  resume(): void {
    this.#run = resume('a', { on: this.#on, store: this.store, checkpoint }, this.#internals())
  }

  /** It ends as if nothing had happened. */
  async ends(t: ExecutionContext, wanted: Outcome = expected): Promise<RunResult> {
    const result = await this.#run.result
    t.is(result.hash, wanted.hash)
    t.deepEqual(await chainsOf(this.store, 'a'), wanted.chains)
    t.like(result, { status: 'done', steps: TOTAL_STEPS, stepsLost: 0, stepsDoubled: 0, deadLetters: 0 })
    t.is(this.#strikes.size, 0, 'it came to every strike')
    return result
  }

  #internals(): Internals {
    return {
      pool: renamed(this.#on.threads ? pools.threads : pools.inline, `case-${++runs}-`),
      connect: this.bus.connect,
      onSwarm: (swarm) => (this.#swarm = swarm),
      onObservation: (observation) => {
        if (observation.type !== 'applied' || !this.#swarm) return
        const due = [...this.#strikes].filter(([step]) => observation.entry.step >= step)
        for (const [step, strike] of due) if (this.#strikes.delete(step)) strike(observation.pnode)
      },
    }
  }
}

test.serial('Psyche: one host is killed', async (t) => {
  const made = new Case()
  await made.at(20, (pnode) => made.swarm.killPNode(pnode))
  const { moves } = await made.ends(t)
  t.true(moves > 0)
})

test.serial('Psyche: all hosts but one are killed at once', async (t) => {
  const made = new Case()
  const left = await made.at(20, async () => {
    const [survivor, ...others] = made.swarm.pnodes
    await Promise.all(others.map((pnode) => made.swarm.killPNode(pnode)))
    return survivor
  })
  await made.ends(t)
  t.deepEqual(made.swarm.pnodes, [left])
})

test.serial('Psyche: a host that was killed rejoins during a step, and is alone in the end', async (t) => {
  const made = new Case()
  let killed = ''
  await Promise.all([
    made.at(15, (pnode) => made.swarm.killPNode((killed = pnode))),
    made.at(25, () => made.swarm.add(killed)),
    made.at(40, () => Promise.all(made.swarm.pnodes.filter((pnode) => pnode !== killed).map((pnode) => made.swarm.killPNode(pnode)))),
  ])
  await made.ends(t)
  const { directory } = (await readHead(made.store, 'a')).head
  t.deepEqual([...new Set(Object.values(directory).map(({ pnode }) => pnode))], [killed])
})

test.serial('Psyche: the run is paused while a host is lost, and goes on later', async (t) => {
  const made = new Case()
  await made.at(25, (pnode) => {
    void made.run.pause()
    return made.swarm.killPNode(pnode)
  })
  t.like(await made.run.result, { status: 'paused', stepsLost: 0, stepsDoubled: 0 })
  made.resume()
  await made.ends(t)
})

test.serial('Psyche: the coordinator is killed together with a host, three times; control begins anew from the store', async (t) => {
  const made = new Case()
  const strike = (pnode: string) => {
    const restarted = made.swarm.restartControl()
    return Promise.all([restarted, made.swarm.killPNode(pnode)])
  }
  await Promise.all([15, 30, 45].map((step) => made.at(step, strike)))
  await made.ends(t)
  t.true((await readHead(made.store, 'a')).head.writer > 3)
})

test.serial('torchft: a deadlock that never ends, in a worker: it is replaced after its deadline', async (t) => {
  const stone = join(await folder(t), 'stone')
  const networks = stumblingNetworks(stone)
  const over = new AbortController()
  const made = new Case({ pnodes: 2, threads: true }, networks.branching)
  const hasHung = await made.at(20, () => layStone(stone, Infinity, over.signal))
  t.true(hasHung)
  await made.ends(t, await undisturbed('branching', TRAINING, networks))
})

test.serial('torchft: a communicator is aborted: the bus of a host is closed under it', async (t) => {
  const made = new Case()
  const aborted = await made.at(20, (pnode) => {
    made.bus.abort(pnode)
    return pnode
  })
  const { moves } = await made.ends(t)
  t.true(moves > 0)
  t.false(made.swarm.pnodes.includes(aborted))
})

test.serial('torchft: a segmentation fault ends the whole process, and another one goes on', async (t) => {
  const root = await folder(t)
  const ended = async (when: string) => {
    const child = fork(new URL('../support/run-process.js', import.meta.url), [root, 'a', when], { execArgv: [] })
    t.teardown(() => child.kill('SIGKILL'))
    const messages: RunMessage[] = []
    child.on('message', (message: RunMessage) => messages.push(message))
    const [, signal] = (await once(child, 'exit')) as [number | null, string | null]
    return { signal, last: messages.at(-1) }
  }
  t.is((await ended('segfault:20')).signal, 'SIGSEGV')
  const { last } = await ended('never')
  t.like(last, { result: { status: 'done', hash: expected.hash } })
})
