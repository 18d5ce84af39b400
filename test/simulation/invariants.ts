/** What must hold at every event of a simulation, and at its end. */
import type { Json } from '../../runtime/actor-system/actor-system.js'
import { canonicalJson } from '../../runtime/canonical-json.js'
import type { ApplyRequest } from '../../runtime/compute/compute.js'
import { isSwarmError } from '../../runtime/errors.js'
import { followersOf, vnodeOf } from '../../runtime/followers.js'
import type { SignedGrant } from '../../runtime/grant.js'
import type { SignedMessage } from '../../runtime/signed-message.js'
import { decodeHead, decodeManifest, type Head, keys, type Manifest } from '../../runtime/head.js'
import type { ObjectStore } from '../../runtime/object-store/object-store.js'
import { AHEAD_WINDOWS } from '../../runtime/step-log.js'
import { decodeState, hashRun } from '../../runtime/state.js'
import { readManifest, readTrace } from '../../actors/run/checkpoints.js'
import { readEvents } from '../../actors/run/event-log.js'
import { means, readHistory } from '../../actors/run/history.js'
import { readDefinition } from '../../actors/run/run-definition.js'
import type { Observation } from '../../actors/reports.js'
import { readSettings } from '../../actors/run/run-settings.js'
import type { SimulatedCluster } from './cluster.js'
import { type AdversaryName, HARMLESS } from '../../adversaries/adversaries.js'
import { Justice, type Liars } from './justice.js'
import { contentOf } from './simulated-compute.js'
import { numbersOf } from './simulated-numbers.js'
import type { Reference, SimulatedRun } from './simulated-run.js'

interface Told {
  readonly generation: number
  readonly term: number
  /** The newest terms of the neighbours. */
  readonly peers: Map<string, number>
}

/** A broken invariant. */
export class Violation extends Error {}

/** After the last fault something new has to come about within so long, in simulated ms. */
export const PROGRESS_MS = 60_000
/**
 * The same beside liars, whose lies do not end with the last fault. What nobody can take stops a run until its ends have moved: each time it is waited twice as
 * long, and the first time four windows of steps.
 */
export const PROGRESS_BESIDE_LIARS_MS = 600_000

/** They lie about nothing that is theirs. */
const ONLY_FOLLOWING: readonly AdversaryName[] = [...HARMLESS, 'slanderer', 'copier']

export class Invariants {
  readonly #run: SimulatedRun
  readonly #reference: Reference
  readonly #now: () => number
  /** What a host was told when it was granted a VNode, and since: by `<host>/<VNode>`. */
  readonly #told = new Map<string, Told>()
  /** `<host>/<VNode>` of subjects of frames; undefined: of others. */
  readonly #places = new Map<string, string | undefined>()
  /** Frames that nobody can read, or that are of no step. */
  readonly #unreadable = new WeakSet<Uint8Array>()
  /** The last step that each VNode has ever applied. */
  readonly #frontier = new Map<string, number>()
  /** Applied under one term: `<vnode>/<term>` to position. */
  readonly #applied = new Map<string, number>()
  /** By generation. */
  readonly #classes = new Map<number, string>()
  /** Keys that have ever been stored. */
  readonly #stored = new Set<string>()
  /** Keys of what has changed on the disk since. */
  readonly #rotten = new Set<string>()
  readonly #liars: Liars | undefined
  readonly justice: Justice | undefined
  /** Liars that have applied steps of VNodes that were theirs. */
  readonly #lied = new Set<string>()
  #newest: Manifest | undefined
  head: Head | undefined
  /** When something new last came about. */
  progressAt = 0
  stepsApplied = 0
  takeovers = 0
  #violation: Violation | undefined

  /** @param liars absent: everybody is honest */
  constructor(run: SimulatedRun, reference: Reference, now: () => number, liars?: Liars) {
    this.#run = run
    this.#reference = reference
    this.#now = now
    this.#liars = liars
    this.justice = liars && new Justice(liars, run.id, (what) => this.fail(what))
  }

