/** Disputes among honest hosts and liars, as they may go: who is asked is drawn by chance, and messages are lost, late, doubled, or come from whom nobody asked. */
import { compareStates, TOLERANCES } from '../../actors/trust/comparison.js'
import { afterDisputeEvent, type Claim, type Dispute, type DisputeAction, nextAction, openDispute } from '../../actors/trust/dispute.js'
import { inputsRootOf, rootOf } from '../../runtime/commitment.js'
import { RandomStream } from '../../runtime/random.js'
import { encodeState, hashState, type StateTensor } from '../../runtime/state.js'
import { type ClassDifferences, samplesOf } from './measured-noise.js'

/**
 * `plot`: all of them say the same. `random`: each something else. `slander`: only of others, and then the plot. `idle`: nothing was learnt.
 * `subtle`: the truth, but for less than the tolerance. `edge`: as far from wasm as the tolerance allows, and away from the other classes.
 */
export type Lie = 'plot' | 'random' | 'slander' | 'idle' | 'subtle' | 'edge'
export type Path = 'wasm' | 'blocked' | 'native'

export interface Host {
  readonly name: string
  readonly owner: string
  readonly path: Path
  /** Undefined: it is honest. */
  readonly lie?: Lie
}

export interface World {
  readonly hosts: readonly Host[]
  /** Trusted hosts. */
  readonly arbiters: readonly Host[]
  readonly optimizer: 'adam' | 'sgd'
  /** The probability that who was asked does not answer in time. */
  readonly silence: number
  readonly liars: number
}

export interface Ending {
  readonly action: Extract<DisputeAction, { type: 'settled' | 'undecided' }>
  readonly dispute: Dispute
  /** Hosts that told the truth, and were convicted. */
  readonly wronged: readonly string[]
  /** Hosts whose claim was heard and is false beyond the tolerance, and that were not convicted. */
  readonly escaped: readonly string[]
  /** Messages that nobody waited for. */
  readonly strays: number
}

const SIZE = 12
const SEGMENT = { vnode: 'dense', from: 10, to: 20 }
/** More than any dispute needs: 5 claims, and as many silences as are put up with. */
const MAX_ACTIONS = 100

/** The states that hosts come to, and their claims. */
class Truth {
  readonly #random: RandomStream
  readonly #before: Float32Array
  readonly #update: Float32Array
  readonly #noises: { readonly [path in Path]: Float32Array }
  readonly #states = new Map<string, readonly StateTensor[]>()
  readonly #world: World

  constructor(world: World, seed: number, differences: ClassDifferences) {
    this.#world = world
    this.#random = new RandomStream(seed, 'truth')
    this.#before = this.#normal(1e-3)
    this.#update = this.#normal(1e-3)
    const noiseOf = (path: Path): Float32Array => {
      if (path === 'wasm') return new Float32Array(SIZE)
      const samples = samplesOf(differences, `wasm ${path}`, world.optimizer)
      return this.#apart(samples[this.#random.below(samples.length)][0])
    }
    this.#noises = { wasm: noiseOf('wasm'), blocked: noiseOf('blocked'), native: noiseOf('native') }
  }

