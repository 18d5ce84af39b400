/**
 * A single-threaded, seeded simulation of whole runs: step logs, a source, and a small model of the Run actor, over a network that
 * delays, reorders, doubles and loses messages, on hosts that vanish or are cut off at any time. Every invariant is checked at every event.
 */
import { invariant } from '../../runtime/errors.js'
import { RandomStream } from '../../runtime/random.js'
import {
  AHEAD_WINDOWS,
  type DropReason,
  type Entry,
  StepLog,
  type StepCommand,
  type StepEvent,
  type StepLogOptions,
} from '../../runtime/step-log.js'
import { Agenda } from './agenda.js'
import {
  type Graph,
  type Machine,
  NOTHING,
  SOURCE,
  TOMBSTONE,
  advance,
  drawGraph,
  edgesOf,
  givenFor,
  lagOf,
  newMachine,
  reference,
} from './step-log-graph.js'
import { SimulatedRun } from './step-log-run.js'

export type Log = Pick<StepLog<number>, 'applied' | 'retained' | 'waiting' | 'start' | 'handle' | 'offer' | 'canOffer'>

/** What is built wrong on purpose, to see that the simulation notices. */
export interface Defects {
  readonly log?: (log: StepLog<number>, options: StepLogOptions) => Log
  /** Commits of old owners count. */
  readonly takesOldCommits?: boolean
  /** The last cut that retention has room for is counted from the source's newest cut, which may never complete. */
  readonly countsRoomFromItsOwnCut?: boolean
  /** VNodes restore from the newest commit of their own, complete cut or not. */
  readonly restoresOwnCommits?: boolean
  /** The source never opens a cut while another is open, even where an evaluation comes next. */
  readonly cutsOneAtATime?: boolean
}

export interface Outcome {
  readonly graph: Graph
  readonly events: number
  /** Events after the last fault. */
  readonly calmEvents: number
  readonly losses: number
  readonly rollbacks: number
  readonly drops: ReadonlyMap<string, number>
}

export interface Placement {
  readonly host: string
  readonly term: number
}

/** What a simulated grant says. */
export interface SimulatedGrant extends Placement {
  readonly vnode: string
  readonly generation: number
  readonly from: { readonly position: number; readonly step: number; readonly machine?: Machine }
  readonly peers: ReadonlyMap<string, Placement>
}

/** One owner of a VNode. */
interface Owner {
  readonly grant: SimulatedGrant
  readonly log: Log
  readonly machine: Machine
  readonly peers: Map<string, Placement>
  /** What its consumers have allowed under their terms. */
  readonly allowed: Map<string, { upTo: number; next: number }>
  manifest: number
  issued: number
  busyUntil: number
  isStarted: boolean
  isGone: boolean
}

const TICK = 50
/** Events within which a calm run must end, for each entry of each VNode, and in any case. Measured over 15,000 seeds: at most half of it. */
const CALM_EVENTS = { each: 30, least: 3_000 }

/** Runs one seed to its end. @throws if an invariant does not hold; the message names the seed */
export function simulate(seed: number, defects: Defects = {}): Outcome {
  const simulation = new Simulation(seed, defects)
  try {
    return simulation.run()
  } catch (error) {
    throw new Error(`seed ${seed}, event ${simulation.events}: ${error instanceof Error ? error.message : String(error)}`, { cause: error })
  }
}

export class Simulation {
  readonly graph: Graph
  readonly defects: Defects
  readonly random: RandomStream
  readonly reference: ReturnType<typeof reference>
  events = 0
  now = 0
  readonly #owners = new Map<string, Owner>()
  readonly #agenda = new Agenda()
  readonly #drops = new Map<string, number>()
  readonly #run: SimulatedRun
  readonly #faultyUntil: number
  readonly #rates: { readonly loss: number; readonly double: number; readonly slow: number; readonly fault: number }
  #calmSince = 0

