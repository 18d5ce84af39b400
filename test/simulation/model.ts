/**
 * A small model of head, grant and cut, explored exhaustively: two VNodes, `a` → `b`, on two PNodes, with cuts after steps 2 and 4 of 4. The
 * transitions of the head, and what completes a cut, are the product's own (runtime/head.ts, actors/run/open-cuts.ts); hosts, messages and
 * losses are as small as can be. Messages wait for ever and arrive in any order, those that may be repeated any number of times.
 */
import { OpenCuts } from '../../actors/run/open-cuts.js'
import type { Commit } from '../../actors/reports.js'
import { advanced, claimed, firstHead, type Head, placed } from '../../runtime/head.js'

type VNode = 'a' | 'b'
type PNode = 'p' | 'q'

/** What a PNode has of a VNode. */
interface Owner {
  readonly term: number
  readonly applied: number
  /** Everything that it has consumed. */
  readonly state: string
  /** Up to where it has heard that a manifest is complete. */
  readonly manifest: number
  /** The newest term of the neighbour that it was told of, and where that is. */
  readonly peerTerm: number
  readonly peer: PNode
}

interface Grant {
  readonly kind: 'grant'
  readonly to: PNode
  /** The start of the process that it is for. */
  readonly incarnation: string
  readonly vnode: VNode
  readonly term: number
  readonly step: number
  readonly peerTerm: number
  readonly peer: PNode
}
interface Neighbour {
  readonly kind: 'neighbour'
  readonly to: PNode
  readonly vnode: VNode
  readonly peerTerm: number
  readonly peer: PNode
}
interface Frame {
  readonly kind: 'frame'
  readonly to: PNode
  readonly step: number
  readonly term: number
  readonly value: string
}
interface Told {
  readonly kind: 'commit'
  readonly vnode: VNode
  readonly term: number
  readonly step: number
  readonly state: string
}
type Message = Grant | Neighbour | Frame | Told

export interface State {
  readonly head: Head
  /** By step and VNode: the states of the manifests that are stored. */
  readonly manifests: { readonly [step: string]: { readonly [vnode: string]: string } }
  /** What control has heard since it began: it forgets that with its process. */
  readonly commits: readonly Told[]
  readonly isControlUp: boolean
  readonly owners: { readonly [place: string]: Owner }
  /** Starts of each PNode's process. */
  readonly starts: { readonly p: number; readonly q: number }
  /** The newest terms that a process has had. */
  readonly terms: { readonly [place: string]: number }
  readonly messages: readonly Message[]
  /** What may still be lost. */
  readonly left: Losses
  /** PNodes whose loss control has not seen to. */
  readonly lost: readonly PNode[]
}

/** What is built wrong on purpose, to see that the exploration notices. */
export interface ModelDefects {
  readonly takesOldCommits?: boolean
  readonly takesOldFrames?: boolean
  /** A process takes grants for the one before it. */
  readonly takesForeignGrants?: boolean
  readonly forgetsToGrantAgain?: boolean
  readonly keepsTerms?: boolean
}

/** How often what may be lost. */
export interface Losses {
  readonly pnodes: number
  readonly control: number
}

export interface Exploration {
  readonly states: number
  readonly transitions: number
  readonly ends: number
}

const STEPS = 4
const CUTS = [2, 4]
const VNODES: readonly VNode[] = ['a', 'b']

const other = (pnode: PNode): PNode => (pnode === 'p' ? 'q' : 'p')
const peerOf = (vnode: VNode): VNode => (vnode === 'a' ? 'b' : 'a')
const at = (pnode: PNode, vnode: VNode): string => `${pnode}/${vnode}`

/** What a VNode is after a step, undisturbed. */
const stateAfter = (vnode: VNode, step: number): string => Array.from({ length: step }, (_, i) => `${vnode}${i + 1}`).join('')
const output = (vnode: VNode, step: number): string => `${vnode}${step}`

const placeOf = (head: Head, vnode: VNode) =>
  head.directory[vnode] as { readonly pnode: PNode; readonly term: number; readonly incarnation: string }

