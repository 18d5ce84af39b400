import test from 'ava'
import { builtInLayer, defineBlock, defineDataset, defineRule, specOf, specOfCall } from '../../components/define.js'
import type { Layer, Value } from '../../components/define.js'
import { SOURCE } from '../../components/definition.js'
import { block, categorical, continuous, isNetwork, network, networkOf, vnode } from '../../components/network.js'
import { tf } from '../../components/tf.js'
import { add, dense, flatten, relu } from './stub-layers.js'

const task = { input: [28, 28, 1], target: categorical(10) } as const
const module = import.meta.url

test('a list is a chain of named layers', (t) => {
  const net = network(task, [flatten(), block(dense(4), relu()), dense(3)])
  t.deepEqual(
    net.layers.map(({ name, from, vnode }) => [name, ...from, vnode?.key]),
    [
      ['flatten-1', SOURCE, undefined],
      ['dense-1', 'flatten-1', -1],
      ['relu-1', 'dense-1', -1],
      ['dense-2', 'relu-1', undefined],
    ],
  )
  t.is(net.output, 'dense-2')
  t.deepEqual(net.input, [28, 28, 1])
  const classes: number = net.target.classes
  t.is(classes, 10)
  t.true(isNetwork(net))
  t.true(Object.isFrozen(net) && Object.isFrozen(net.layers) && Object.isFrozen(net.layers[0]))
})

test('a function of a symbolic tensor is traced', (t) => {
  const net = network(task, (x) => {
    const a = block(dense(4))(flatten()(x))
    return add(a, block(dense(4))(a))
  })
  t.deepEqual(
    net.layers.map(({ name, from }) => [name, ...from]),
    [
      ['flatten-1', SOURCE],
      ['dense-1', 'flatten-1'],
      ['dense-2', 'dense-1'],
      ['add-1', 'dense-1', 'dense-2'],
    ],
  )
  t.not(net.layers[1].vnode!.key, net.layers[2].vnode!.key)
})

test('one layer used twice makes two layers with weights of their own', (t) => {
  const twice = dense(4)
  t.deepEqual(
    network(task, [twice, twice]).layers.map(({ name }) => name),
    ['dense-1', 'dense-2'],
  )
})

test('numbers keep clear of the names that users give', (t) => {
  const net = networkOf(task, [{ layer: dense(2), name: 'dense-1' }, { layer: dense(3) }])
  t.deepEqual(
    net.layers.map(({ name }) => name),
    ['dense-1', 'dense-2'],
  )
})

test('a value of another network is refused', (t) => {
  let stolen: Value
  network(task, (x) => (stolen = dense(3)(x)))
  t.throws(() => network(task, (x) => add(x, stolen)), { code: 'graph.dangling', message: /'add' is a value of another network/ })
  t.throws(() => dense(3)(stolen), { code: 'graph.dangling', message: /'dense' reads a value of a finished network/ })
})

const nonsense: readonly [string, () => unknown, RegExp][] = [
  ['no layers', () => network(task, []), /one layer or more/],
  ['no result', () => network(task, (() => undefined) as never), /expected a value, got nothing/],
  ['a promise', () => network(task, (async (x: Value) => relu()(x)) as never), /expected a value, got a Promise/],
  ['a factory instead of a layer', () => network(task, [relu as never]), /layer 1.*expected a layer, got a function.*dense\(10\)/],
  ['null in a block', () => block(relu(), null as never), /layer 2 of block.*got null/],
  ['an empty block', () => block(), /block\(\)/],
  ['an array in vnode', () => vnode([relu()] as never), /vnode.*got/],
  ['one class', () => categorical(1), /integer ≥ 2, got 1/],
  ['no numbers', () => continuous(0), /integer ≥ 1, got 0/],
  ['no task', () => network(undefined as never, [relu()]), /'input'/],
  ['a wrong input', () => network({ input: [28, -1], target: categorical(2) }, [relu()]), /'input'.*\[28, -1\]/],
  ['a wrong target', () => network({ input: [2], target: 10 as never }, [relu()]), /'target'.*categorical/],
  ['a number for an input', () => network(task, (x) => add(x, 3 as never)), /input 2 of layer 'add'.*expected a value, got 3/],
]
for (const [what, make, message] of nonsense) {
  test(`refused: ${what}`, (t) => {
    const error = t.throws(make, { code: 'definition.invalid', message })
    t.false(error.message.includes('\n'))
  })
}

