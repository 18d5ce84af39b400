import test from 'ava'
import { compile } from '../../components/compile.js'
import { defineBlock, defineRule } from '../../components/define.js'
import { readYaml } from '../../components/yaml.js'
import { stubLayers } from './stub-layers.js'

const named = (...names: string[]) => Object.fromEntries(names.map((name) => [name, { name }]))
const options = {
  file: 'net.yaml',
  layers: stubLayers,
  rules: named('pred', 'predsim'),
  optimizers: { adam: { name: 'adam', positional: 'learningRate' } },
  datasets: named('fashion-mnist', 'glyphs'),
}
const head = 'input: [4, 4, 1]\ntarget: { categorical: 3 }\n'

const whole = `
v: 1
input: [4, 4, 1]
target: { categorical: 3 }
layers:
  - flatten
  - block:
      - dense: 5
      - relu:
          slope: 0.1
      - dropout: 0.2
    name: stem
  - dense: { units: 5 }
  - vnode: relu
  - add:
    from: [stem, relu-2]
  - name: top
    dense: 3
rule: predsim
optimizer: { adam: 0.001 }
data: fashion-mnist
batchSize: 32
epochs: 2
seed: 7
learningRate: 1e-3
validation: 0.1
refinement: { passes: 2, inputs: 3 }
schedule: { kind: cosine, warmup: 100 }
convergence: { policy: lowerRate, patience: 3 }
`

test('a definition has layers, blocks, edges and training options', async (t) => {
  const { network, ...training } = await readYaml(whole, options)
  t.deepEqual(training, {
    rule: { kind: 'rule', name: 'predsim', options: {} },
    optimizer: { kind: 'optimizer', name: 'adam', options: { learningRate: 0.001 } },
    data: { kind: 'dataset', name: 'fashion-mnist', options: {} },
    batchSize: 32,
    epochs: 2,
    seed: 7,
    learningRate: 0.001,
    validation: 0.1,
    refinement: { passes: 2, inputs: 3 },
    schedule: { kind: 'cosine', warmup: 100 },
    convergence: { policy: 'lowerRate', patience: 3 },
  })
  const { vnodes, output } = compile(network, { layers: stubLayers })
  t.deepEqual(
    vnodes.map(({ id, inputs, layers }) => [id, inputs, layers.map(({ id }) => id)]),
    [
      ['stem', ['source'], ['flatten-1', 'dense-1', 'relu-1', 'dropout-1']],
      ['dense-2', ['stem'], ['dense-2']],
      ['relu-2', ['dense-2'], ['relu-2']],
      ['top', ['stem', 'relu-2'], ['add-1', 'top']],
    ],
  )
  t.is(output, 'top')
  t.deepEqual(vnodes[0].layers[2].layer.options, { slope: 0.1 })
})

test('a block may branch inside, and anchors repeat it', async (t) => {
  const text = `input: [8]
target: { continuous: 2 }
layers:
  - block: &residual
      - { dense: 8, name: a }
      - { add: , from: [input, a] }
  - dense: 2
`
  const { network } = await readYaml(text, options)
  const { vnodes } = compile(network, { layers: stubLayers })
  t.deepEqual(
    vnodes[0].layers.map(({ inputs }) => inputs),
    [[-1], [-1, 0]],
  )
  const again = await readYaml(`${head}layers:\n  - flatten\n  - block: &h [{ dense: 4 }, relu]\n  - block: *h\n`, options)
  t.deepEqual(
    compile(again.network, { layers: stubLayers }).vnodes.map(({ id, layers }) => [id, layers.length]),
    [
      ['dense-1', 3],
      ['dense-2', 2],
    ],
  )
})

test("layers and rules of one's own come from the modules that `use` names", async (t) => {
  const module = import.meta.url
  const gated = defineBlock({
    module,
    name: 'gated',
    positional: 'units',
    shape: (_i, o: { units: number }) => [o.units],
    forward: (_p, x) => x,
  })
  const mine = defineRule({
    module,
    name: 'mine',
    init: () => ({}),
    logits: (_p, h) => h,
    loss: ({ logits }, _o: { k?: number }) => logits,
  })
  const asked: string[] = []
  const load = async (path: string) => {
    asked.push(path)
    return { gated, other: mine, more: 3 }
  }
  const text = `use: ./custom.ts\n${head}layers:\n  - flatten\n  - gated: 4\nrule: { mine: { k: 2 } }\n`
  const { network, rule } = await readYaml(text, { ...options, load })
  t.deepEqual(asked, ['./custom.ts'])
  t.deepEqual(rule, { kind: 'rule', name: 'mine', module, options: { k: 2 } })
  t.deepEqual(compile(network, { layers: stubLayers, bundles: { [module]: 'abc' } }).vnodes[0].layers[1].layer, {
    name: 'gated',
    bundle: 'abc',
    options: { units: 4 },
  })
})

