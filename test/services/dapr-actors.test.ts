import assert from 'node:assert/strict'
import test from 'ava'
import { daprActors } from '../../runtime/actor-system/dapr-actors.js'
import type { DaprActorsOptions } from '../../runtime/actor-system/dapr-actors.js'
import type { ActorDefinition, ActorRef, ActorSystem, Json } from '../../runtime/actor-system/actor-system.js'
import { systemClock } from '../../runtime/clock.js'
import { SwarmError, isSwarmError } from '../../runtime/errors.js'
import type { ErrorCode } from '../../runtime/errors.js'
import type { DaprdServer, PlacementServer } from '../../runtime/services/index.js'
import { stateCases } from '../conformance/actor-state.js'
import { actorSystemSuite } from '../conformance/actor-system.js'
import type { ActorsUnderTest } from '../conformance/actor-system.js'
import { assertCode, gate, rejectionOf, within } from '../conformance/within.js'
import { repository } from '../project/repository.js'
import { daprdFor, forFile, placementFor, serverFolder } from '../support/servers.js'
import type { Teardown } from '../support/servers.js'

const servers = forFile()
let placement: PlacementServer
test.before(async () => {
  placement = await placementFor(servers)
})
test.after.always(() => servers.end())

let namespaces = 0

/** Systems over one application of Dapr, in a namespace of its own: the hosts of other cases are none of its business. */
async function daprUnderTest(options: Partial<DaprActorsOptions> = {}): Promise<ActorsUnderTest> {
  const mine = forFile()
  const folder = await serverFolder(mine, 'dapr-actors')
  const namespace = `case${++namespaces}`
  let system: ActorSystem
  let daprd: DaprdServer | undefined
  const open = () => {
    system = daprActors({
      clock: systemClock,
      app: {},
      onError: () => {},
      ...options,
      async sidecar(appPort) {
        daprd = await daprdFor(mine, {
          folder,
          appId: 'control',
          appPort,
          namespace,
          placement: placement.address,
          ...resourcesOf('control'),
        })
        return daprd
      },
    })
    return system
  }
  return {
    system: open(),
    async restart() {
      await system.close()
      await daprd?.kill()
      return open()
    },
    advance: (ms) => systemClock.sleep(ms),
    async close() {
      await system.close()
      await mine.end()
    },
  }
}
const config = `${repository}/dapr/config.yaml`
const resourcesOf = (kind: 'control' | 'pnode') => ({ config, resources: `${repository}/dapr/resources/${kind}` })

for (const check of actorSystemSuite(() => daprUnderTest())) {
  test.serial(`Dapr actors: ${check.title}`, async (t) => {
    await check.run()
    t.pass()
  })
}

const OWN_TITLES = [
  ...Object.keys(stateCases),
  'a reminder activates its actor and fires once, with its argument',
  'a reminder fires after a restart',
]
for (const check of actorSystemSuite(() => daprUnderTest({ ownTypes: ['Keeper', 'Clockwork'] }))) {
  if (!OWN_TITLES.includes(check.title)) continue
  test.serial(`Dapr actors, types of one host: ${check.title}`, async (t) => {
    await check.run()
    t.pass()
  })
}

interface Host {
  readonly system: ActorSystem
  readonly daprd: () => DaprdServer
  readonly errors: SwarmError[]
}

/** A host of actors with a sidecar, in the namespace of its test. */
async function host(
  t: Teardown,
  appId: string,
  options: Partial<DaprActorsOptions> & { definitions: readonly ActorDefinition[]; namespace: string; placement?: PlacementServer },
): Promise<Host> {
  const { definitions, namespace, ...rest } = options
  const folder = await serverFolder(t, appId)
  const errors: SwarmError[] = []
  let daprd: DaprdServer | undefined
  const system = daprActors({
    clock: systemClock,
    app: {},
    onError: (error) => void errors.push(error),
    async sidecar(appPort) {
      const { address } = options.placement ?? placement
      const resources = resourcesOf(appId === 'control' ? 'control' : 'pnode')
      daprd = await daprdFor(t, { folder, appId, appPort, namespace, placement: address, ...resources })
      return daprd
    },
    ...rest,
  })
  t.teardown(() => system.close())
  for (const definition of definitions) system.register(definition)
  await system.start()
  return { system, daprd: () => daprd!, errors }
}