  /** @throws the first violation: where it was found nobody can throw */
  check(): void {
    if (this.#violation) throw this.#violation
  }

  fail(what: string): void {
    this.#violation ??= new Violation(what)
  }

  /** A call reaches a host: what a grant or its news say is known there from now on. */
  onCall(to: string, method: string, argument: Json, id: string): void {
    const { body } = (argument as unknown as SignedMessage).message
    if (method === 'grant') {
      const { grant } = body as SignedGrant
      const { generation, term } = grant
      const peers = new Map([...grant.inputs, ...grant.outputs].map((peer) => [peer.vnode, peer.term]))
      const key = `${to}/${grant.vnode}`
      if ((this.#told.get(key)?.term ?? 0) < term) this.#told.set(key, { generation, term, peers })
      // Whoever grants has written it down before.
      if ((this.head?.termCounter ?? 0) < term)
        this.fail(`${grant.vnode} is granted under term ${term} and the head has given none after ${this.head?.termCounter}`)
    } else if (method === 'neighbour') {
      const { vnode, term } = body as { vnode: string; term: number }
      const peers = this.#told.get(`${to}/${id.slice(id.indexOf('/') + 1)}`)?.peers
      if (peers && (peers.get(vnode) ?? 0) < term) peers.set(vnode, term)
    }
  }

  /** A message arrives at a host. One that is of an older term than the host has been told of must change nothing. */
  onMessage({ to, subject, bytes }: { readonly to: string; readonly subject: string; readonly bytes: Uint8Array }): void {
    if (!this.#places.has(subject)) this.#places.set(subject, subject.endsWith('.frame') ? `${to}/${subject.split('.')[4]}` : undefined)
    const place = this.#places.get(subject)
    const told = place === undefined ? undefined : this.#told.get(place)
    if (place === undefined || !told) return
    const content = this.#read(bytes)
    if (content) content.arrivals[place] ??= isOfThePast(bytes, content.header.vnode, told) ? told.term : 0
  }

  /** What cannot be read must change nothing either. */
  #read(bytes: Uint8Array): Pick<ReturnType<typeof contentOf>, 'header' | 'arrivals'> | undefined {
    if (this.#unreadable.has(bytes)) return undefined
    try {
      return contentOf(bytes)
    } catch (error) {
      if (!isSwarmError(error, 'frame.damaged', 'frame.version')) throw error
      this.#unreadable.add(bytes)
      return undefined
    }
  }

  /** A step is about to be applied. */
  onApply(host: string, id: string, { inputs, feedback = [], header }: ApplyRequest, computeClass: string): void {
    const vnode = vnodeOf(id)
    if (this.#isLiar(host)) {
      // Nothing holds of what it hands to its compute.
      if (id === vnode) this.#lied.add(host)
      return
    }
    const first = this.#classes.get(header.generation) ?? computeClass
    this.#classes.set(header.generation, first)
    if (computeClass !== first) this.fail(`${vnode} on ${host} computes in class ${computeClass}, others in ${first}`)
    const isPast = (input: Uint8Array) => {
      const arrivals = this.#read(input)?.arrivals
      if (!arrivals) return this.#unreadable.has(input)
      // Who was promoted has two addresses: that a copy came to the other one too late says nothing.
      const judged = [id, vnode].flatMap((address) => arrivals[`${host}/${address}`] ?? [])
      // Who was taken for lost may go on beside whoever has followed it to the same PNode: it was told less, and nobody heeds it.
      return judged.length > 0 && judged.every((lateFor) => lateFor > 0 && lateFor <= header.term)
    }
    if ([...inputs, ...feedback].some(isPast)) this.fail(`${id} on ${host} applies a frame of the past at step ${header.step}`)
    const key = `${vnode}/${header.term}`
    const before = this.#applied.get(key)
    let next = (before ?? 0) + 1
    while (this.#reference.isTombstone(vnode, next)) next++
    if (before !== undefined && header.position !== next) this.fail(`${key} applies position ${header.position} after ${before}`)
    this.#applied.set(key, header.position)
  }

  onObservation(host: string, observation: Observation): void {
    if (observation.type === 'restored' && observation.step > (this.#newest?.step ?? 0)) this.takeovers++
    // What is honest may be lost or come twice, and yet nothing that it says may look odd.
    if (observation.type === 'suspected' && !this.#isLiar(host) && !this.#isLiar(observation.pnode) && !this.#isOfTwoSources(observation))
      this.fail(`false alarm: ${JSON.stringify(observation)}`)
    if (observation.type !== 'applied') return
    this.stepsApplied++
    const { vnode, entry } = observation
    if (entry.position <= (this.#frontier.get(vnode) ?? 0)) return
    this.#frontier.set(vnode, entry.position)
    this.progressAt = this.#now()
  }

  /** An object is stored. */
  onPut(key: string, bytes: Uint8Array): void {
    const { id } = this.#run
    this.#stored.add(key)
    this.justice?.onPut(key, bytes)
    this.#rotten.delete(key)
    if (key === keys.head(id)) this.#onHead(decodeHead(bytes, key))
    else if (key.startsWith(`runs/${id}/checkpoints/`)) this.#onManifest(decodeManifest(bytes, key))
  }

  #onHead(head: Head): void {
    const before = this.head
    this.head = head
    for (const { key } of head.manifests) if (!this.#stored.has(key)) this.fail(`the head names ${key}, which is not stored`)
    if (!before) return
    this.progressAt = this.#now()
    const terms = Object.values(head.directory).map(({ term }) => term)
    for (const [id, { pnode }] of Object.entries(head.directory)) {
      const others = [vnodeOf(id), ...followersOf(head, vnodeOf(id))].filter((other) => other !== id)
      if (others.some((other) => head.directory[other].pnode === pnode)) this.fail(`${id} and another of it are on ${pnode}`)
    }
    if (head.writer < before.writer) this.fail(`writer ${head.writer} after ${before.writer}`)
    if (head.generation < before.generation) this.fail(`generation ${head.generation} after ${before.generation}`)
    if (head.termCounter < before.termCounter) this.fail(`term counter ${head.termCounter} after ${before.termCounter}`)
    if (new Set(terms).size < terms.length) this.fail(`two VNodes under one term: ${JSON.stringify(head.directory)}`)
    const [newest, older] = [head.manifests[0]?.step ?? 0, before.manifests[0]?.step ?? 0]
    if (newest < older && head.generation === before.generation) this.fail(`the head goes back from step ${older} to ${newest}`)
    if (before.status === 'done' && head.status !== 'done') this.fail('a run that is done goes on')
    const wronged = head.excluded?.filter((pnode) => !this.#isLiar(pnode)) ?? []
    if (wronged.length > 0 && !this.#liars?.mayWrong) this.fail(`honest hosts are convicted: ${wronged.join(', ')}`)
    if (head.status === 'failed') this.fail(`the run failed: ${head.error?.code} ${head.error?.message}`)
  }

  /** Keys of the states that the newest checkpoint names. */
  newestBlobs(): string[] {
    return this.#newest?.vnodes.map(({ hash }) => keys.blob(this.#run.id, this.#newest!.generation, hash)) ?? []
  }

  onRot(key: string): void {
    this.#rotten.add(key)
  }

  #onManifest(manifest: Manifest): void {
    const { step, vnodes, generation } = manifest
    this.#newest = manifest
    const ids = this.#run.definition.network.vnodes.map(({ id }) => id)
    if (vnodes.map(({ vnode }) => vnode).join() !== ids.join()) this.fail(`manifest of step ${step} has ${JSON.stringify(vnodes)}`)
    for (const { vnode, hash } of vnodes) {
      if (!this.#stored.has(keys.blob(this.#run.id, generation, hash)))
        this.fail(`the manifest of step ${step} names a state of ${vnode} that is not stored`)
      const isPromised = (this.#liars?.promise ?? 'all') === 'all'
      if (isPromised && hash !== this.#reference.stateHash(vnode, step))
        this.fail(`${vnode} after step ${step} is not what the undisturbed run has`)
    }
  }

  /** What hosts keep stays within what was promised. */
  checkMemory(cluster: SimulatedCluster): void {
    const { window, cuts, replicas, audits, redundancy } = this.#run.settings
    const forFollowers = replicas || audits || redundancy ? AHEAD_WINDOWS * window : 0
    for (const pnode of cluster.pnodes()) {
      for (const { run, vnode, waiting, retained, applied, manifest } of pnode.stats) {
        if (run !== this.#run.id) continue
        const { inputs = [], feedback } = this.#run.definition.network.vnodes.find(({ id }) => id === vnodeOf(vnode)) ?? {}
        const edges = inputs.length + (feedback?.from.length ?? 0)
        if (waiting > edges * window) this.fail(`${waiting} inputs wait at ${vnode} on ${pnode.pnode}`)
        const kept = Math.min(cuts.maxAhead, Math.max(0, applied - manifest)) + forFollowers
        const given = feedback && feedback.to.length > 0 ? feedback.lag + kept : 0
        if (retained > kept + given) this.fail(`${vnode} on ${pnode.pnode} keeps ${retained} outputs`)
      }
    }
  }

  /**
   * At the end everything that the head names can be read, and says what the undisturbed run says.
   * @param end.isLogWhole nothing can have kept events from the store but the end of who told them
   */
  async checkEnd(store: ObjectStore, { isLogWhole }: { readonly isLogWhole: boolean }): Promise<void> {
    const { id, definition, timetable } = this.#run
    const key = keys.head(id)
    const head = decodeHead((await store.get(key)).bytes, key)
    if (head.status !== 'done') this.fail(`the run is ${head.status}`)
    const { hash, metrics: expected } = this.#reference
    await readDefinition(store, id)
    await readSettings(store, id)
    await readHistory(store, id)
    await readTrace(store, id)
    if (!this.#isPromised(head)) return
    if (head.result?.hash !== hash) this.fail(`the final hash is ${head.result?.hash}, undisturbed ${hash}`)
    // With audits alone an evaluation is the word of one host.
    const areAnswersPromised = (this.#liars?.promise ?? 'all') === 'all'
    if (
      areAnswersPromised &&
      timetable.evaluationsAfter(timetable.totalSteps) > 0 &&
      canonicalJson(head.result?.metrics ?? {}) !== canonicalJson(means(expected))
    )
      this.fail(`the last evaluation says ${JSON.stringify(head.result?.metrics)}, undisturbed ${JSON.stringify(means(expected))}`)
    const ids = definition.network.vnodes.map((vnode) => vnode.id)
    for (const ref of head.manifests) {
      const manifest = await readManifest(store, ref, ids)
      for (const { vnode, hash: blob } of manifest.vnodes) {
        if (this.#rotten.has(keys.blob(id, manifest.generation, blob))) continue
        const { bytes } = await store.get(keys.blob(id, manifest.generation, blob))
        decodeState(bytes, blob)
        const { chain } = numbersOf(bytes)
        if (blob !== this.#reference.stateHash(vnode, manifest.step)) this.fail(`${vnode} is something else after step ${manifest.step}`)
        if (chain !== this.#reference.numbers(vnode, manifest.step).chain)
          this.fail(`${vnode} has consumed something else by step ${manifest.step}`)
      }
      if (manifest.step === timetable.totalSteps && hashRun(manifest.vnodes.map((vnode) => vnode.hash)) !== hash)
        this.fail('the last manifest is another one')
    }
    await this.#checkDecisions(store, head, isLogWhole)
  }

  /** Behind a source that lies there are two batches of a position: what it has sent, and what whoever took it over has. */
  #isOfTwoSources({ reason }: Observation & { readonly type: 'suspected' }): boolean {
    return reason === 'batch' && [...(this.#liars?.attacks.values() ?? [])].includes('poisoned-source')
  }

  #isLiar(host: string): boolean {
    return this.#liars?.attacks.has(host) === true
  }

  /** Whether its end has to be that of an honest run. */
  #isPromised({ excluded = [] }: Head): boolean {
    const { promise = 'all', attacks } = this.#liars ?? {}
    if (promise !== 'found') return promise !== 'none'
    const isOut = (liar: string) => excluded.includes(liar) || ONLY_FOLLOWING.includes(attacks!.get(liar)!)
    return [...this.#lied].every(isOut)
  }

  /** What VNodes have decided is told, once: again only where the run went back, and left out only where an owner died before it told. */
  async #checkDecisions(store: ObjectStore, { generation, writer }: Head, isLogWhole: boolean): Promise<void> {
    const { decisions } = this.#reference
    const told: string[] = []
    for await (const { events } of readEvents(store, this.#run.id))
      for (const event of events) if (event.type === 'stalled') told.push(`${event.vnode}@${event.step}`)
    const known = new Set(told)
    for (const one of told) if (!decisions.has(one)) this.fail(`${one} is told as a decision, and is none of the undisturbed run`)
    if (generation === 1 && known.size < told.length) this.fail(`decisions are told twice: ${told.join(' ')}`)
    if (isLogWhole && generation === 1 && writer === 1 && known.size < decisions.size)
      this.fail(`${[...decisions].filter((one) => !known.has(one)).join(' ')} of ${decisions.size} decisions are not told`)
  }

  /** What has been done, for a message. */
  describe(): string {
    return JSON.stringify({ frontier: Object.fromEntries(this.#frontier), directory: this.head?.directory, status: this.head?.status })
  }
}

/** By the frame as it is on the wire: whoever is promoted sends under its new term what it has made under another. */
function isOfThePast(bytes: Uint8Array, vnode: string, { generation, peers }: Told): boolean {
  const view = new DataView(bytes.buffer, bytes.byteOffset)
  return view.getUint32(12, true) < (peers.get(vnode) ?? 0) || view.getUint32(8, true) < generation
}
