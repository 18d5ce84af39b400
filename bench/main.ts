/**
 * `npm run bench -- list|NAME|all [--json|--markdown] [--out FOLDER] [--into FILE] [--plots FOLDER]`: each benchmark prints its ratios and bars; figures
 * are never tested by time. `npm run bench -- show FILE… …`: the same from what `--json` wrote.
 */
import { parseArgs } from 'node:util'
import { isSwarmError, SwarmError } from '../runtime/errors.js'
import type { Report } from './measure.js'
import { measured } from './measured.js'
import { checkPlace, rewrite, write } from './output.js'

/** What the command line says beside names. */
interface Flags {
  readonly isCluster: boolean
  readonly isReal: boolean
  readonly kills: number | undefined
  readonly hours: number | undefined
  readonly standbys: number | undefined
  readonly task: string | undefined
  readonly seeds: number | undefined
  readonly python: string | undefined
}

const BENCHMARKS: { readonly [name: string]: { readonly what: string; readonly run: (flags: Flags) => Promise<Report> } } = {
  step: {
    what: 'a local step in the runtime against tfjs fit and against a bare loop',
    run: async () => (await import('./step.js')).step(),
  },
  kernels: {
    what: 'products of matrices, one and many, attention, a mask of dropout',
    run: async () => (await import('./kernels.js')).kernels(),
  },
  native: {
    what: 'the same step and one of a conv net on TensorFlow (npm run native:install) against tfjs-node fit, and against the peak of its matrix product (--task mlp|conv)',
    run: async ({ task }) => (await import('./native.js')).native(task),
  },
  pytorch: {
    what: 'the same step on TensorFlow against PyTorch on the processor (--python PROGRAM, one that has torch; default SWARMGRAD_PYTHON, else python3)',
    run: async ({ python }) => (await import('./pytorch.js')).pytorch(python),
  },
  scale: { what: 'two PNodes against one', run: async () => (await import('./scale.js')).scale() },
  checks: { what: 'audits and redundancy against PNodes that are believed', run: async () => (await import('./checks.js')).checks() },
  cluster: {
    what: 'three PNodes over Dapr and NATS against three in one process; bytes on the wire; memory',
    run: async () => (await import('./cluster.js')).cluster(),
  },
  recovery: {
    what: 'from the loss of a worker (--cluster: of a PNode) to the next applied step (--standbys N)',
    run: async (flags) => (await import('./recovery.js')).recovery(flags),
  },
  placement: {
    what: '10,000 VNodes on 1,000 PNodes: time, and the longest stage over equal shares; what one lost PNode costs',
    run: async () => (await import('./placement.js')).placement(),
  },
  simulator: {
    what: 'steps of VNodes that the simulator makes in a second, on 8 hosts without faults',
    run: async () => (await import('./simulator.js')).simulator(),
  },
  goodput: {
    what: 'useful samples under a trace of spot instances, over those without faults (simulated; --hours N: its beginning; --standbys N; --real: on real PNodes, faster)',
    run: async ({ hours, standbys, isReal }) =>
      isReal ? (await import('./goodput-real.js')).goodputReal(hours) : (await import('./goodput.js')).goodput({ hours, standbys }),
  },
  'learning-at-home': {
    what: 'a tenth of all messages lost, latency exponential with a mean of 1 s (simulated): samples per second, the same hash',
    run: async () => (await import('./learning-at-home.js')).learningAtHome(),
  },
  detection: {
    what: 'how soon audits find a host that cheats, by share audited, share cheated and segments, against 1 − (1 − p c)ⁿ, in whole simulated runs (--seeds N: runs for each point, else 1,000)',
    run: async ({ seeds }) => (await import('./detection.js')).detection(seeds),
  },
  learning: {
    what: 'what is learnt, by each rule and by backpropagation, three seeds (--task fashion-256|fashion-1024|fashion-conv|mnist-1024|shakespeare; --seeds N)',
    run: async ({ task, seeds }) => (await import('./learning.js')).learning({ task, seeds }),
  },
}

const OUTPUT = {
  json: { type: 'boolean', default: false },
  markdown: { type: 'boolean', default: false },
  out: { type: 'string' },
  into: { type: 'string' },
  plots: { type: 'string' },
} as const
const { values, positionals, tokens } = parseArgs({
  allowPositionals: true,
  tokens: true,
  options: {
    ...OUTPUT,
    cluster: { type: 'boolean', default: false },
    real: { type: 'boolean', default: false },
    kills: { type: 'string' },
    hours: { type: 'string' },
    standbys: { type: 'string' },
    task: { type: 'string' },
    seeds: { type: 'string' },
    python: { type: 'string' },
  },
})
const [wanted = 'list', ...files] = positionals
const flags: Flags = {
  isCluster: values.cluster,
  isReal: values.real,
  task: values.task,
  python: values.python,
  kills: count('kills'),
  hours: count('hours'),
  standbys: count('standbys'),
  seeds: count('seeds'),
}

try {
  await carryOut()
} catch (error) {
  if (!isSwarmError(error)) throw error
  process.stderr.write(`${error.message}\n`)
  process.exitCode = error.code === 'usage' ? 2 : 1
}

async function carryOut(): Promise<void> {
  if (wanted === 'list') {
    for (const [name, { what }] of Object.entries(BENCHMARKS)) process.stdout.write(`${name.padEnd(16)} ${what}\n`)
    return
  }
  if (wanted === 'show') return rewrite(files, values)
  const names = wanted === 'all' ? Object.keys(BENCHMARKS) : [wanted]
  for (const name of names) if (Object.hasOwn(BENCHMARKS, name)) await checkPlace(commandOf(name), values)
  for (const name of names) {
    if (!Object.hasOwn(BENCHMARKS, name)) {
      const expected = [...Object.keys(BENCHMARKS), 'all', 'list', 'show'].join(', ')
      throw new SwarmError('usage', { what: 'no such benchmark', expected, got: name })
    }
    try {
      await write(await measured(name, commandOf(name), () => BENCHMARKS[name].run(flags)), values)
    } catch (error) {
      // What is not installed keeps none of the others from being measured.
      if (!isSwarmError(error, 'backend.missing') || wanted !== 'all') throw error
      process.stderr.write(`${name}: ${error.message}\n`)
      process.exitCode = 1
    }
  }
}

/** What measures it again, wherever: flags that say where something is are left out. */
function commandOf(name: string): string {
  const said = tokens.flatMap((token) => {
    if (token.kind !== 'option' || Object.hasOwn(OUTPUT, token.name) || token.name === 'python') return []
    return token.value === undefined ? [token.rawName] : [token.rawName, token.value]
  })
  return [name, ...said].join(' ')
}

function count(name: 'kills' | 'hours' | 'standbys' | 'seeds'): number | undefined {
  const text = values[name]
  const value = text === undefined ? undefined : Number(text)
  if (value === undefined || (Number.isSafeInteger(value) && value > 0)) return value
  process.stderr.write(`--${name}: expected a positive integer, got '${text}'\n`)
  process.exit(2)
}
