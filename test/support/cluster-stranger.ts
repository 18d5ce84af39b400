/** A machine that has joined a test cluster, and does with its rights what nobody should; and a run that is to be none the worse. */
import type { ExecutionContext } from 'ava'
import type { JoinAnswer } from '../../actors/control/control-api.js'
import { ControlClient } from '../../actors/control/control-client.js'
import type { CheckpointOptions } from '../../actors/run/run-settings.js'
import type { RunResult } from '../../actors/train.js'
import { verifyRun } from '../../actors/verify.js'
import { systemClock } from '../../runtime/clock.js'
import type { SwarmError } from '../../runtime/errors.js'
import { httpStore, type HttpStore } from '../../runtime/object-store/http-store.js'
import { createHostKey, type HostKey } from '../../runtime/tensor-bus/nats-authority.js'
import { type NatsBus, natsBus } from '../../runtime/tensor-bus/nats-bus.js'
import { VERSION } from '../../runtime/version.js'
import { networks } from './chaos-run.js'
import { type TestCluster, untilStep } from './cluster.js'
import { publicKeyOf, senderOf } from './identities.js'
import type { Teardown } from './servers.js'
import { TRAINING } from './small-runs.js'

export class Stranger {
  readonly name: string
  readonly key: HostKey
  readonly joined: JoinAnswer
  readonly store: HttpStore
  /** What the broker refused it. */
  readonly refused: SwarmError[] = []
  readonly #t: Teardown

  private constructor(t: Teardown, cluster: TestCluster, key: HostKey, joined: JoinAnswer) {
    this.#t = t
    this.name = joined.name
    this.key = key
    this.joined = joined
    this.store = httpStore({ url: cluster.url, token: joined.token, clock: systemClock })
    t.teardown(() => this.store.close())
  }

  /** It asks to join, and is given what everybody is given; it lends nothing. */
  static async join(t: Teardown, cluster: TestCluster, name: string): Promise<Stranger> {
    const key = createHostKey()
    const newcomer = new ControlClient({ url: cluster.url, token: cluster.joinToken, clock: systemClock })
    const request = { name, owner: 'stranger', publicKey: key.publicKey, identity: publicKeyOf(key.seed), version: VERSION }
    return new Stranger(t, cluster, key, await newcomer.join(request, senderOf(name, { text: key.seed })))
  }

  /** With the rights of a PNode of the cluster, as if its machine had been broken into. */
  static of(t: Teardown, cluster: TestCluster, host: string): Stranger {
    const { peer, key } = cluster.hosts.get(host)!
    return new Stranger(t, cluster, key, peer.joined!)
  }

  /** A connection to the broker with its own rights. @param as what it calls itself */
  async bus(as = this.name): Promise<NatsBus> {
    const { servers, jwt } = this.joined.broker
    const bus = await natsBus({
      servers: [...servers],
      name: as,
      credentials: { jwt, seed: this.key.seed },
      onError: (error) => this.refused.push(error),
    })
    this.#t.teardown(() => bus.close())
    return bus
  }
}

/** What control has refused on arrival, by reason. */
export async function refusedBy({ client }: TestCluster): Promise<{ readonly [reason: string]: number }> {
  return ((await client.stats()) as { readonly refused: { readonly [reason: string]: number } }).refused
}

/** How far a run is that is under way, as control knows. */
export async function stepOf({ client }: TestCluster, run: string): Promise<number> {
  const { runs } = (await client.stats()) as { readonly runs: readonly { readonly run: string; readonly step: number }[] }
  return runs.find((one) => one.run === run)!.step
}

/** Steps that the run has to do after it was struck: none of them would come if anything that it needs had stopped. */
const STEPS_AFTER = 40

/**
 * Strikes a run that is longer than the test, pauses it, and replays it: whatever was done to it, every step and every state is the same.
 * @returns what `strike` returned
 */
export async function unharmed<T>(
  t: ExecutionContext,
  cluster: TestCluster,
  id: string,
  strike: (run: string) => Promise<T>,
  { expected = { moves: 0 }, ...checkpoint }: { readonly expected?: Partial<RunResult> } & CheckpointOptions = {},
): Promise<T> {
  const run = cluster.train(networks.chain, { ...TRAINING, epochs: 100_000 }, { id, everySteps: 20, window: 2, ...checkpoint })
  await untilStep(run, 20)
  const struck = await strike(run.id)
  await untilStep(run, (await stepOf(cluster, id)) + STEPS_AFTER)
  await run.pause()
  t.like(await run.result, { status: 'paused', stepsLost: 0, stepsDoubled: 0, ...expected })
  const { steps, difference } = await verifyRun(cluster.store, id, { threads: false })
  t.is(difference, undefined, `the replay of ${steps} steps`)
  t.log(`${steps} steps`)
  return struck
}
