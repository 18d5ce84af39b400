/** A host that gives derivatives against the graph, and some of its readers others than it logs: it may be found out, and nobody else is convicted for what he was sent. */
import test from 'ava'
import { block, categorical, dense, flatten, network, relay, relu, solo } from '../../index.js'
import { decodeFeedback, encodeFeedback, readFrame } from '../../runtime/frame.js'
import type { TensorBus } from '../../runtime/tensor-bus/tensor-bus.js'
import type { Adversary } from '../../adversaries/adversaries.js'
import { wrapBus } from '../support/broken-buses.js'
import { openPools } from '../support/chaos-run.js'
import { branching, chain } from '../support/small-runs.js'
import { type Arrangement, ended as endedBeside } from './beside-liars.js'

const pools = openPools()
test.after.always(() => pools.close())
const ended = (arrangement: Arrangement) => endedBeside(pools, { rule: relay(), ...arrangement })

const LIAR = 'pnode-2'
const ARBITER = 'pnode-6'
const OTHERS = ['pnode-1', 'pnode-3', 'pnode-4', 'pnode-5', ARBITER]

let honest: string
test.before(async () => {
  honest = (await ended({ pnodes: 2 })).hash!
})

/** These PNodes are given other derivatives than it logs. */
const misleading =
  (readers: readonly string[]): Adversary =>
  (seams) => {
    const { bus } = seams
    const publish: TensorBus['publish'] = (subject, bytes) => {
      const isFor = readers.some((pnode) => subject.includes(`.to.${pnode}.`)) && subject.endsWith('.frame')
      return bus.publish(subject, isFor && readFrame(bytes).header.kind === 'feedback' ? changed(bytes) : bytes)
    }
    return { ...seams, bus: { ...wrapBus(bus), publish } }
  }

function changed(bytes: Uint8Array): Uint8Array {
  const feedback = decodeFeedback(bytes)
  const tensors = Object.entries(feedback.tensors).map(([name, tensor]) => {
    const values = new Float32Array(tensor.bytes.slice().buffer)
    for (let i = 0; i < values.length; i++) values[i] *= -2
    return [name, { ...tensor, bytes: new Uint8Array(values.buffer) }] as const
  })
  return encodeFeedback({ ...feedback, tensors: Object.fromEntries(tensors) }, true)
}

for (const [beside, trusted, options] of [
  ['followers', [], { redundancy: 2 }],
  ['followers and an arbiter', [ARBITER], { redundancy: 2 }],
  ['audits and an arbiter', [ARBITER], { audits: 1 }],
] as const) {
  for (const readers of [OTHERS, OTHERS.slice(0, 2), OTHERS.slice(2)]) {
    test.serial(`who gives ${readers.join(', ')} other derivatives than it logs, beside ${beside}`, async (t) => {
      const { hash, head, events } = await ended({ pnodes: 6, disguised: { [LIAR]: misleading(readers) }, trusted, options })
      t.is(hash, honest)
      for (const event of events) if (event.type === 'convicted') t.is(event.pnode, LIAR)
      for (const pnode of head.excluded ?? []) t.is(pnode, LIAR)
    })
  }
}

/** Of one width: `solo` shares an output matrix. */
const even = network({ input: [28, 28, 1], target: categorical(10) }, [flatten(), ...[1, 2, 3].map(() => block(dense(24), relu()))])

for (const [name, rule, net] of [
  ['relay', relay(), branching],
  ['relay, three batches at a time', relay({ window: 3 }), chain],
  ['solo', solo(), even],
] as const) {
  for (const options of [{ redundancy: 2 }, { audits: 1 }, { redundancy: 2, audits: 1 }]) {
    test.serial(
      `${name}, with ${JSON.stringify(options)}: who goes on from a checkpoint says the same of feedback as who went before`,
      async (t) => {
        const [{ hash: expected }, { hash, head, events }] = [
          await ended({ rule, net, pnodes: 2 }),
          await ended({ rule, net, pnodes: 5, options, leaves: { pnode: LIAR, step: 25 } }),
        ]
        t.is(hash, expected)
        t.is(head.excluded, undefined)
        t.deepEqual(
          events.filter(({ type }) => type === 'rolledBack'),
          [],
        )
        t.true(events.some(({ type }) => type === 'relocated'))
      },
    )
  }
}
