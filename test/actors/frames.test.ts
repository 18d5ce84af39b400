/** What travels between VNodes: outputs, forward, along the graph's edges, each the one that the log demands. */
import test from 'ava'
import { consumersOf, machineDefinition, producersOf, readDefinition } from '../../actors/run/run-definition.js'
import { readManifest } from '../../actors/run/checkpoints.js'
import { local, train } from '../../actors/train.js'
import type { LocalSwarm } from '../../actors/local-swarm.js'
import { SOURCE } from '../../components/definition.js'
import { predsim } from '../../components/rules/index.js'
import { VNodeMachine } from '../../components/vnode-machine.js'
import { decodeFrame, type Frame } from '../../runtime/frame.js'
import { readHead } from '../../runtime/head-store.js'
import { decodeSignal } from '../../runtime/signal.js'
import { hashState } from '../../runtime/state.js'
import { memoryBroker } from '../../runtime/tensor-bus/memory-bus.js'
import { tappedBus } from '../support/chaotic-bus.js'
import { networks, openPools, renamed } from '../support/chaos-run.js'
import { openObjects, TOTAL_STEPS, TRAINING } from '../support/small-runs.js'
import { folder } from '../support/processes.js'

const pools = openPools()
test.after.always(() => pools.close())

/** Where a VNode was, under which term. */
interface Place {
  readonly vnode: string
  readonly pnode: string
  readonly term: number
}

interface Message {
  readonly from: string
  readonly subject: string
  readonly bytes: Uint8Array
}

for (const name of ['chain', 'branching'] as const) {
  test.serial(`${name}: every frame is an output on its way to a consumer, and the one that its producer's log gives`, async (t) => {
    const messages: Message[] = []
    const places: Place[] = []
    /** Where the source is under each term; its first place was announced before anybody listened. */
    const sources = new Map<number, string>()
    const isOwner = (vnode: string, term: number, pnode: string) =>
      (vnode === SOURCE && (sources.get(term) ?? sources.set(term, pnode).get(term)) === pnode) ||
      places.some((place) => place.vnode === vnode && place.term === term && place.pnode === pnode)
    const { store } = openObjects()
    let swarm: LocalSwarm | undefined
    let isKilled = false
    const run = train(
      networks[name],
      { ...TRAINING, rule: predsim() },
      { on: local({ pnodes: 3, returnMs: 20 }), store, checkpoint: { everySteps: 7 } },
      {
        id: 'a',
        pool: renamed(pools.inline, `${name}-`),
        connect: tappedBus(memoryBroker().connect, (message) => messages.push(message)),
        onSwarm(started) {
          swarm = started
          places.push(...swarm.monitor.vnodes())
          swarm.monitor.feed.listen((event) => event.type === 'placed' && places.push(event))
        },
        onObservation({ type, ...rest }) {
          if (type !== 'applied' || !('entry' in rest) || rest.entry.step < 25 || isKilled) return
          isKilled = true
          void swarm!.killPNode(rest.pnode)
        },
      },
    )
    const { hash, moves } = await run.result
    t.true(moves > 0)
    const definition = await readDefinition(store, 'a')
    const { network } = definition
    const hostsOf = (vnode: string) =>
      new Set([...places.filter((place) => place.vnode === vnode).map(({ pnode }) => pnode), ...(vnode === SOURCE ? sources.values() : [])])

    const outputs = new Map<string, Frame>()
    for (const { from, subject, bytes } of messages) {
      const [, run, , to, vnode, kind] = subject.split('.')
      t.is(run, 'a')
      t.true(hostsOf(vnode).has(to), subject)
      if (kind === 'signal') {
        const signal = decodeSignal(bytes)
        t.true(bytes.byteLength < 512)
        const neighbours = signal.type === 'credit' ? consumersOf(network, vnode) : producersOf(network, vnode)
        t.true(neighbours.includes(signal.vnode), subject)
        t.true(isOwner(signal.vnode, signal.term, from), subject)
        continue
      }
      t.is(kind, 'frame')
      const frame = decodeFrame(bytes)
      const { header } = frame
      t.is(header.kind, 'output')
      t.true(consumersOf(network, header.vnode).includes(vnode), `${header.vnode} to ${vnode}`)
      t.true(isOwner(header.vnode, header.term, from), `${header.vnode} of term ${header.term} from ${from}`)
      const key = `${header.vnode} ${header.position}`
      const known = outputs.get(key)
      if (known) t.is(Buffer.compare(known.output.bytes, frame.output.bytes), 0, `${key}: the same under every term`)
      else outputs.set(key, frame)
    }

    const { head } = await readHead(store, 'a')
    const manifest = await readManifest(store, head.manifests[0])
    const cacheFolder = await folder(t)
    const recomputed = new Map<string, Frame>()
    let positions = 0
    for (let p = 1; outputs.has(`${SOURCE} ${p}`); p++) positions = p
    t.is(positions, TOTAL_STEPS + 3 * 2)
    for (const { id, inputs } of network.vnodes) {
      const machine = await VNodeMachine.load(await machineDefinition({ store, cacheFolder }, definition, id))
      let atEnd = ''
      for (let position = 1; position <= positions; position++) {
        const frames = inputs.map((producer) => recomputed.get(`${producer} ${position}`) ?? outputs.get(`${SOURCE} ${position}`)!)
        const { step, evaluation } = outputs.get(`${SOURCE} ${position}`)!.header
        const before = evaluation > 0 ? hashState(machine.snapshot()) : undefined
        const { output } = machine.apply({ step, evaluation, inputs: frames })
        const own = { ...frames[0], output: { ...output, bytes: output.bytes.slice() } }
        recomputed.set(`${id} ${position}`, own)
        const travelled = outputs.get(`${id} ${position}`)
        t.is(travelled !== undefined, consumersOf(network, id).length > 0, `${id} ${position}`)
        if (travelled) t.is(Buffer.compare(travelled.output.bytes, own.output.bytes), 0, `output ${position} of ${id}`)
        if (before !== undefined) t.is(hashState(machine.snapshot()), before, `evaluation ${evaluation} after step ${step} changes ${id}`)
        if (step === TOTAL_STEPS && evaluation === 0) atEnd = hashState(machine.snapshot())
      }
      t.is(atEnd, manifest.vnodes.find(({ vnode }) => vnode === id)!.hash, `the state of ${id}`)
      machine.dispose()
    }
    t.is(manifest.step, TOTAL_STEPS)
    t.is(typeof hash, 'string')
  })
}
