/** The Run actor of a simulated run, as small as can be: a directory, a term counter, commits, manifests, and what it tells whom. */
import { MARK } from '../../runtime/frame.js'
import type { Entry } from '../../runtime/step-log.js'
import { type Machine, SOURCE, edgesOf } from './step-log-graph.js'
import type { Placement, SimulatedGrant, Simulation } from './step-log-simulator.js'

interface SimulatedCommit {
  readonly vnode: string
  readonly term: number
  readonly generation: number
  readonly entry: Entry
  readonly machine: Machine
}

interface SimulatedManifest {
  readonly step: number
  readonly position: number
  readonly machines: ReadonlyMap<string, Machine>
}

export class SimulatedRun {
  losses = 0
  rollbacks = 0
  readonly directory = new Map<string, Placement>()
  readonly #world: Simulation
  /** Newest first. */
  #manifests: SimulatedManifest[] = [{ step: 0, position: 0, machines: new Map() }]
  #generation = 0
  #terms = 0
  #hosts = 0
  /** By position and VNode. */
  readonly #commits = new Map<number, Map<string, SimulatedCommit>>()
  readonly #lastCommits = new Map<string, SimulatedCommit>()
  /** Position and step of the newest cut that each source has made, by its term: one that is started again knows nothing of those before. */
  readonly #cuts = new Map<number, { readonly position: number; readonly step: number }>()
  /** Owners that are lost and not replaced yet. */
  readonly #lost = new Set<string>()
  /** When the last message to a host arrives: an actor's messages keep their order. */
  readonly #arrivals = new Map<string, number>()

  constructor(world: Simulation) {
    this.#world = world
  }

  get manifest(): SimulatedManifest {
    return this.#manifests[0]
  }

  /** Places everything under a new generation. */
  begin(): void {
    this.#generation++
    this.#commits.clear()
    this.#lost.clear()
    this.#place([SOURCE, ...this.#world.graph.vnodes])
  }