const layers = `${head}layers:\n`
const refusals: readonly [string, string, string, RegExp][] = [
  ['bad syntax', 'input: [1\nlayers: x', 'definition.invalid', /net\.yaml:2:/],
  ['an empty file', '', 'definition.invalid', /net\.yaml\).*mapping/],
  ['an unknown key', `${layers}  - flatten\nbatchsize: 3\n`, 'graph.unknown', /'batchsize' \(net\.yaml:5\).*'batchSize'\?/],
  ['a newer version', `v: 2\n${layers}  - flatten\n`, 'definition.version', /net\.yaml:1.*expected 1, got 2/],
  ['no input', 'target: { categorical: 3 }\nlayers: [flatten]\n', 'definition.invalid', /'input'.*got nothing/],
  [
    'a wrong input',
    'input: 784\ntarget: { categorical: 3 }\nlayers: [flatten]\n',
    'definition.invalid',
    /'input' \(net\.yaml:1\).*got 784/,
  ],
  ['a wrong target', 'input: [4]\ntarget: 10\nlayers: [flatten]\n', 'definition.invalid', /'target' \(net\.yaml:2\).*categorical/],
  ['one class', 'input: [4]\ntarget: { categorical: 1 }\nlayers: [flatten]\n', 'definition.invalid', /net\.yaml:2.*≥ 2|≥ 2.*net\.yaml:2/],
  ['no layers', head, 'definition.invalid', /'layers'.*got nothing/],
  ['two layers in one item', `${layers}  - { flatten: , relu: }\n`, 'definition.invalid', /net\.yaml:4.*one layer.*flatten and relu/],
  ['a number as a layer', `${layers}  - 3\n`, 'definition.invalid', /net\.yaml:4.*got 3/],
  ['an empty block', `${layers}  - block: []\n`, 'definition.invalid', /'block' \(net\.yaml:4\)/],
  ['no short form', `${layers}  - flatten: 3\n`, 'definition.invalid', /options of 'flatten' \(net\.yaml:4\)/],
  ['an unknown rule', `${layers}  - flatten\nrule: predsin\n`, 'graph.unknown', /unknown rule 'predsin' \(net\.yaml:5\).*'predsim'\?/],
  ['an unknown data set', `${layers}  - flatten\ndata: fashion\n`, 'graph.unknown', /unknown dataset 'fashion' \(net\.yaml:5\)/],
  [
    'a schedule of two kinds',
    `${layers}  - flatten\nschedule: { kind: linear, decay: 0.5 }\n`,
    'definition.invalid',
    /'schedule' \(net\.yaml:5\).*or linear or cosine with end/,
  ],
  [
    'half a refinement',
    `${layers}  - flatten\nrefinement: { passes: 1 }\n`,
    'definition.invalid',
    /'refinement' \(net\.yaml:5\).*passes: 1 to 16/,
  ],
  [
    'a convergence that alerts by a factor',
    `${layers}  - flatten\nconvergence: { policy: alert, factor: 0.5 }\n`,
    'definition.invalid',
    /'convergence' \(net\.yaml:5\).*with lowerRate also factor/,
  ],
  ['a wrong number', `${layers}  - flatten\nepochs: many\n`, 'definition.invalid', /'epochs' \(net\.yaml:5\).*integer ≥ 1, got 'many'/],
  ['a wrong edge', `${layers}  - { flatten: , from: 3 }\n`, 'definition.invalid', /'from' \(net\.yaml:4\).*got 3/],
]
for (const [what, text, code, message] of refusals) {
  test(`refused with file and line: ${what}`, async (t) => {
    const error = await t.throwsAsync(readYaml(text, options), { code, message })
    t.false(error.message.includes('\n'))
  })
}

const graphs: readonly [string, string, string, RegExp][] = [
  ['an unknown layer', '  - flaten\n', 'graph.unknown', /unknown layer 'flaten'.*net\.yaml:4.*'flatten'\?/],
  ['an unknown producer', '  - flatten\n  - { dense: 3, from: flat-1 }\n', 'graph.dangling', /'dense-1' reads 'flat-1'.*net\.yaml:5/],
  [
    'a cycle',
    '  - flatten\n  - { add: , name: a, from: [flatten-1, b] }\n  - { dense: 16, name: b, from: a }\n  - dense: 3\n',
    'graph.cycle',
    /(a → b → a|b → a → b).*net\.yaml:[56]/,
  ],
  ['a wrong shape', '  - dense: 3\n', 'graph.shape', /'dense-1', net\.yaml:4.*\[4, 4, 1\]/],
  [
    'an unused layer',
    '  - flatten\n  - { dense: 3, from: flatten-1 }\n  - { dense: 3, from: flatten-1 }\n',
    'graph.dangling',
    /'dense-1'.*net\.yaml:5/,
  ],
  ['two of one name', '  - { flatten: , name: a }\n  - { dense: 3, name: a }\n', 'definition.invalid', /two layers.*'a'.*net\.yaml:5/],
]
for (const [what, text, code, message] of graphs) {
  test(`refused by the compiler with file and line: ${what}`, async (t) => {
    const { network } = await readYaml(layers + text, options)
    t.throws(() => compile(network, { layers: stubLayers }), { code, message })
  })
}
