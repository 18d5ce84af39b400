/** Every flag as data: how it is written, read and explained, in one place (those of machines: machine-flags.ts). Nothing here may load tfjs or esbuild: `--help` reads it. */
import { BACKENDS } from '../components/backends.js'
import type { Refinement } from '../components/definition.js'
import { isRefinement, MAX_REFINEMENT } from '../components/refinement.js'
import { environment, flag, integer, isTrue, number, oneOf, refuse, text } from './flag.js'
import { MACHINE_FLAGS } from './machine-flags.js'

export type { Flag } from './flag.js'

/** Of a control host. */
function clusterUrl(value: string, name: string): string {
  const isAddress = URL.canParse(value) && /^https?:$/.test(new URL(value).protocol)
  return isAddress ? value.replace(/\/+$/, '') : refuse(name, 'the address of a control host, such as http://control:7070', value)
}

/** A hash in full, or enough of its beginning. */
function hash(value: string, name: string): string {
  return /^[0-9a-f]{12,64}$/.test(value) ? value : refuse(name, '12 to 64 hexadecimal digits, as they were shown', value)
}

/** `2x8`: 2 passes over the last 8 inputs. */
function refinement(value: string, name: string): Refinement {
  const [passes, inputs] = /^(\d+)x(\d+)$/.exec(value)?.slice(1).map(Number) ?? []
  const asked = { passes, inputs }
  const expected = `PASSESxINPUTS, such as 1x4: up to ${MAX_REFINEMENT.passes} passes over up to ${MAX_REFINEMENT.inputs} inputs`
  return isRefinement(asked) ? asked : refuse(name, expected, value)
}

/** What a key of the store may hold, and no word that means another run. */
function runId(value: string, name: string): string {
  return /^[A-Za-z0-9_-]{1,64}$/.test(value) && value !== 'latest' ? value : refuse(name, '1 to 64 letters, digits, - and _', value)
}