function grantsOf(head: Head, vnodes: readonly VNode[]): Message[] {
  const step = head.manifests[0]?.step ?? 0
  return vnodes.flatMap((vnode): Message[] => {
    const { pnode, term, incarnation } = placeOf(head, vnode)
    const peer = placeOf(head, peerOf(vnode))
    const neighbour = { kind: 'neighbour', to: peer.pnode, vnode: peerOf(vnode), peerTerm: term, peer: pnode } as const
    return [neighbour, { kind: 'grant', to: pnode, incarnation, vnode, term, step, peerTerm: peer.term, peer: peer.pnode }]
  })
}

function begin(left: Losses): State {
  const head = placed(claimed(firstHead('run')), [
    { vnode: 'a', pnode: 'p', incarnation: '1' },
    { vnode: 'b', pnode: 'q', incarnation: '1' },
  ])
  const messages = unique(grantsOf(head, VNODES))
  return {
    head,
    manifests: {},
    commits: [],
    isControlUp: true,
    owners: {},
    starts: { p: 1, q: 1 },
    terms: {},
    messages,
    left,
    lost: [],
  }
}

/** A message that is there twice is there once: it may arrive any number of times. */
function unique(messages: readonly Message[]): Message[] {
  return [...new Map(messages.map((message) => [JSON.stringify(message), message])).entries()]
    .toSorted(([x], [y]) => (x < y ? -1 : 1))
    .map(([, message]) => message)
}

/** Without the messages that can change nothing any more, whatever happens: a state with them is the same state. */
function pruned(state: State, { takesOldCommits, takesOldFrames, takesForeignGrants }: ModelDefects): State {
  const { head, owners, terms, starts } = state
  const newest = head.manifests[0]?.step ?? 0
  const isAlive = (message: Message): boolean => {
    if (message.kind === 'commit')
      return message.step > newest && (takesOldCommits === true || placeOf(head, message.vnode).term === message.term)
    if (message.kind === 'grant')
      return (
        (terms[at(message.to, message.vnode)] ?? 0) < message.term &&
        (takesForeignGrants === true || message.incarnation >= String(starts[message.to]))
      )
    const owner = owners[at(message.to, message.kind === 'frame' ? 'b' : message.vnode)]
    if (message.kind === 'neighbour') return owner === undefined || message.peerTerm > owner.peerTerm
    if (message.step <= newest) return false
    // Whoever is there has it, or has been told that it is of the past.
    return owner === undefined || (message.step > owner.applied && (takesOldFrames === true || message.term >= owner.peerTerm))
  }
  return { ...state, messages: state.messages.filter(isAlive) }
}

const send = (state: State, ...messages: Message[]): State => ({ ...state, messages: unique([...state.messages, ...messages]) })
const own = (state: State, place: string, owner: Owner): State => ({ ...state, owners: { ...state.owners, [place]: owner } })

/** Everything that can happen next. @throws if an invariant does not hold */
export function next(state: State, defects: ModelDefects = {}): State[] {
  return [...arrivals(state, defects), ...steps(state), ...losses(state), ...control(state, defects)].map((one) => pruned(one, defects))
}

function arrivals(state: State, defects: ModelDefects): State[] {
  return state.messages.flatMap((message): State[] => {
    if (message.kind === 'grant') return onGrant(state, message, defects)
    if (message.kind === 'commit') return onCommit(state, message, defects)
    const place = at(message.to, message.kind === 'frame' ? 'b' : message.vnode)
    const owner = state.owners[place]
    if (!owner) return []
    if (message.kind === 'neighbour') {
      if (message.peerTerm <= owner.peerTerm) return []
      return [own(state, place, { ...owner, peerTerm: message.peerTerm, peer: message.peer })]
    }
    if (message.step !== owner.applied + 1) return []
    if (message.term !== owner.peerTerm) {
      if (!defects.takesOldFrames || message.term > owner.peerTerm) return []
      throw new Error(`b takes step ${message.step} of term ${message.term} and knows of ${owner.peerTerm}`)
    }
    return [advance(own(state, place, owner), message.to, 'b', message.step)]
  })
}

function onGrant(
  state: State,
  { to, incarnation, vnode, term, step, peerTerm, peer }: Grant,
  { takesForeignGrants }: ModelDefects,
): State[] {
  const place = at(to, vnode)
  if (incarnation !== String(state.starts[to]) && !takesForeignGrants) return []
  if ((state.terms[place] ?? 0) >= term) return []
  const restored = step === 0 ? '' : state.manifests[step]?.[vnode]
  if (restored === undefined) throw new Error(`${vnode} is to be restored from step ${step}, which is not stored`)
  const owner = { term, applied: step, state: restored, manifest: step, peerTerm, peer }
  return [own({ ...state, terms: { ...state.terms, [place]: term } }, place, owner)]
}

