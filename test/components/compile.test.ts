import test from 'ava'
import * as fc from 'fast-check'
import { compile, modulesOf } from '../../components/compile.js'
import { builtInLayer, defineBlock } from '../../components/define.js'
import type { Layer } from '../../components/define.js'
import { SOURCE } from '../../components/definition.js'
import type { NetworkDefinition } from '../../components/definition.js'
import { block, categorical, head, network, networkOf, vnode } from '../../components/network.js'
import type { GraphEntry } from '../../components/network.js'
import { definitionHash } from '../../components/resolve.js'
import { canonicalJson } from '../../runtime/canonical-json.js'
import { add, dense, dropout, flatten, norm, relu, stubLayers } from './stub-layers.js'

const task = { input: [4, 4, 1], target: categorical(3) } as const
const flat = { input: [8], target: categorical(3) } as const
const layers = stubLayers
const hidden = (units: number) => block(dense(units), norm(), relu(), dropout(0.1))
const cuts = ({ vnodes }: NetworkDefinition) => vnodes.map(({ id, layers }) => [id, ...layers.map(({ id }) => id)].join(' '))

test('a good graph is listed with shapes, cuts, parameters and cost', (t) => {
  const { vnodes, output, input, v } = compile(network(task, [flatten(), hidden(5), dense(3), relu()]), { layers })
  t.is(v, 1)
  t.deepEqual(input, [4, 4, 1])
  t.deepEqual(
    vnodes.map(({ id, inputs, inputShapes, outputShape, hasHead, parameters, cost }) => ({
      id,
      inputs,
      inputShapes,
      outputShape,
      hasHead,
      parameters,
      cost,
    })),
    [
      { id: 'dense-1', inputs: [SOURCE], inputShapes: [[4, 4, 1]], outputShape: [5], hasHead: true, parameters: 16 * 5 + 5 + 5, cost: 85 },
      { id: 'dense-2', inputs: ['dense-1'], inputShapes: [[5]], outputShape: [3], hasHead: true, parameters: 18, cost: 15 },
      { id: 'relu-2', inputs: ['dense-2'], inputShapes: [[3]], outputShape: [3], hasHead: true, parameters: 0, cost: 0 },
    ],
  )
  t.is(output, 'relu-2')
  t.deepEqual(
    vnodes[0].layers.map(({ id, inputs, inputShapes, outputShape }) => [id, inputs, inputShapes, outputShape]),
    [
      ['flatten-1', [-1], [[4, 4, 1]], [16]],
      ['dense-1', [0], [[16]], [5]],
      ['norm-1', [1], [[5]], [5]],
      ['relu-1', [2], [[5]], [5]],
      ['dropout-1', [3], [[5]], [5]],
    ],
  )
  t.deepEqual(vnodes[0].layers[4].layer, { name: 'dropout', options: { rate: 0.1 } })
})

test('branches join: a merge layer joins the next, which then has several inputs', (t) => {
  const net = network(flat, (x) => {
    const a = hidden(5)(x)
    const b = hidden(5)(a)
    return dense(3)(add(a, b))
  })
  const { vnodes } = compile(net, { layers })
  t.deepEqual(
    vnodes.map(({ id, inputs }) => [id, ...inputs]),
    [
      ['dense-1', SOURCE],
      ['dense-2', 'dense-1'],
      ['dense-3', 'dense-1', 'dense-2'],
    ],
  )
  t.deepEqual(
    vnodes[2].layers.map(({ id, inputs }) => [id, ...inputs]),
    [
      ['add-1', -1, -2],
      ['dense-3', 0],
    ],
  )
})

test('a layer without parameters that several read is a VNode without a head; as the output it has one', (t) => {
  const net = network(flat, (x) => {
    const a = relu()(dense(5)(x))
    return add(dense(5)(a), a)
  })
  const { vnodes, output } = compile(net, { layers })
  t.deepEqual(
    vnodes.map(({ id, hasHead }) => [id, hasHead]),
    [
      ['dense-1', true],
      ['relu-1', false],
      ['dense-2', true],
      ['add-1', true],
    ],
  )
  t.is(output, 'add-1')
})