export const FLAGS = {
  data: flag({
    syntax: '--data <NAME>',
    description: 'fashion-mnist, mnist, glyphs, tiny-shakespeare, or the path of a .csv or .txt file',
    default: 'glyphs',
    // SWARMGRAD_DATA is the folder in which data sets lie.
    environment: environment('DATASET'),
    key: 'data',
    parse: text,
  }),
  label: flag({
    syntax: '--label <COLUMN>',
    description: 'label column of the .csv file',
    default: 'label',
    environment: environment('LABEL'),
    key: 'label',
    parse: text,
  }),
  rule: flag({
    syntax: '--rule <RULE>',
    description: 'learning rule: predsim, pred, solo, relay or backprop',
    default: 'predsim',
    environment: environment('RULE'),
    key: 'rule',
    parse: oneOf('predsim', 'pred', 'solo', 'relay', 'backprop'),
  }),
  epochs: flag({
    syntax: '--epochs <N>',
    description: 'passes over the training samples',
    default: '5',
    environment: environment('EPOCHS'),
    key: 'epochs',
    parse: integer(1, 1_000_000),
  }),
  batchSize: flag({
    syntax: '--batch-size <N>',
    description: 'samples of one step',
    default: '128',
    environment: environment('BATCH_SIZE'),
    key: 'batchSize',
    parse: integer(1, 65_536),
  }),
  learningRate: flag({
    syntax: '--learning-rate <X>',
    description: 'of the first step',
    default: '2e-3; 5e-4 for more than 10 epochs',
    environment: environment('LEARNING_RATE'),
    key: 'learningRate',
    parse: number('a number above 0', (x) => x > 0),
  }),
  seed: flag({
    syntax: '--seed <N>',
    description: 'of weights, order and dropout',
    default: '1',
    environment: environment('SEED'),
    key: 'seed',
    parse: integer(0),
  }),
  validation: flag({
    syntax: '--validation <X>',
    description: 'fraction of the training samples to evaluate on, 0 to below 1',
    default: '0; 0.1 for data without a test set',
    environment: environment('VALIDATION'),
    key: 'validation',
    parse: number('a fraction from 0 to below 1', (x) => x >= 0 && x < 1),
  }),
  nonFinite: flag({
    syntax: '--non-finite <POLICY>',
    description: 'what becomes of a step whose loss is not finite: stop the run, or skip the step',
    default: 'stop',
    environment: environment('NON_FINITE'),
    key: 'nonFinite',
    parse: oneOf('stop', 'skip'),
  }),
  refinement: flag({
    syntax: '--refinement <PASSESxINPUTS>',
    description: 'after each step, passes over the newest inputs of each VNode, such as 1x4',
    default: 'none',
    environment: environment('REFINEMENT'),
    key: 'refinement',
    parse: refinement,
  }),
  convergence: flag({
    syntax: '--convergence <POLICY>',
    description: 'what becomes of a VNode whose loss stalls: alert, lowerRate or resetHead',
    default: 'nobody looks',
    environment: environment('CONVERGENCE'),
    key: 'convergence',
    parse: oneOf('alert', 'lowerRate', 'resetHead'),
  }),
  from: flag({
    syntax: '--from <RUN|FILE>',
    description: 'start from the weights of another run, or of a .safetensors file or a model.json',
    parse: text,
  }),
  pnodes: flag({
    syntax: '--pnodes <N>',
    description: 'simulated PNodes, each with a compute thread',
    default: '4',
    environment: environment('PNODES'),
    key: 'pnodes',
    parse: integer(1, 256),
  }),
  window: flag({
    syntax: '--window <STEPS>',
    description: 'steps in flight on every edge',
    default: '4',
    environment: environment('WINDOW'),
    key: 'window',
    parse: integer(1, 1024),
  }),
  threads: flag({
    syntax: '--no-threads',
    description: 'compute on the main thread; the same hash',
    default: 'threads',
    environment: environment('THREADS'),
    key: 'threads',
    parse: isTrue,
  }),
  backend: flag({
    syntax: '--backend <NAME>',
    description: 'wasm; native or gpu (npm run native:install); or auto: wasm, whose bits are the same on every machine',
    default: 'auto',
    environment: environment('BACKEND'),
    key: 'backend',
    parse: oneOf(...BACKENDS),
  }),
  checkpointEvery: flag({
    syntax: '--checkpoint-every <STEPS>',
    description: 'steps between two checkpoints, at most',
    default: '200',
    environment: environment('CHECKPOINT_EVERY'),
    key: 'checkpointEvery',
    parse: integer(1),
  }),
  replicas: flag({
    syntax: '--replicas <N>',
    description: 'standbys of each VNode: one of them goes on at once when its machine is lost',
    default: '0',
    environment: environment('REPLICAS'),
    key: 'replicas',
    parse: integer(0, 8),
  }),
  redundancy: flag({
    syntax: '--redundancy <N>',
    description: 'machines that apply each VNode and have to agree on it; who does not is out',
    default: '1',
    environment: environment('REDUNDANCY'),
    key: 'redundancy',
    parse: integer(1, 9),
  }),
  audits: flag({
    syntax: '--audits <SHARE>',
    description: 'share of each machine’s work that another one does as well, drawn afterwards; who is wrong is out',
    default: '0.03 on a cluster, else 0',
    environment: environment('AUDITS'),
    key: 'audits',
    parse: number('a share from 0 to 1', (x) => x >= 0 && x <= 1),
  }),
  minTier: flag({
    syntax: '--min-tier <1|2|3>',
    description: 'only PNodes of this tier or a better one: 1 is the best',
    environment: environment('MIN_TIER'),
    key: 'minTier',
    parse: (value: string, name: string) => Number(oneOf('1', '2', '3')(value, name)) as 1 | 2 | 3,
  }),
  together: flag({
    syntax: '--together <VNODE,VNODE…>',
    description: 'VNodes that are to be on one PNode; repeatable',
    isRepeatable: true,
    parse: text,
  }),
  maxDeadLetters: flag({
    syntax: '--max-dead-letters <N>',
    description: 'steps that the run may give up before it fails',
    default: '10',
    environment: environment('MAX_DEAD_LETTERS'),
    key: 'maxDeadLetters',
    parse: integer(0, 1_000),
  }),
  maxDeliveryAttempts: flag({
    syntax: '--max-delivery-attempts <N>',
    description: 'tries of a failing step before it is given up, where there is one PNode only; else two PNodes decide',
    default: '5',
    environment: environment('MAX_DELIVERY_ATTEMPTS'),
    key: 'maxDeliveryAttempts',
    parse: integer(1, 100),
  }),
  chaos: flag({
    syntax: '--chaos <SPEC>',
    description: 'break things on purpose: kill:pnode:every=2s, kill:worker@step=100, kill:process@step=50; repeatable',
    isRepeatable: true,
    parse: text,
  }),
  expectHash: flag({ syntax: '--expect-hash <HASH>', description: 'fail unless the run ends with these weights', parse: hash }),
  detach: flag({ syntax: '--detach', description: 'go on in the background; print the id of the run', parse: isTrue }),
  id: flag({ syntax: '--id <RUN>', description: 'id of the new run', isHidden: true, parse: runId }),
  run: flag({ syntax: '--run <RUN>', description: 'id of a run, its beginning, or latest', default: 'latest', parse: text }),
  csv: flag({ syntax: '--csv', description: 'comma-separated values', parse: isTrue }),
  follow: flag({ syntax: '--follow', description: 'go on until the run ends', parse: isTrue }),
  since: flag({ syntax: '--since <STEP>', description: 'only what happened after this step', default: '0', parse: integer(0) }),
  out: flag({ syntax: '--out <FILE>', description: 'a .csv or .jsonl file to write', parse: text }),
  format: flag({
    syntax: '--format <FORMAT>',
    description: 'safetensors: all weights, in one file; tfjs: what answers, as a LayersModel in a folder',
    default: 'safetensors',
    parse: oneOf('safetensors', 'tfjs'),
  }),
  exportTo: flag({
    syntax: '--out <PATH>',
    description: 'where to write it',
    default: 'RUN.safetensors, or the folder RUN-tfjs',
    parse: text,
  }),
  prompt: flag({ syntax: '--prompt <TEXT>', description: 'what it goes on after', default: 'a new line', parse: text }),
  length: flag({ syntax: '--length <N>', description: 'characters to write', default: '200', parse: integer(0) }),
  temperature: flag({
    syntax: '--temperature <X>',
    description: 'below 1 the likely characters are likelier still; 0: always the likeliest',
    default: '0.8',
    parse: number('a number from 0 to 100', (x) => x >= 0 && x <= 100),
  }),
  samples: flag({ syntax: '--data <FILE>', description: 'IDX images (plain or .gz), or a .csv file', parse: text }),
  publicKey: flag({
    syntax: '--key <FILE>',
    description: 'public key that has to have signed the ledger, PEM',
    default: 'the one that the ledger names itself',
    parse: text,
  }),
  contains: flag({ syntax: '--contains <HASH>', description: 'fail unless the entry with this hash is still there', parse: hash }),
  yes: flag({ syntax: '--yes', description: 'do not ask', parse: isTrue }),
  ...MACHINE_FLAGS,
  store: flag({
    syntax: '--store <FOLDER>',
    description: 'where runs are kept',
    default: './runs',
    environment: environment('STORE'),
    key: 'store',
    parse: text,
  }),
  cluster: flag({
    syntax: '--cluster <URL>',
    description: 'runs of a cluster, by the address of its control host',
    environment: environment('CLUSTER'),
    key: 'cluster',
    parse: clusterUrl,
  }),
  config: flag({
    syntax: '--config <FILE>',
    description: 'configuration in YAML',
    default: './swarmgrad.yaml if it is there',
    environment: environment('CONFIG'),
    parse: text,
  }),
  json: flag({
    syntax: '--json',
    description: 'one JSON object a line on standard output',
    environment: environment('JSON'),
    key: 'json',
    parse: isTrue,
  }),
  quiet: flag({
    syntax: '--quiet',
    description: 'results and errors only',
    environment: environment('QUIET'),
    key: 'quiet',
    parse: isTrue,
  }),
  verbose: flag({
    syntax: '--verbose',
    description: 'more detail, stack traces of errors',
    environment: environment('VERBOSE'),
    key: 'verbose',
    parse: isTrue,
  }),
} as const