/** An actor that counts, in memory and in its state. */
function counter(type: string): ActorDefinition & { log: string[] } {
  const log: string[] = []
  const definition: ActorDefinition<{ count: number }> = {
    type,
    activate: () => {
      log.push('activate')
      return { count: 0 }
    },
    deactivate: () => void log.push('deactivate'),
    handlers: {
      count: (_context, memory) => ++memory.count,
      async store({ state }) {
        const count = ((await state.get<number>('count')) ?? 0) + 1
        await state.set('count', count)
        return count
      },
      fail() {
        throw new SwarmError('run.diverged', { what: 'the loss is not finite', where: 'step 7' })
      },
    },
  }
  // Memory goes from activate to the handlers of the same definition only.
  return { log, ...(definition as ActorDefinition) }
}

/** Repeats a call while it fails with a retryable error. */
async function untilAnswered(system: ActorSystem, target: ActorRef, method: string, codes: Set<ErrorCode> = new Set()): Promise<Json> {
  const untilMs = systemClock.now() + 30_000
  for (;;) {
    try {
      return await system.call(target, method)
    } catch (error) {
      assert.ok(isSwarmError(error) && (error.retryable || error.code === 'actor.not-found'), String(error))
      codes.add(error.code)
      if (systemClock.now() > untilMs) throw error
      await systemClock.sleep(50)
    }
  }
}

const DEADLINE_MS = 30_000
const rejection = (what: string, work: Promise<unknown>) => rejectionOf(DEADLINE_MS, what, work)

test.serial('actors of one host are called from another, through two sidecars, in order and with their errors', async (t) => {
  const namespace = `case${++namespaces}`
  const seen: number[] = []
  const vnode: ActorDefinition = {
    type: 'VNode.a',
    activate: () => null,
    handlers: { ...counter('').handlers, add: (_context, _memory, argument) => void seen.push(argument as number) },
  }
  const [, control] = await Promise.all([
    host(t, 'pnode-a', { definitions: [vnode], namespace, ownTypes: ['VNode.a'] }),
    host(t, 'control', { definitions: [counter('Placement')], namespace }),
  ])
  const target = { type: 'VNode.a', id: 'run/layer ü' }
  await untilAnswered(control.system, target, 'add')
  seen.length = 0
  const order = Array.from({ length: 100 }, (_, index) => index)
  await within(DEADLINE_MS, '100 calls', Promise.all(order.map((index) => control.system.call(target, 'add', index))))
  t.deepEqual(seen, order)
  const error = await rejection('fail', control.system.call(target, 'fail'))
  assertCode(error, 'run.diverged', false)
  t.is((error as Error).message, 'the loss is not finite (step 7)')
  assertCode(await rejection('constructor', control.system.call(target, 'constructor')), 'actor.not-found', false)
})

test.serial('a system without types of its own may call; a type that nobody has is refused within the deadline', async (t) => {
  const namespace = `case${++namespaces}`
  const [, client] = await Promise.all([
    host(t, 'pnode-a', { definitions: [counter('VNode.a')], namespace }),
    host(t, 'client', { definitions: [], namespace }),
  ])
  t.is(await untilAnswered(client.system, { type: 'VNode.a', id: 'x' }, 'count'), 1)
  assertCode(await rejection('Nobody', client.system.call({ type: 'Nobody', id: 'x' }, 'count')), 'actor.not-found', false)
})

test.serial('a sidecar that is killed and started again finds everything as it was', async (t) => {
  const namespace = `case${++namespaces}`
  const [shared, own] = [counter('Run'), counter('VNode.a')]
  const { system, daprd, errors } = await host(t, 'control', {
    definitions: [shared, own],
    namespace,
    ownTypes: ['VNode.a'],
  })
  const [run, vnode] = [
    { type: 'Run', id: 'r1' },
    { type: 'VNode.a', id: 'r1/x' },
  ]
  t.is(await system.call(run, 'store'), 1)
  t.is(await system.call(vnode, 'store'), 1)
  await daprd().kill()
  assertCode(await rejection('a call without a sidecar', system.call(run, 'store')), 'actor.unreachable', true)
  assertCode(await rejection('state without a sidecar', system.call(vnode, 'store')), 'store.unavailable', true)
  t.is(await system.call(vnode, 'count'), 1, 'an own type needs no sidecar')
  await daprd().restart()
  const codes = new Set<ErrorCode>()
  t.is(await untilAnswered(system, run, 'store', codes), 2)
  t.is(await untilAnswered(system, vnode, 'store'), 2)
  t.is(await system.call(vnode, 'count'), 2)
  t.deepEqual(own.log, ['activate'])
  t.deepEqual(errors, [])
  t.log(`meanwhile: ${[...codes].join(', ')}`)
})