  constructor(seed: number, defects: Defects) {
    this.graph = drawGraph(seed)
    this.defects = defects
    this.reference = reference(this.graph)
    this.random = new RandomStream(seed, 'faults')
    const { random } = this
    this.#rates = {
      loss: random.below(20) / 100,
      double: random.below(20) / 100,
      slow: random.below(10) / 100,
      fault: random.uniform() / 60,
    }
    this.#faultyUntil = seed % 10 === 0 ? 0 : random.below(2_500)
    this.#run = new SimulatedRun(this)
  }

  run(): Outcome {
    this.#run.begin()
    const limit = CALM_EVENTS.least + CALM_EVENTS.each * this.graph.timetable.totalPositions * (this.graph.vnodes.length + 1)
    while (!this.#isDone()) {
      const next = this.#agenda.next()
      invariant(next !== undefined, () => 'nothing is left to happen')
      this.now = next.at
      this.events++
      if (this.isFaulty) {
        this.#calmSince = this.events
        if (this.random.uniform() < this.#rates.fault) this.#run.breakSomething()
      }
      invariant(this.events - this.#calmSince <= limit, () => `no end after ${limit} calm events: ${this.#describe()}`)
      next.action()
    }
    for (const vnode of this.graph.vnodes) this.checkMachine(vnode, this.#ownerOf(vnode)!.machine)
    const { losses, rollbacks } = this.#run
    return { graph: this.graph, events: this.events, calmEvents: this.events - this.#calmSince, losses, rollbacks, drops: this.#drops }
  }

  get isFaulty(): boolean {
    return this.events < this.#faultyUntil
  }

  /** A delay of a message; rarely a very long one while faults happen. */
  delay(): number {
    return this.isFaulty && this.random.uniform() < this.#rates.slow ? 20 + this.random.below(600) : 1 + this.random.below(12)
  }

  at(time: number, action: () => void): void {
    this.#agenda.add(time, action)
  }

  after(delay: number, action: () => void): void {
    this.at(this.now + delay, action)
  }

  /** A grant arrives at its host: whoever was there under an older term stops, the new owner restores. */
  granted(grant: SimulatedGrant): void {
    const { vnode, host, term, from, generation, peers } = grant
    const old = this.#owners.get(host)
    if (old && old.grant.term >= term) return
    if (old) old.isGone = true
    const { window, maxIssued, feedback } = this.graph
    const { inputs, outputs } = edgesOf(this.graph, vnode)
    const peer = (id: string) => ({ vnode: id, term: peers.get(id)!.term })
    const edges = { from: feedback.from.get(vnode) ?? [], to: feedback.to.get(vnode) ?? [], lag: feedback.lag }
    const skips = this.graph.skips.get(vnode)?.filter((position) => position > from.position)
    const [producers, consumers] = [inputs.map(peer), outputs.map(peer)]
    const options = {
      vnode,
      generation,
      from: from.position,
      inputs: producers,
      outputs: consumers,
      feedback: edges,
      window,
      skips,
      maxIssued,
    }
    const log = new StepLog<number>(options)
    const owner: Owner = {
      grant,
      log: this.defects.log?.(log, options) ?? log,
      machine: { ...(from.machine ?? newMachine()) },
      peers: new Map(peers),
      allowed: new Map(outputs.map((id) => [id, { upTo: 0, next: from.position + 1 }])),
      manifest: from.position,
      issued: from.position,
      busyUntil: 0,
      isStarted: false,
      isGone: false,
    }
    this.#owners.set(host, owner)
    this.after(this.isFaulty ? this.random.below(120) : 5, () => {
      if (owner.isGone) return
      owner.isStarted = true
      const { machine, log } = owner
      const given = Array.from({ length: lagOf(this.graph, vnode) }, (_, i) => givenFor(machine, from.position + 1 + i))
      this.#execute(owner, log.start(given))
      this.#tick(owner)
    })
  }

  neighbour(host: string, vnode: string, placement: Placement): void {
    const owner = this.#owners.get(host)
    if (!owner || owner.isGone || owner.peers.get(vnode)!.term >= placement.term) return
    owner.peers.set(vnode, placement)
    if (owner.allowed.has(vnode)) owner.allowed.set(vnode, { upTo: 0, next: owner.manifest + 1 })
    this.#handle(owner, { type: 'granted', peer: { vnode, term: placement.term } })
  }

  manifest(host: string, position: number): void {
    const owner = this.#owners.get(host)
    if (!owner || owner.isGone || position <= owner.manifest) return
    owner.manifest = position
    for (const allowed of owner.allowed.values()) allowed.next = Math.max(allowed.next, position + 1)
    if (owner.grant.vnode === SOURCE) owner.issued = Math.max(owner.issued, position)
    this.#handle(owner, { type: 'manifest', position })
  }

  stop(host: string, term: number): void {
    const owner = this.#owners.get(host)
    if (owner && owner.grant.term <= term) owner.isGone = true
  }

  /** A machine must be exactly what the undisturbed run has at its position. */
  checkMachine(vnode: string, machine: Machine): void {
    const expected = this.reference.get(vnode)!.machines[machine.position]
    const isSame = machine.state === expected.state && machine.chain === expected.chain && String(machine.given) === String(expected.given)
    invariant(isSame, () => `${vnode} at ${machine.position} is ${JSON.stringify(machine)}, undisturbed ${JSON.stringify(expected)}`)
  }

  #ownerOf(vnode: string): Owner | undefined {
    const { host, term } = this.#run.directory.get(vnode)!
    const owner = this.#owners.get(host)
    return owner?.grant.term === term && owner.isStarted && !owner.isGone ? owner : undefined
  }

  #isDone(): boolean {
    const { timetable, vnodes } = this.graph
    if (this.#run.manifest.step < timetable.totalSteps) return false
    return vnodes.every((vnode) => this.#ownerOf(vnode)?.machine.position === timetable.totalPositions)
  }

  #tick(owner: Owner): void {
    if (owner.isGone) return
    this.#handle(owner, { type: 'tick' })
    this.after(TICK, () => this.#tick(owner))
  }

  #handle(owner: Owner, event: StepEvent<number>): void {
    if (owner.isGone) return
    const { log, allowed, grant } = owner
    const waiting = log.waiting
    if (event.type === 'credit' && event.generation === grant.generation && owner.peers.get(event.from)?.term === event.term) {
      const known = allowed.get(event.from)!
      allowed.set(event.from, { upTo: Math.max(known.upTo, event.upTo), next: Math.max(known.next, event.next) })
    }
    const commands = log.handle(event)
    const refusal = 'generation' in event ? this.#refusalOf(owner, event) : undefined
    if ('generation' in event && refusal) {
      const isRefused =
        commands.length > 0 && log.waiting === waiting && commands.every((one) => one.type === 'drop' && one.reason === refusal)
      invariant(isRefused, () => `${grant.vnode} took ${JSON.stringify(event)} under ${JSON.stringify(owner.peers.get(event.from))}`)
    }
    const inputs = edgesOf(this.graph, grant.vnode).inputs.length
    const lag = lagOf(this.graph, grant.vnode)
    const most = log.applied - owner.manifest + (lag > 0 ? log.applied - owner.manifest + lag : 0)
    invariant(log.retained <= most, () => `${grant.vnode} keeps ${log.retained}`)
    invariant(log.waiting <= inputs * this.graph.window, () => `${log.waiting} inputs wait at ${grant.vnode}`)
    if (owner.isStarted) this.#execute(owner, commands)
  }

  /** Why a message must be dropped and counted, if it must. */
  #refusalOf(owner: Owner, { from, generation, term }: { from: string; generation: number; term: number }): DropReason | undefined {
    if (generation !== owner.grant.generation) return 'generation'
    const known = owner.peers.get(from)!.term
    return term < known ? 'term' : term > known ? 'ungranted' : undefined
  }

  #execute(owner: Owner, commands: readonly StepCommand<number>[]): void {
    const { vnode, generation, term } = owner.grant
    const me = { from: vnode, generation, term }
    for (const command of commands) {
      if (command.type === 'apply') this.#apply(owner, command.entry, command.inputs, command.feedback)
      else if (command.type === 'bury') this.#bury(owner, command.entry)
      else if (command.type === 'snapshot') this.#snapshot(owner, command.entry)
      else if (command.type === 'drop') this.#drops.set(command.reason, (this.#drops.get(command.reason) ?? 0) + 1)
      else if (command.type === 'send') {
        const { to, entry, ref } = command
        const upTo = owner.allowed.get(to)!.upTo
        invariant(entry.position <= upTo, () => `${vnode} sends ${entry.position} to ${to}, which allows ${upTo}`)
        const isFeedback = this.graph.feedback.to.get(vnode)?.includes(to) ?? false
        this.#send(owner, to, { type: 'frame', ...me, entry, ref, isTombstone: !isFeedback && ref === TOMBSTONE, isFeedback })
      } else if (command.type === 'credit') {
        const { to, next, upTo, resend } = command
        this.#send(owner, to, { type: 'credit', ...me, next, upTo, resend })
      } else this.#send(owner, command.to, { type: 'hello', ...me })
    }
    if (vnode === SOURCE) this.#pump(owner)
  }

  #apply(owner: Owner, entry: Entry, inputs: readonly number[], feedback: readonly number[] = []): void {
    const { vnode } = owner.grant
    const { position } = entry
    invariant(position === owner.issued + 1, () => `${vnode} applies ${position} after ${owner.issued}`)
    for (const [consumer, { next }] of owner.allowed) {
      const isNear = position < next + AHEAD_WINDOWS * this.graph.window
      invariant(isNear, () => `${vnode} applies ${position} while ${consumer} waits for ${next}`)
    }
    owner.issued = position
    if (vnode === SOURCE) return this.#handle(owner, { type: 'applied', position, ref: this.reference.get(SOURCE)!.outputs[position] })
    owner.busyUntil = Math.max(this.now, owner.busyUntil) + 1 + this.random.below(6)
    this.at(owner.busyUntil, () => {
      if (owner.isGone) return
      const lag = lagOf(this.graph, vnode)
      const ref = advance(owner.machine, entry, inputs, feedback, lag)
      this.checkMachine(vnode, owner.machine)
      invariant(ref === this.reference.get(vnode)!.outputs[position], () => `${vnode} puts out ${ref} at ${position}`)
      this.#handle(owner, { type: 'applied', position, ref, ...(lag > 0 && { feedback: givenFor(owner.machine, position + lag) }) })
    })
  }

  #bury(owner: Owner, { position }: Entry): void {
    const { vnode } = owner.grant
    invariant(position === owner.log.applied + 1, () => `${vnode} buries ${position} while ${owner.log.applied + 1} is under way`)
    invariant(this.reference.get(vnode)!.outputs[position] === TOMBSTONE, () => `${vnode} skips ${position}`)
    owner.issued = position
    owner.machine.position = position
    this.checkMachine(vnode, owner.machine)
    this.#handle(owner, { type: 'applied', position, ref: TOMBSTONE, ...(lagOf(this.graph, vnode) > 0 && { feedback: NOTHING }) })
  }

  /** Taken between two steps, stored in the background. */
  #snapshot(owner: Owner, entry: Entry): void {
    const { vnode, term, generation } = owner.grant
    if (vnode === SOURCE) return
    this.at(Math.max(this.now, owner.busyUntil), () => {
      if (owner.isGone) return
      const machine = { ...owner.machine }
      // Entries that were buried meanwhile have changed nothing.
      const { outputs } = this.reference.get(vnode)!
      while (machine.position > entry.position && outputs[machine.position] === TOMBSTONE) machine.position--
      invariant(machine.position === entry.position, () => `the snapshot of ${vnode} at ${entry.position} is of ${machine.position}`)
      this.after(this.delay() + this.random.below(60), () => this.#run.committed({ vnode, term, generation, entry, machine }))
    })
  }

  #send(owner: Owner, to: string, event: StepEvent<number>): void {
    const { host } = owner.peers.get(to)!
    const deliver = (message: StepEvent<number>) => {
      const target = this.#owners.get(host)
      if (target?.isStarted && !target.isGone) this.#handle(target, message)
    }
    if (this.isFaulty && this.random.uniform() < this.#rates.loss) {
      if (this.random.below(3) === 0) this.after(this.delay(), () => deliver({ type: 'lost' }))
      return
    }
    this.after(this.delay(), () => deliver(event))
    if (this.isFaulty && this.random.uniform() < this.#rates.double) this.after(this.delay(), () => deliver(event))
  }

  /** As the source does it: entries of the timetable, with its own marks. */
  #pump(owner: Owner): void {
    const { timetable, maxAhead } = this.graph
    while (!owner.isGone && owner.log.canOffer()) {
      const position = owner.log.applied + 1
      if (position > timetable.totalPositions || position > owner.manifest + maxAhead) return
      const entry = this.#run.marked(timetable.at(position), owner.manifest, owner.grant.term)
      this.#execute(owner, owner.log.offer(entry) ?? [])
    }
  }

  #describe(): string {
    const owners = [SOURCE, ...this.graph.vnodes].map((vnode) => {
      const owner = this.#ownerOf(vnode)
      return `${vnode} ${owner ? `${owner.log.applied} (${owner.log.waiting} wait, manifest ${owner.manifest})` : 'absent'}`
    })
    const { window, maxAhead, timetable } = this.graph
    return `${owners.join(', ')}; manifest ${this.#run.manifest.position} of ${timetable.totalPositions}, window ${window}, ahead ${maxAhead}`
  }
}
