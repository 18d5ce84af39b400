/*
 * Measures how far hosts of different compute classes are apart after the same segment, from the same state, and prints it as JSON:
 *   node dist/test/support/class-differences.js > test/support/class-differences.json
 * Needs TensorFlow (npm run native:install).
 */
import { compareStates } from '../../actors/trust/comparison.js'
import { machineModule } from '../../components/backends.js'
import type { VNodeMachineDefinition } from '../../components/definition.js'
import type { Compute } from '../../runtime/compute/compute.js'
import { computePool } from '../../runtime/compute/thread-compute.js'
import { encodeFrame } from '../../runtime/frame.js'
import { decodeState } from '../../runtime/state.js'
import { sketch, stepInput, type VNodeSketch } from '../components/numeric.js'
import type { ClassDifferences } from './measured-noise.js'

const BATCH = 32
const WARM_UPS = [3, 40]
const SEGMENTS = [1, 4, 16, 64]
const SEEDS = [1, 2, 3]
const DIGITS = 3

const plain: VNodeSketch['layers'] = [
  { name: 'dense', options: { units: 64, bias: true }, out: [64] },
  { name: 'leakyRelu', options: { slope: 0.01 }, out: [64] },
]
const normed: VNodeSketch['layers'] = [
  plain[0],
  { name: 'batchNorm', options: { momentum: 0.1, epsilon: 1e-5 }, out: [64] },
  plain[1],
  { name: 'dropout', options: { rate: 0.1 }, out: [64] },
]
const RULES = { pred: { name: 'pred' }, predsim: { name: 'predsim', options: { w: 0.2, rank: 8 } } }
const OPTIMIZERS = {
  adam: { optimizer: { name: 'adam' }, learningRate: 1e-3 },
  sgd: { optimizer: { name: 'sgd', options: { momentum: 0.9 } }, learningRate: 1e-2 },
}
/** Whatever the difference is, it is measured. */
const INFINITE = { relative: Infinity, cosine: -1, loss: Infinity }

const pools = {
  wasm: computePool({ machines: machineModule('wasm'), spares: 0 }),
  blocked: computePool({ machines: new URL('./blocked-machines.js', import.meta.url), spares: 0 }),
  native: computePool({ machines: machineModule('native'), spares: 0 }),
}
type Path = keyof typeof pools
const PAIRS = [
  ['wasm', 'blocked'],
  ['wasm', 'native'],
  ['blocked', 'native'],
] as const satisfies readonly (readonly [Path, Path])[]
const computes = Object.fromEntries(Object.entries(pools).map(([name, pool]) => [name, pool.compute(name)])) as { [name in Path]: Compute }

/** Applies steps, and gives the state and the mean loss of the last `counted` ones. */
async function apply(compute: Compute, definition: VNodeMachineDefinition, from: Uint8Array | undefined, [first, last]: [number, number]) {
  await compute.load('v', definition, from && Uint8Array.from(from))
  let loss = 0
  for (let step = first; step <= last; step++) {
    const { inputs, evaluation } = stepInput(step, [48], { batch: BATCH })
    const header = { ...inputs[0].header, vnode: 'v1' }
    const { metrics } = await compute.apply('v', { step, evaluation, inputs: inputs.map((frame) => encodeFrame(frame)), header })
    loss += metrics.loss / (last - first + 1)
  }
  const blob = await compute.snapshot('v')
  await compute.unload('v')
  return { blob, loss }
}

const samples = new Map<string, ClassDifferences['samples'][string][number][]>()
for (const [optimizer, chosen] of Object.entries(OPTIMIZERS))
  for (const rule of Object.values(RULES))
    for (const layers of [plain, normed])
      for (const warmUp of WARM_UPS)
        for (const seed of SEEDS) {
          const definition = sketch({ input: [48], layers, rule, ...chosen, seed, totalSteps: 1_000 })
          const { blob: start } = await apply(computes.wasm, definition, undefined, [1, warmUp])
          const before = decodeState(start)
          for (const steps of SEGMENTS) {
            const ends = new Map<Path, { readonly blob: Uint8Array; readonly loss: number }>()
            for (const path of Object.keys(pools) as Path[])
              ends.set(path, await apply(computes[path], definition, start, [warmUp + 1, warmUp + steps]))
            for (const [first, second] of PAIRS) {
              const [a, b] = [ends.get(first)!, ends.get(second)!]
              const { groups, why } = compareStates({ before, a: decodeState(a.blob), b: decodeState(b.blob) }, INFINITE)
              if (why !== undefined) throw new Error(`${first} and ${second}: ${why}`)
              const short = (value: number) => Number(value.toPrecision(DIGITS))
              const relative = Math.max(...groups.map((group) => group.relative))
              const angle = Math.max(...groups.map(({ cosine }) => 1 - cosine))
              const loss = Math.abs(a.loss - b.loss) / Math.min(a.loss, b.loss)
              const key = `${first} ${second}, ${optimizer}, ${steps}`
              samples.set(key, [...(samples.get(key) ?? []), [short(relative), short(angle), short(loss)]])
            }
          }
        }
const classes = Object.fromEntries(
  await Promise.all(Object.entries(computes).map(async ([name, compute]) => [name, (await compute.start()).computeClass] as const)),
)
await Promise.all(Object.values(pools).map((pool) => pool.close()))
const lines = [...samples].map(([key, all]) => `    ${JSON.stringify(key)}: ${JSON.stringify(all)}`).join(',\n')
const command = 'node dist/test/support/class-differences.js > test/support/class-differences.json'
process.stdout.write(
  `{\n  "v": 1,\n  "command": ${JSON.stringify(command)},\n  "classes": ${JSON.stringify(classes)},\n  "samples": {\n${lines}\n  }\n}\n`,
)