export type FlagName = keyof typeof FLAGS

/** What was asked for, whoever said it; undefined: the library's default. */
export type Settings = {
  readonly [Name in FlagName]?: Name extends 'chaos' | 'allowCode' | 'together'
    ? readonly string[]
    : ReturnType<(typeof FLAGS)[Name]['parse']>
}

/** Flags that every command has. */
export const COMMON_FLAGS = ['cluster', 'store', 'config', 'json', 'quiet', 'verbose'] as const satisfies readonly FlagName[]
/** What decides the hash. */
export const HYPER_PARAMETERS = [
  'data',
  'label',
  'rule',
  'epochs',
  'batchSize',
  'learningRate',
  'seed',
  'validation',
  'nonFinite',
  'refinement',
  'convergence',
] as const satisfies readonly FlagName[]
/** What does not decide the hash. */
export const EXECUTION_FLAGS = [
  'pnodes',
  'window',
  'threads',
  'backend',
  'checkpointEvery',
  'replicas',
  'redundancy',
  'audits',
  'minTier',
  'together',
  'maxDeadLetters',
  'maxDeliveryAttempts',
  'chaos',
  'expectHash',
] as const satisfies readonly FlagName[]

/** `--batch-size` of `batchSize`, as a person types it. */
export function typed(name: FlagName): string {
  return FLAGS[name].syntax.split(' ')[0]
}
