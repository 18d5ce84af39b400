/**
 * Says to hosts what is durable in `head`: who owns what, where the neighbours are, how far the newest manifest goes. Every
 * message is idempotent and repeated until it is heard, or until it is about an owner of the past.
 */
import { type NetworkDefinition, SOURCE } from '../../components/definition.js'
import type { ActorContext } from '../../runtime/actor-system/actor-system.js'
import { type ErrorCode, isSwarmError, toSwarmError } from '../../runtime/errors.js'
import { followed, followersOf, vnodeOf } from '../../runtime/followers.js'
import { type ControlKey, GRANT_VERSION, type Grant, type Placed, signGrant } from '../../runtime/grant.js'
import { type Head, type Manifest, skipsOf } from '../../runtime/head.js'
import { actor, call, type Calls, isTransient, untilHeard } from '../calls.js'
import { consumersOf, producersOf } from './run-definition.js'
import { sourceRootsOf } from '../checks/source-audits.js'

export interface HeadEchoOptions {
  readonly context: ActorContext
  readonly network: NetworkDefinition
  readonly controlKey: ControlKey
  readonly head: () => Head
  /** That of a step, or the one behind which everything is kept; undefined: the seed. */
  readonly manifest: (step?: number) => Manifest | undefined
  readonly onError: (error: unknown) => void
}

/** Codes that mean that the host is going, which its loss will say. */
const GOING: readonly ErrorCode[] = ['aborted', 'compute.lost', 'compute.closed']
/** How long new owners wait for their neighbours to know of them, in ms. */
const NEIGHBOUR_WAIT_MS = 200

export class HeadEcho {
  readonly #options: HeadEchoOptions

  constructor(options: HeadEchoOptions) {
    this.#options = options
  }

  /** Tells the neighbours first, so that they know the new owner's term before it speaks; then the new owners. */
  async grant(vnodes: readonly string[]): Promise<void> {
    const { context } = this.#options
    const tasks: Promise<void>[] = []
    for (const vnode of vnodes) {
      for (const other of this.#neighboursOf(vnode)) {
        if (!vnodes.includes(other)) tasks.push(this.#deliver(other, () => this.#tellOf(vnode, other)))
      }
    }
    // A neighbour that cannot be reached is itself lost or slow: nobody waits long for it.
    const waited = context.clock.sleep(NEIGHBOUR_WAIT_MS, context.signal).catch(() => undefined)
    await Promise.race([Promise.all(tasks), waited])
    for (const vnode of vnodes)
      void this.#deliver(
        vnode,
        () => this.#grant(vnode),
        (error) => this.#refused(vnode, error),
      )
  }

  /** A manifest is complete: nothing before it is needed again. */
  manifest(position: number): void {
    const { directory } = this.#options.head()
    // Whoever audits needs what was before it.
    for (const id of Object.keys(directory).filter((each) => !directory[each].audits))
      void this.#deliver(id, () => this.#call(id, 'manifest', { position }))
  }

  toSource(method: 'cut' | 'pause'): void {
    void this.#deliver(SOURCE, () => this.#call(SOURCE, method, null))
  }