  /** Loses any subset of the owners, the source too; rarely goes back with the whole run. */
  breakSomething(): void {
    const { random, graph } = this.#world
    if (random.below(12) === 0) {
      this.rollbacks++
      if (this.#manifests.length > 1 && random.below(2)) this.#manifests.shift()
      for (const [, { host, term }] of this.directory) if (random.below(3) > 0) this.#world.stop(host, term)
      return this.begin()
    }
    const share = random.uniform()
    const candidates = random.below(8) === 0 ? [SOURCE, ...graph.vnodes] : graph.vnodes
    const chosen = candidates.filter((vnode) => random.uniform() < share && !this.#lost.has(vnode))
    for (const vnode of chosen) this.#lose(vnode)
  }

  /** A state after a cut is stored. Commits of one VNode may arrive in any order. */
  committed(commit: SimulatedCommit): void {
    const { graph, defects } = this.#world
    const { vnode, term, generation, entry } = commit
    if (generation !== this.#generation || entry.position <= this.manifest.position) return
    this.#world.checkMachine(vnode, commit.machine)
    if (this.directory.get(vnode)!.term !== term && !defects.takesOldCommits) return
    const commits = this.#commits.get(entry.position) ?? new Map<string, SimulatedCommit>()
    this.#commits.set(entry.position, commits.set(vnode, commit))
    this.#lastCommits.set(vnode, commit)
    const all = graph.vnodes.map((id) => commits.get(id))
    if (!all.every((one) => one !== undefined)) return
    this.#complete(all)
  }

  #complete(commits: readonly SimulatedCommit[]): void {
    const { step, position } = commits[0].entry
    this.#manifests.unshift({ step, position, machines: new Map(commits.map(({ vnode, machine }) => [vnode, machine])) })
    for (const open of this.#commits.keys()) if (open <= position) this.#commits.delete(open)
    for (const vnode of this.directory.keys()) this.#tell(vnode, (host) => this.#world.manifest(host, position))
  }

  /** The entry with the marks that the rhythm of cuts asks for now. A source that was replaced marks on, as long as it is heard. */
  marked(entry: Entry, manifest: number, term: number): Entry {
    const { graph, defects, random } = this.#world
    let { marks } = entry
    const cut = this.#cuts.get(term) ?? this.manifest
    if (entry.evaluation === 0 && graph.timetable.endsStep(entry)) {
      // A cut that somebody missed never completes: after a while it counts no more.
      const isOpen = cut.position > manifest && random.below(40) > 0
      const isDue =
        entry.step - cut.step >= graph.everySteps ||
        entry.position - cut.position >= Math.ceil(graph.maxAhead / 2) ||
        random.below(12) === 0
      // An evaluation cannot be cut in two: if it would leave no room for the next step, the cut is now, another one open or not.
      const next = graph.timetable.positionOf(entry.step + 1)
      const from = defects.countsRoomFromItsOwnCut ? cut.position : manifest
      const mustBe = next > from + graph.maxAhead && !defects.cutsOneAtATime
      if (mustBe || (isDue && !isOpen)) marks |= MARK.cut
    }
    if (marks & MARK.cut) this.#cuts.set(term, entry)
    return { ...entry, marks }
  }

  /** An owner is gone at once, or is cut off from control and speaks on for a while. */
  #lose(vnode: string): void {
    const { random } = this.#world
    const { host, term } = this.directory.get(vnode)!
    this.losses++
    this.#lost.add(vnode)
    if (random.below(5) < 3) this.#world.stop(host, term)
    else this.#world.after(random.below(600), () => this.#world.stop(host, term))
    this.#world.after(1 + random.below(150), () => {
      if (this.directory.get(vnode)!.term !== term) return
      const together = [...this.#lost].filter((id) => id === vnode || random.below(2) === 0)
      for (const id of together) {
        this.#lost.delete(id)
        for (const commits of this.#commits.values()) commits.delete(id)
      }
      this.#place(together)
    })
  }

  /** New terms first, then the grants and the news to the neighbours, in any order. */
  #place(vnodes: readonly string[]): void {
    const { random, graph } = this.#world
    for (const vnode of vnodes) {
      const old = this.directory.get(vnode)?.host
      this.directory.set(vnode, { host: old && random.below(3) === 0 ? old : `${vnode}@${++this.#hosts}`, term: ++this.#terms })
    }
    for (const vnode of vnodes) {
      const { inputs, outputs } = edgesOf(graph, vnode)
      const neighbours = [...inputs, ...outputs]
      for (const other of neighbours) {
        if (vnodes.includes(other)) continue
        const placement = this.directory.get(vnode)!
        this.#tell(other, (host) => this.#world.neighbour(host, vnode, placement))
      }
      const grant = this.#grant(vnode, neighbours)
      this.#tell(vnode, () => this.#world.granted(grant))
    }
  }

  #grant(vnode: string, neighbours: readonly string[]): SimulatedGrant {
    const own = this.#world.defects.restoresOwnCommits ? this.#lastCommits.get(vnode) : undefined
    const { position, step, machines } = this.manifest
    const from = own && own.generation === this.#generation ? { ...own.entry, machine: own.machine } : undefined
    return {
      vnode,
      ...this.directory.get(vnode)!,
      generation: this.#generation,
      from: from ?? { position, step, machine: machines.get(vnode) },
      peers: new Map(neighbours.map((id) => [id, this.directory.get(id)!])),
    }
  }

  /** Control messages are repeated until they are heard: late, but never lost, unless their receiver is. */
  #tell(vnode: string, message: (host: string) => void): void {
    const { host, term } = this.directory.get(vnode)!
    const arrival = Math.max(this.#arrivals.get(host) ?? 0, this.#world.now + this.#world.delay())
    this.#arrivals.set(host, arrival)
    this.#world.at(arrival, () => {
      if (this.directory.get(vnode)!.term === term && !this.#lost.has(vnode)) message(host)
    })
  }
}