test('layers, activations and losses may each be a VNode of their own', (t) => {
  const net = network(flat, [vnode(dense(5)), vnode(relu()), dense(3), head()])
  const { vnodes, output } = compile(net, { layers })
  t.deepEqual(
    vnodes.map(({ id, hasHead }) => [id, hasHead]),
    [
      ['dense-1', true],
      ['relu-1', false],
      ['dense-2', true],
      ['head-1', true],
    ],
  )
  t.is(output, 'head-1')
})

test('one VNode may read the same value twice', (t) => {
  const { vnodes } = compile(
    network(flat, (x) => add(x, x)),
    { layers },
  )
  t.deepEqual(vnodes[0].inputs, [SOURCE])
  t.deepEqual(vnodes[0].layers[0].inputs, [-1, -1])
})

test('an end-to-end network is one VNode with the whole graph as its program', (t) => {
  const net = network(flat, (x) => {
    const a = hidden(5)(x)
    return add(a, hidden(5)(a))
  })
  const { vnodes, output } = compile(net, { layers, endToEnd: true })
  t.is(vnodes.length, 1)
  t.is(output, vnodes[0].id)
  t.true(vnodes[0].hasHead)
  t.deepEqual(vnodes[0].layers.at(-1)!.inputs, [3, 7])
})

test('ids, grouping and hash come from the definition alone: the same network, the same bytes', (t) => {
  const make = () => network(task, [flatten(), hidden(5), vnode(relu()), dense(3)])
  const [a, b] = [compile(make(), { layers }), compile(make(), { layers })]
  t.deepEqual(a, b)
  t.is(definitionHash(a), definitionHash(b))
  t.deepEqual(JSON.parse(JSON.stringify(a)), a)
  t.is(definitionHash(JSON.parse(JSON.stringify(a))), definitionHash(a))
  t.not(definitionHash(compile(network(task, [flatten(), hidden(6), vnode(relu()), dense(3)]), { layers })), definitionHash(a))
  for (const { id } of a.vnodes) t.regex(id, /^[A-Za-z0-9_-]{1,64}$/)
})

test('a stored definition keeps its bytes and its hash from version to version', (t) => {
  const definition = compile(network(flat, [vnode(dense(3))]), { layers })
  t.is(
    canonicalJson(definition),
    '{"input":[8],"output":"dense-1","target":{"classes":3,"kind":"categorical"},"v":1,"vnodes":[{"cost":24,"hasHead":true,"id":"dense-1",' +
      '"inputShapes":[[8]],"inputs":["source"],"layers":[{"id":"dense-1","inputShapes":[[8]],"inputs":[-1],"layer":{"name":"dense",' +
      '"options":{"units":3}},"outputShape":[3]}],"outputShape":[3],"parameters":27}]}',
  )
  t.is(definitionHash(definition), '38a3c555e6e280a363ca6f4ba94cfd16e812e3a9b2b18c28b8da4bee7aa1350f')
})