  /** Before a move: nothing is applied after the next checkpoint. Resolves when they know, or can wait no longer. */
  async hold(vnodes: readonly string[]): Promise<void> {
    const { context, head } = this.#options
    const asOf = head().termCounter
    const waited = context.clock.sleep(NEIGHBOUR_WAIT_MS, context.signal).catch(() => undefined)
    await Promise.race([Promise.all(vnodes.map((vnode) => this.#deliver(vnode, () => this.#call(vnode, 'hold', { asOf })))), waited])
  }

  /** A planned move does not come about as planned: what stands still, or is about to, goes on. */
  release(vnodes: readonly string[]): void {
    const asOf = this.#options.head().termCounter
    for (const vnode of vnodes) void this.#deliver(vnode, () => this.#call(vnode, 'release', { asOf }))
  }

  /** Tells owners of the past, where they can be reached, that they are. */
  stop(places: readonly Placed[]): void {
    const { context, head } = this.#options
    for (const { vnode, pnode, term } of places) {
      const target = actor.vnode(pnode, head().run, vnode)
      void untilHeard(context.clock, context.signal, () => call<'VNode', 'stop'>(context, target, 'stop', { term }), isRetryable).catch(
        () => undefined,
      )
    }
  }

  /** Stops what can be reached; what cannot is fenced by its term. @param directory of those to stop, if they are no owners any more */
  async stopAll(directory = this.#options.head().directory): Promise<void> {
    const { context, head } = this.#options
    const stops = Object.entries(directory).map(([vnode, { pnode, term }]) =>
      call<'VNode', 'stop'>(context, actor.vnode(pnode, head().run, vnode), 'stop', { term }, context.signal),
    )
    await Promise.allSettled(stops)
  }

  #grant(vnode: string): Promise<unknown> {
    const { controlKey } = this.#options
    const head = this.#options.head()
    const { incarnation, audits } = head.directory[vnode]
    const manifest = this.#options.manifest(audits?.from)
    const until = audits && this.#options.manifest(audits.to)
    const { hash: blob = '', roots } = manifest?.vnodes.find((entry) => entry.vnode === vnodeOf(vnode)) ?? {
      roots: manifest && sourceRootsOf(manifest),
    }
    const skips = skipsOf(head, vnodeOf(vnode), manifest?.position)
    const grant: Grant = {
      v: GRANT_VERSION,
      run: head.run,
      generation: head.generation,
      ...this.#whereIs(vnode),
      ...(incarnation && { incarnation }),
      ...(manifest && {
        checkpoint: {
          generation: manifest.generation,
          step: manifest.step,
          position: manifest.position,
          blob,
          ...(roots && { roots }),
        },
      }),
      ...(until && { until: { step: until.step, position: until.position } }),
      ...(skips.length > 0 && { skips }),
      inputs: producersOf(this.#options.network, vnodeOf(vnode)).map((id) => this.#whereIs(id)),
      outputs: this.#readersOf(vnode).map((id) => this.#whereIs(id)),
    }
    return this.#call(vnode, 'grant', signGrant(grant, controlKey))
  }

  /** Who gets what it sends: its consumers and those who follow them. */
  #readersOf(vnode: string): string[] {
    const { network, head } = this.#options
    const consumers = consumersOf(network, vnodeOf(vnode))
    return [...consumers, ...consumers.flatMap((id) => followersOf(head(), id))]
  }

  /** Who has to know where it is. A follower sends nothing. */
  #neighboursOf(vnode: string): ReadonlySet<string> {
    const producers = producersOf(this.#options.network, vnodeOf(vnode))
    return new Set(followed(vnode) === undefined ? [...producers, ...this.#readersOf(vnode)] : producers)
  }

  async #tellOf(vnode: string, other: string): Promise<void> {
    if (vnode in this.#options.head().directory) await this.#call(other, 'neighbour', this.#whereIs(vnode))
  }

  #call<M extends keyof Calls['VNode']>(vnode: string, method: M, argument: Calls['VNode'][M][0]): Promise<unknown> {
    const { context, head } = this.#options
    const { run, directory } = head()
    return call<'VNode', M>(context, actor.vnode(directory[vnode].pnode, run, vnode), method, argument as never, context.signal)
  }

  #whereIs(vnode: string): Placed {
    const { pnode, term } = this.#options.head().directory[vnode]
    return { vnode, pnode, term }
  }

  /** A host that cannot begin with a VNode says so for good: its run decides, as if the VNode had failed. */
  async #refused(vnode: string, error: unknown): Promise<void> {
    const { context, head } = this.#options
    const { run, generation, directory } = head()
    const place = directory[vnode]
    // It lost what it had, or does not take our word: somebody else will.
    if (isSwarmError(error, 'host.restarted', 'message.signature') && place) {
      const loss = { ...place, what: 'worker', reason: error.message, vnodes: [`${run}/${vnode}`] } as const
      return untilHeard(context.clock, context.signal, () => call<'Run', 'hostLost'>(context, actor.run(run), 'hostLost', loss)).then(
        () => undefined,
      )
    }
    const { code, message } = toSwarmError(error, 'internal', `grant of ${vnode}`)
    const failure = { vnode, term: place?.term ?? 0, generation, error: { code, message, retryable: false } }
    await untilHeard(context.clock, context.signal, () => call<'Run', 'failed'>(context, actor.run(run), 'failed', failure))
  }

  /** Tries until it is heard, or until the VNode has another owner: then somebody else is told. */
  async #deliver(vnode: string, attempt: () => Promise<unknown>, onRefusal?: (error: unknown) => Promise<void>): Promise<void> {
    const { context, head, onError } = this.#options
    const term = head().directory[vnode]?.term
    if (term === undefined) return
    try {
      const isSaid = async () => {
        if (head().directory[vnode]?.term === term) await attempt()
      }
      await untilHeard(context.clock, context.signal, isSaid, (error) => isTransient(error) || isSwarmError(error, ...GOING))
    } catch (error) {
      // Who has lost it meanwhile has no right to it any more, and says so: that is no word of whoever has it now.
      if (context.signal.aborted || head().directory[vnode]?.term !== term) return
      if (onRefusal) await onRefusal(error).catch(onError)
      else onError(error)
    }
  }
}

const isRetryable = (error: unknown): boolean => isSwarmError(error) && error.retryable