/** An owner applies a step; at a cut it tells its state. */
function advance(state: State, pnode: PNode, vnode: VNode, step: number): State {
  const place = at(pnode, vnode)
  const owner = state.owners[place]
  const applied = { ...owner, applied: step, state: owner.state + output(vnode, step) }
  if (applied.state !== stateAfter(vnode, step)) throw new Error(`${vnode} after step ${step} is ${applied.state}`)
  const moved = own(state, place, applied)
  if (!CUTS.includes(step)) return moved
  return send(moved, { kind: 'commit', vnode, term: owner.term, step, state: applied.state })
}

/** `a` makes a step of its own, and sends again whatever `b` may miss. */
function steps(state: State): State[] {
  return (['p', 'q'] as const).flatMap((pnode) => {
    const owner = state.owners[at(pnode, 'a')]
    if (!owner) return []
    const all = owner.applied < STEPS ? [advance(state, pnode, 'a', owner.applied + 1)] : []
    for (let step = owner.manifest + 1; step <= owner.applied; step++) {
      const sent = send(state, { kind: 'frame', to: owner.peer, step, term: owner.term, value: output('a', step) })
      if (sent.messages.length > state.messages.length) all.push(sent)
    }
    return all
  })
}

function losses(state: State): State[] {
  const { left, isControlUp } = state
  const all: State[] = []
  if (left.pnodes > 0) {
    for (const pnode of ['p', 'q'] as const) {
      const kept = <T>(places: { readonly [place: string]: T }) =>
        Object.fromEntries(Object.entries(places).filter(([place]) => !place.startsWith(pnode)))
      // A process of that name is back at once, and knows nothing; what is under way to the one before does not reach it.
      const messages = state.messages.filter((message) => message.kind === 'commit' || message.to !== pnode)
      const lost = [...new Set([...state.lost, pnode])].toSorted()
      const starts = { ...state.starts, [pnode]: state.starts[pnode] + 1 }
      const fewer = { ...left, pnodes: left.pnodes - 1 }
      all.push({ ...state, owners: kept(state.owners), starts, terms: kept(state.terms), messages, lost, left: fewer })
    }
  }
  if (isControlUp && left.control > 0) {
    const down = { ...state, isControlUp: false, commits: [], left: { ...left, control: left.control - 1 } }
    // What it was about to tell it tells nobody; or it had told it, and it arrives later.
    const untold = state.messages.filter(({ kind }) => kind === 'frame' || kind === 'commit')
    all.push(down, { ...down, messages: untold })
  }
  return all
}

function control(state: State, defects: ModelDefects): State[] {
  if (!state.isControlUp) {
    // It raises the writer, and tells everybody again; a roll call finds whom nobody told it of.
    const head = claimed(state.head)
    const woken = { ...state, head, isControlUp: true }
    return [defects.forgetsToGrantAgain ? woken : send(woken, ...grantsOf(head, VNODES))]
  }
  return state.lost.map((pnode) => {
    const moving = VNODES.filter((vnode) => isGone(state, pnode, vnode))
    const moves = moving.map((vnode) => ({ vnode, pnode: other(pnode), incarnation: String(state.starts[other(pnode)]) }))
    const moved = placed(state.head, moves)
    const head = defects.keepsTerms
      ? {
          ...moved,
          directory: Object.fromEntries(
            Object.entries(moved.directory).map(([vnode, place]) => [vnode, { ...place, term: placeOf(state.head, vnode as VNode).term }]),
          ),
        }
      : moved
    const commits = state.commits.filter(({ vnode }) => !moving.includes(vnode))
    return send(
      { ...state, head, commits, lost: state.lost.filter((one) => one !== pnode) },
      ...grantsOf(head, moving),
      ...heardAgain(state, head, moving),
    )
  })
}

/** It was given to a process of this PNode that has ended. */
function isGone({ head, starts }: State, pnode: PNode, vnode: VNode): boolean {
  const place = placeOf(head, vnode)
  return place.pnode === pnode && place.incarnation !== String(starts[pnode])
}