  /** What a host says of the segment. */
  claim(host: Host, isOwner: boolean): Claim {
    const lie = host.lie === 'slander' && isOwner ? undefined : host.lie
    // A liar may say that it is of whatever class.
    const paths = ['wasm', 'blocked', 'native'] as const
    const path = host.lie === undefined ? host.path : paths[this.#random.below(paths.length)]
    const tensors = this.#stateOf(this.#updateOf(path, lie))
    const after = hashState(encodeState(tensors))
    const roots = { before: '0'.repeat(64), after, inputs: { source: '1'.repeat(64) } }
    const root = rootOf(roots)
    this.#states.set(root, tensors)
    const isElsewhere = host.lie !== undefined && !isOwner && this.#random.below(8) === 0
    const inputs = isElsewhere ? '2'.repeat(64) : inputsRootOf(roots)
    return { host: host.name, owner: host.owner, computeClass: `4.22.0 | ${path}`, inputs, root }
  }

  /** What the comparison of states says of two claims. */
  isSame(a: Claim, b: Claim): boolean {
    const [first, second] = [this.#states.get(a.root)!, this.#states.get(b.root)!]
    const before = this.#stateOf(new Float32Array(SIZE))
    return compareStates({ before, a: first, b: second }, TOLERANCES[this.#world.optimizer]).isSame
  }

  /** Whether an honest host of some class would be convicted for a claim. */
  isFalse(claim: Claim): boolean {
    return (['wasm', 'blocked', 'native'] as const).every((path) => {
      const honest = this.#stateOf(this.#updateOf(path, undefined))
      const before = this.#stateOf(new Float32Array(SIZE))
      return !compareStates({ before, a: honest, b: this.#states.get(claim.root)! }, TOLERANCES[this.#world.optimizer]).isSame
    })
  }

  #updateOf(path: Path, lie: Lie | undefined): Float32Array {
    const { relative } = TOLERANCES[this.#world.optimizer]
    const honest = this.#update.map((value, i) => value + this.#noises[path][i])
    switch (lie) {
      case undefined:
        return honest
      case 'plot':
      case 'slander':
        return this.#update.map((value) => -value)
      case 'random':
        return this.#normal(1e-3)
      case 'idle':
        return new Float32Array(SIZE)
      case 'subtle': {
        const apart = this.#apart(relative / 2)
        return honest.map((value, i) => value + apart[i])
      }
      case 'edge': {
        const away = this.#noises.native
        const by = (0.999 * relative * lengthOf(this.#update)) / Math.max(lengthOf(away), 1e-30)
        return this.#update.map((value, i) => value - by * away[i])
      }
    }
  }

  #stateOf(update: Float32Array): readonly StateTensor[] {
    const values = this.#before.map((value, i) => value + update[i])
    return [
      { name: 'layers/w', dtype: 'float32', shape: [SIZE], values },
      { name: 'step', dtype: 'int32', shape: [], values: Int32Array.of(20) },
    ]
  }

  /** Something at right angles to nothing in particular, so long relative to the update. */
  #apart(relative: number): Float32Array {
    const direction = this.#normal(1)
    const by = (relative * lengthOf(this.#update)) / lengthOf(direction)
    return direction.map((value) => value * by)
  }

  #normal(scale: number): Float32Array {
    return Float32Array.from({ length: SIZE }, () => scale * this.#random.normal())
  }
}

const lengthOf = (vector: Float32Array): number => Math.sqrt(vector.reduce((sum, value) => sum + value * value, 0))

/** Carries one dispute to its end: the owner of the segment is drawn as well. */
export function carryOutDispute(world: World, seed: number, differences: ClassDifferences): Ending {
  const truth = new Truth(world, seed, differences)
  const random = new RandomStream(seed, 'messages')
  const pick = <T>(from: readonly T[]): T => from[random.below(from.length)]
  const isSame = (a: Claim, b: Claim): boolean => truth.isSame(a, b)
  const owner = pick(world.hosts)
  let strays = 0
  const told: Claim[] = []
  let dispute = openDispute({
    segment: SEGMENT,
    hasArbiter: world.arbiters.length > 0,
    population: { hosts: world.hosts.length, liars: world.liars },
    owners: truth.claim(owner, true),
  })
  const tell = (event: Parameters<typeof afterDisputeEvent>[1]): void => {
    dispute = afterDisputeEvent(dispute, event)
  }
  /** Messages that nobody waits for: of what was told before, again or changed; from somebody else; of somebody's silence. */
  const disturb = (): void => {
    const stranger = pick(world.hosts)
    const kind = random.below(6)
    if (kind < 4) strays++
    if (kind === 0) tell({ type: 'silent', host: stranger.name === dispute.asked?.host ? 'nobody' : stranger.name })
    if (kind === 1 && stranger.name !== dispute.asked?.host) tell({ type: 'claimed', claim: truth.claim(stranger, false) })
    if (kind === 2 && told.length > 0) tell({ type: 'claimed', claim: pick(told) })
    if (kind === 3 && told.length > 0) tell({ type: 'claimed', claim: { ...pick(told), root: pick(told).root } })
  }
  for (let actions = 0; actions < MAX_ACTIONS; actions++) {
    const action = nextAction(dispute, isSame)
    if (action.type === 'settled' || action.type === 'undecided') {
      const convicted = action.type === 'settled' ? action.convicted.map(({ host }) => host) : []
      const known = new Map([...world.hosts, ...world.arbiters].map((host) => [host.name, host]))
      const wronged = convicted.filter((name) => isHonestAs(known.get(name)!, name === owner.name))
      const escaped = dispute.claims.filter((claim) => truth.isFalse(claim) && !convicted.includes(claim.host)).map(({ host }) => host)
      return { action, dispute, wronged, escaped, strays }
    }
    if (action.type === 'wait') throw new Error(`seed ${seed}: nobody answers for ${action.for}`)
    const isArbiter = action.type === 'ask arbiter'
    const { hosts, owners } = action.excluded
    const others = (isArbiter ? world.arbiters : world.hosts).filter(({ name, owner }) => !hosts.includes(name) && !owners.includes(owner))
    if (others.length === 0) {
      tell({ type: 'exhausted', of: isArbiter ? 'arbiters' : 'hosts' })
      continue
    }
    const alike = others.filter(({ path }) => action.preferredClass.endsWith(path))
    const asked = pick(alike.length > 0 && random.below(2) === 0 ? alike : others)
    tell({ type: 'asked', host: asked.name, owner: asked.owner, isArbiter })
    disturb()
    const claim = truth.claim(asked, false)
    const isSilent = random.uniform() < world.silence
    tell(isSilent ? { type: 'silent', host: asked.name } : { type: 'claimed', claim })
    // What comes late was made all the same.
    told.push(claim)
    disturb()
  }
  throw new Error(`seed ${seed}: no end after ${MAX_ACTIONS} actions`)
}

/** A liar that has told the truth may be convicted for it, too; that is no loss. */
const isHonestAs = (host: Host, isOwner: boolean): boolean => host.lie === undefined || (host.lie === 'slander' && isOwner)

const PATHS: readonly Path[] = ['wasm', 'blocked', 'native']

/** Hosts of three classes, of which so many lie. @param ownersOfLiars the liars' machines belong to so many people; default: each to another */
export function worldOf(options: {
  readonly hosts: number
  readonly lies: readonly Lie[]
  readonly arbiters: number
  readonly silence?: number
  readonly ownersOfLiars?: number
  readonly optimizer?: World['optimizer']
}): World {
  const { hosts, lies, arbiters, silence = 0.1, ownersOfLiars = lies.length, optimizer = 'adam' } = options
  const pathOf = (i: number): Path => PATHS[i % PATHS.length]
  return {
    hosts: Array.from({ length: hosts }, (_, i): Host => {
      const liar = i < lies.length ? { lie: lies[i], owner: `liar-${i % ownersOfLiars}` } : { owner: `owner-${i}` }
      return { name: `p${i}`, path: pathOf(i + Math.floor(i / 3)), ...liar }
    }),
    arbiters: Array.from({ length: arbiters }, (_, i) => ({ name: `control-${i}`, owner: `control-${i}`, path: pathOf(i) })),
    optimizer,
    silence,
    liars: lies.length,
  }
}