// The example of API.md, as it stands there.
export const gated = defineBlock({
  module,
  name: 'gated',
  shape: (_input, o: { units: number }) => [o.units],
  init: ([d], o, random) => ({ w: random.glorot([d, o.units]), g: random.glorot([d, o.units]) }),
  forward: (p, x, _context) => tf.mul(tf.matMul(x, p.w), tf.sigmoid(tf.matMul(x, p.g))),
})
export const smooth = defineRule({
  module,
  name: 'smooth',
  init: ([d], target, random) => ({ head: random.zeros([d, target.classes]) }),
  logits: (p, h) => tf.matMul(h, p.head),
  loss: ({ logits, y }, o: { epsilon: number }) => tf.losses.softmaxCrossEntropy(y, logits, undefined, o.epsilon),
})

test("definitions of one's own infer their options and make plain calls", (t) => {
  const layer: Layer = gated({ units: 256 })
  t.deepEqual(layer.calls, [{ kind: 'block', name: 'gated', module, options: { units: 256 } }])
  t.deepEqual(smooth({ epsilon: 0.1 }), { kind: 'rule', name: 'smooth', module, options: { epsilon: 0.1 } })
  t.is(specOf(gated, 'block')?.name, 'gated')
  t.is(specOf(gated, 'rule'), undefined)
  t.is(specOfCall(layer.calls[0])?.name, 'gated')
  // @ts-expect-error: a wrong name
  gated({ unit: 256 })
  // @ts-expect-error: a wrong type
  gated({ units: '256' })
  // @ts-expect-error: missing
  gated()
  const plain = defineBlock({ module, name: 'plain', shape: (input) => input, forward: (_p, x) => x })
  t.is(plain().calls[0].name, 'plain')
})

test('a data set is a call as it is, and makes calls with options', (t) => {
  const wave = defineDataset({
    module,
    id: 'wave',
    size: (_o: { period?: number }) => ({ train: 10 }),
    at: (index, _split, o) => ({ x: [Math.sin(index / (o.period ?? 1))], label: 0 }),
  })
  t.is(wave.name, 'wave')
  t.is(wave.kind, 'dataset')
  t.is(wave.module, module)
  t.deepEqual(wave.options, {})
  t.deepEqual(wave({ period: 3 }), { kind: 'dataset', name: 'wave', module, options: { period: 3 } })
  t.is(specOf(wave, 'dataset')?.name, 'wave')
  t.is(specOfCall(wave)?.name, 'wave')
})

const good = { module, name: 'good', shape: () => [1], forward: (_p: unknown, x: unknown) => x }
const broken: readonly [string, () => unknown, RegExp][] = [
  ['no spec', () => defineBlock(undefined as never), /defineBlock: no definition.*got nothing/],
  ['no name', () => defineBlock({ ...good, name: undefined } as never), /'name'/],
  ['a name with a dot', () => defineBlock({ ...good, name: 'a.b' } as never), /'name'.*got 'a\.b'/],
  ['no module', () => defineBlock({ ...good, module: undefined } as never), /'module' of 'good'.*import\.meta\.url/],
  ['no forward', () => defineBlock({ ...good, forward: 3 } as never), /'forward' of 'good'.*expected a function, got 3/],
  ['a rule without loss', () => defineRule({ ...good, init: () => ({}), logits: () => 0 } as never), /defineRule: 'loss' of 'good'/],
  ['a data set without id', () => defineDataset({ module, size: () => ({ train: 1 }), at: () => 0 } as never), /defineDataset: 'id'/],
]
for (const [what, make, message] of broken) {
  test(`refused where it is defined: ${what}`, (t) => {
    t.throws(make, { code: 'definition.invalid', message })
  })
}

test('layers keep what they were called with', (t) => {
  t.deepEqual(builtInLayer('dense', { units: 3 }).calls, [{ kind: 'block', name: 'dense', options: { units: 3 } }])
  t.true(vnode(relu()).isVNode)
  t.false(relu().isVNode)
})