/** Those who were not lost tell again what they have told: reports are repeated until they are heard. */
function heardAgain(state: State, head: Head, moving: readonly VNode[]): Message[] {
  return state.messages.filter(
    (message) => message.kind === 'commit' && !moving.includes(message.vnode) && message.step > (head.manifests[0]?.step ?? 0),
  )
}

function onCommit(state: State, message: Told, { takesOldCommits }: ModelDefects): State[] {
  const { vnode, term, step } = message
  if (!state.isControlUp || step <= (state.head.manifests[0]?.step ?? 0)) return []
  if (placeOf(state.head, vnode).term !== term && !takesOldCommits) return []
  const commits = [...state.commits.filter((one) => one.vnode !== vnode || one.step !== step), message].toSorted((x, y) =>
    JSON.stringify(x) < JSON.stringify(y) ? -1 : 1,
  )
  const cuts = new OpenCuts(VNODES)
  let complete: readonly Commit[] | undefined
  for (const one of commits) complete = cuts.add({ ...one, generation: 1, position: one.step } as unknown as Commit) ?? complete
  if (!complete) return JSON.stringify(commits) === JSON.stringify(state.commits) ? [] : [{ ...state, commits }]
  const states = Object.fromEntries(complete.map((one) => [one.vnode, (one as unknown as Told).state]))
  for (const one of VNODES)
    if (states[one] !== stateAfter(one, step)) throw new Error(`the manifest of step ${step} has ${one} as ${states[one]}`)
  const head = advanced(state.head, { key: `1-${step}`, generation: 1, step, position: step })
  const owners = Object.fromEntries(
    Object.entries(state.owners).map(([place, owner]) => {
      const isCurrent = placeOf(head, place.slice(2) as VNode).term === owner.term
      if (isCurrent && owner.applied < step) throw new Error(`${place} is at ${owner.applied} and the manifest at ${step}`)
      return [place, isCurrent ? { ...owner, manifest: step } : owner]
    }),
  )
  const left = commits.filter((one) => one.step > step)
  const messages = state.messages.filter((one) => one.kind !== 'commit' || one.step > step)
  return [{ ...state, head, owners, commits: left, messages, manifests: { ...state.manifests, [step]: states } }]
}

const isEnd = ({ head }: State): boolean => head.manifests[0]?.step === STEPS

/**
 * Visits every state that can be reached, and finds that the end can be reached from each.
 * @throws if an invariant does not hold, or a state is a dead end
 */
export function explore(losable: Losses, defects: ModelDefects = {}): Exploration {
  const first = begin(losable)
  const index = new Map([[keyOf(first), 0]])
  const before: number[][] = [[]]
  const todo: State[] = [first]
  const ends: number[] = []
  let transitions = 0
  for (let i = 0; i < todo.length; i++) {
    const state = todo[i]
    todo[i] = undefined as never
    if (isEnd(state)) {
      ends.push(i)
      continue
    }
    for (const one of next(state, defects)) {
      transitions++
      const key = keyOf(one)
      let number = index.get(key)
      if (number === undefined) {
        number = index.size
        index.set(key, number)
        before.push([])
        todo.push(one)
      }
      before[number].push(i)
    }
  }
  const reaches = new Set(ends)
  const back = [...ends]
  for (let i = back.pop(); i !== undefined; i = back.pop()) {
    for (const one of before[i]) {
      if (reaches.has(one)) continue
      reaches.add(one)
      back.push(one)
    }
  }
  if (reaches.size < index.size) {
    const stuck = [...index].find(([, number]) => !reaches.has(number))![0]
    throw new Error(`${index.size - reaches.size} of ${index.size} states never come to the end, such as ${stuck}`)
  }
  return { states: index.size, transitions, ends: ends.length }
}

function keyOf({ head, manifests, commits, isControlUp, owners, starts, terms, messages, left, lost }: State): string {
  const sorted = <T>(places: { readonly [place: string]: T }) => Object.entries(places).toSorted(([x], [y]) => (x < y ? -1 : 1))
  const steps = head.manifests.map(({ step }) => step)
  const parts = [head.writer, head.termCounter, sorted(head.directory), steps, Object.keys(manifests)]
  return JSON.stringify([parts, commits, isControlUp, sorted(owners), starts, sorted(terms), messages, left, lost])
}