const refusals: readonly [string, () => unknown, string, RegExp][] = [
  ['a wrong shape', () => network(task, [dense(3)]), 'graph.shape', /'dense-1'.*flat input.*\[4, 4, 1\]/],
  ['shapes that do not join', () => network(flat, (x) => add(dense(2)(x), dense(3)(x))), 'graph.shape', /'add-1'.*\[2\].*\[3\]/],
  ['one input for a merge', () => network(flat, [add]), 'graph.shape', /'add-1'.*expected 2 or more, got 1/],
  ['two inputs for a layer', () => network(flat, (x) => relu()(x, x)), 'graph.shape', /'relu-1'.*expected 1, got 2/],
  ['an unknown layer', () => network(flat, [builtInLayer('dens')]), 'graph.unknown', /unknown layer 'dens' \('dens-1'\).*'dense'\?/],
  ['an unknown option', () => network(flat, [builtInLayer('dense', { unit: 3 })]), 'graph.unknown', /'dense-1'.*'unit'.*'units'\?/],
  ['a missing option', () => network(flat, [builtInLayer('dense')]), 'graph.shape', /'dense-1'.*got nothing|'dense-1'.*\[/],
  ['a wrong option', () => network(flat, [dense(-2)]), 'graph.unknown', /'dense-1'.*bad option 'units'.*-2/],
  ['NaN', () => network(flat, [builtInLayer('relu', { slope: NaN })]), 'definition.invalid', /'slope'.*finite.*NaN/],
  [
    'an unused result',
    () =>
      network(flat, (x) => {
        hidden(4)(x)
        return dense(3)(x)
      }),
    'graph.dangling',
    /nothing reads.*'dropout-1'/,
  ],
  [
    'an output that is read as well',
    () =>
      network(flat, (x) => {
        const a = dense(3)(x)
        relu()(a)
        return a
      }),
    'graph.dangling',
    /'relu-1'/,
  ],
]
for (const [what, make, code, message] of refusals) {
  test(`refused with the layer's name: ${what}`, (t) => {
    t.throws(() => compile(make() as never, { layers }), { code, message })
  })
}

test('refused with name and place: cycles, unknown producers, equal names', (t) => {
  const entry = (layer: Layer, name: string, from: string[], line: number): GraphEntry => ({ layer, name, from, place: `net.yaml:${line}` })
  const cyclic = networkOf(flat, [
    entry(dense(8), 'a', [SOURCE], 1),
    entry(add, 'b', ['a', 'd'], 2),
    entry(dense(8), 'c', ['b'], 3),
    entry(relu(), 'd', ['c'], 4),
    entry(dense(3), 'e', ['d'], 5),
  ])
  t.throws(() => compile(cyclic, { layers }), { code: 'graph.cycle', message: /circle: (b → c → d → b|c → d → b → c|d → b → c → d) ?/ })
  const itself = networkOf(flat, [entry(relu(), 'a', ['a'], 1)])
  t.throws(() => compile(itself, { layers }), { code: 'graph.cycle', message: /a → a.*net\.yaml:1|net\.yaml:1.*a → a/ })
  const unknown = networkOf(flat, [entry(dense(8), 'stem', [SOURCE], 1), entry(dense(3), 'top', ['stm'], 2)])
  t.throws(() => compile(unknown, { layers }), { code: 'graph.dangling', message: /'top' reads 'stm'.*net\.yaml:2.*'stem'\?/ })
  const twice = networkOf(flat, [entry(dense(8), 'a', [SOURCE], 1), entry(dense(8), 'a', [SOURCE], 2)])
  t.throws(() => compile(twice, { layers }), { code: 'definition.invalid', message: /two layers.*'a'.*net\.yaml:2/ })
  const dotted = networkOf(flat, [entry(dense(8), 'a.b', [SOURCE], 1)])
  t.throws(() => compile(dotted, { layers }), { code: 'definition.invalid', message: /'a\.b'/ })
})

test('a block with two outputs is refused', (t) => {
  const vnode = { key: 1, name: 'both' }
  const net = networkOf(flat, [
    { layer: dense(4), name: 'a', vnode },
    { layer: dense(4), name: 'b', vnode },
    { layer: add, name: 'c', from: ['a', 'b'] },
  ])
  t.throws(() => compile(net, { layers }), { code: 'definition.invalid', message: /'both' has two outputs, 'a' and 'b'/ })
})

const module = import.meta.url
const gated = defineBlock({
  module,
  name: 'gated',
  shape: (_input, o: { units: number }) => [o.units],
  init: ([d], o, random) => ({ w: random.glorot([d, o.units]), g: random.glorot([d, o.units]) }),
  forward: (_p, x) => x,
})

test("a user's block is referred to by its bundle", (t) => {
  const net = network(flat, [gated({ units: 4 })])
  t.deepEqual(modulesOf(net), [module])
  t.throws(() => compile(net, { layers }), { code: 'definition.invalid', message: /not bundled.*gated-1/ })
  const { vnodes } = compile(net, { layers, bundles: { [module]: 'abc' } })
  t.is(vnodes[0].parameters, 64)
  t.deepEqual(vnodes[0].layers[0].layer, { name: 'gated', bundle: 'abc', options: { units: 4 } })
  // @ts-expect-error: options are type-checked
  t.throws(() => compile(network(flat, [gated({ unit: 4 })]), { layers, bundles: { [module]: 'abc' } }), { code: 'graph.shape' })
})

test('an init that computes with what it draws needs real tensors', (t) => {
  const scaled = defineBlock({
    module,
    name: 'scaled',
    shape: (input) => input,
    init: (input, _o, random) => ({ w: random.glorot(input).mul(0.5) }),
    forward: (_p, x) => x,
  })
  const options = { layers, bundles: { [module]: 'abc' } }
  t.throws(() => compile(network(flat, [scaled()]), options), { code: 'definition.threw', message: /init of layer 'scaled-1'/ })
  const zeros = (shape: readonly number[]) => ({ shape, mul: () => ({ shape }) }) as never
  t.is(compile(network(flat, [scaled()]), { ...options, zeros }).vnodes[0].parameters, 8)
})

test('every layer of a random graph is in one VNode, after what it reads, and no edge is lost', (t) => {
  const entries = fc
    .array(fc.record({ picks: fc.array(fc.nat(), { minLength: 1, maxLength: 3 }), kind: fc.nat(2), marked: fc.boolean() }), {
      minLength: 1,
      maxLength: 24,
    })
    .map((list): GraphEntry[] => {
      const made: GraphEntry[] = list.map(({ picks, kind, marked }, i) => {
        const from = [...new Set(picks.map((pick) => (pick % (i + 1) === 0 ? SOURCE : `n${(pick % (i + 1)) - 1}`)))]
        const layer = from.length > 1 ? add : [dense(8), relu(), norm()][kind]
        return { name: `n${i}`, from, layer: marked ? vnode(layer) : layer }
      })
      const read = new Set(made.flatMap(({ from }) => from!))
      const ends = made.map(({ name }) => name!).filter((name) => !read.has(name))
      return [...made, { name: 'end', from: ends, layer: ends.length > 1 ? add : relu() }]
    })
  fc.assert(
    fc.property(entries, fc.boolean(), (graph, reversed) => {
      const written = reversed ? graph.toReversed() : graph
      const definition = compile(networkOf(flat, written), { layers })
      const place = new Map(definition.vnodes.flatMap(({ id, layers }) => layers.map((layer) => [layer.id, id])))
      t.is(place.size, graph.length)
      t.is(definition.vnodes.flatMap(({ layers }) => layers).length, graph.length)
      t.is(place.get('end'), definition.output)
      const seen = new Set<string>([SOURCE])
      for (const { id, inputs, layers } of definition.vnodes) {
        t.true(inputs.every((input) => seen.has(input)))
        t.false(seen.has(id))
        layers.forEach((layer, i) => {
          const wanted = graph.find(({ name }) => name === layer.id)!.from!
          const got = layer.inputs.map((input) => {
            t.true(input < i)
            return input >= 0 ? layers[input].id : inputs[-1 - input]
          })
          t.deepEqual(
            got,
            wanted.map((name) => (place.get(name) === id ? name : (place.get(name) ?? SOURCE))),
          )
        })
        seen.add(id)
      }
    }),
    { numRuns: 300 },
  )
})

test('cuts follow the rules of API.md', (t) => {
  t.deepEqual(cuts(compile(network(task, [flatten(), dense(4), relu(), dense(3)]), { layers })), [
    'dense-1 flatten-1 dense-1',
    'dense-2 relu-1 dense-2',
  ])
  t.deepEqual(cuts(compile(network(task, [vnode(flatten()), dense(4)]), { layers })), ['flatten-1 flatten-1', 'dense-1 dense-1'])
})