test.serial('a placement service that is killed and started again costs own types nothing and shared ones an activation', async (t) => {
  const namespace = `case${++namespaces}`
  const mine = await placementFor(t)
  const [shared, own] = [counter('Run'), counter('VNode.a')]
  const { system, errors } = await host(t, 'control', {
    definitions: [shared, own],
    namespace,
    placement: mine,
    ownTypes: ['VNode.a'],
  })
  const [run, vnode] = [
    { type: 'Run', id: 'r1' },
    { type: 'VNode.a', id: 'r1/x' },
  ]
  t.is(await system.call(run, 'store'), 1)
  t.is(await system.call(vnode, 'store'), 1)
  await mine.kill()
  const gone = async () => {
    while (!shared.log.includes('deactivate')) await systemClock.sleep(20)
  }
  await within(DEADLINE_MS, 'deactivation by Dapr', gone())
  t.is(await system.call(vnode, 'count'), 1)
  await mine.restart()
  t.is(await untilAnswered(system, run, 'store'), 2)
  t.is(await untilAnswered(system, vnode, 'store'), 2)
  t.deepEqual(own.log, ['activate'])
  t.deepEqual(errors, [])
})

test.serial('calls to a host that has gone fail within their deadline; one that is known to be lost is never asked', async (t) => {
  const namespace = `case${++namespaces}`
  const lost = new Set<string>()
  const [gone, control] = await Promise.all([
    host(t, 'pnode-a', { definitions: [counter('VNode.a')], namespace }),
    host(t, 'control', { definitions: [counter('Run')], namespace, isLost: (pnode) => lost.has(pnode) }),
  ])
  const target = { type: 'VNode.a', id: 'x' }
  t.is(await untilAnswered(control.system, target, 'count'), 1)
  await gone.daprd().kill()
  await gone.system.close()
  for (let attempt = 0; attempt < 3; attempt++) {
    const startMs = systemClock.now()
    const error = await rejection('a call to the gone host', control.system.call(target, 'count'))
    t.true(systemClock.now() - startMs < 3_000)
    t.true(isSwarmError(error, 'actor.unreachable', 'actor.timeout', 'actor.not-found'), String(error))
  }
  lost.add('a')
  const startMs = systemClock.now()
  assertCode(await rejection('a call to the lost host', control.system.call(target, 'count')), 'actor.closed', false)
  t.true(systemClock.now() - startMs < 50)
})

test.serial('actors of a shared type live on one of several hosts, and move to the other when theirs goes', async (t) => {
  const namespace = `case${++namespaces}`
  const definition = (name: string): ActorDefinition => ({ type: 'Run', activate: () => null, handlers: { where: () => name } })
  const one = await host(t, 'control', { definitions: [definition('one')], namespace })
  const two = await host(t, 'control', { definitions: [definition('two')], namespace })
  const ids = Array.from({ length: 20 }, (_, index) => `r${index}`)
  const places = (system: ActorSystem) => Promise.all(ids.map((id) => untilAnswered(system, { type: 'Run', id }, 'where')))
  // The second host may answer before placement has spread the word of it.
  const spread = async () => {
    for (;;) {
      const [seen, same] = [await places(two.system), await places(one.system)]
      if (new Set(seen).size === 2 && JSON.stringify(seen) === JSON.stringify(same)) return
      await systemClock.sleep(50)
    }
  }
  await within(DEADLINE_MS, 'both hosts with the same table', spread())
  await one.system.close()
  await one.daprd().stop()
  t.deepEqual(new Set(await places(two.system)), new Set(['two']))
})

test.serial('a call that is given up frees the actor for the next one', async (t) => {
  const namespace = `case${++namespaces}`
  const released = gate()
  const begun = gate()
  const slow: ActorDefinition = {
    type: 'VNode.a',
    activate: () => null,
    handlers: {
      async wait() {
        begun.open()
        await released.opened
      },
      use: () => 'used',
    },
  }
  const [, control] = await Promise.all([
    host(t, 'pnode-a', { definitions: [slow], namespace }),
    host(t, 'control', { definitions: [counter('Run')], namespace }),
  ])
  const target = { type: 'VNode.a', id: 'x' }
  await untilAnswered(control.system, target, 'use')
  const waiting = rejection('the slow call', control.system.call(target, 'wait', null, { deadlineMs: 300 }))
  await within(DEADLINE_MS, 'its turn', begun.opened)
  assertCode(await waiting, 'actor.timeout', true)
  const next = control.system.call(target, 'use', null, { deadlineMs: 20_000 })
  released.open()
  t.is(await within(DEADLINE_MS, 'the next call', next), 'used')
})
