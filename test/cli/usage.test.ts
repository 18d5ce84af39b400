import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { DEFAULT_MEMBERSHIP } from '../../actors/placement/placement.js'
import { DEFAULT_BALANCE } from '../../actors/run/balance.js'
import { DEFAULT_TRAINING } from '../../actors/prepare.js'
import { local } from '../../actors/train.js'
import { parseChaos } from '../../cli/chaos.js'
import { COMMANDS } from '../../cli/commands.js'
import { FLAGS } from '../../cli/flags.js'
import { colourLevel } from '../../cli/output.js'
import { type Ended, folderOf, swarmgrad } from './command.js'

/** One line on standard error, nothing else, and no stack. */
function isOneLine(t: ExecutionContext, { stdout, stderr }: Ended, words: RegExp): void {
  t.is(stdout, '')
  t.regex(stderr, /^error: [^\n]+\n$/)
  t.notRegex(stderr, /\n\s+at /)
  t.regex(stderr, words)
}

test('every command explains itself: a sentence, three examples, flags, exit status', async (t) => {
  const folder = await folderOf(t)
  const [whole, ...each] = await Promise.all([
    swarmgrad(t, folder, ['--help']),
    ...COMMANDS.map(({ name }) => swarmgrad(t, folder, [name, '--help'])),
  ])
  t.is(whole.status, 0)
  for (const [i, { name, summary, examples }] of COMMANDS.entries()) {
    t.true(whole.stdout.includes(`  ${name} `), name)
    t.is(each[i].status, 0, name)
    t.true(each[i].stdout.replaceAll(/\s+/g, ' ').includes(summary), name)
    for (const example of examples) t.true(each[i].stdout.includes(`$ swarmgrad ${example}\n`), example)
    t.regex(each[i].stdout, /--store <FOLDER>[^]*SWARMGRAD_STORE[^]*Exit status: 0 done/)
  }
})

test('help loads neither tfjs nor esbuild nor any command', async (t) => {
  const folder = await folderOf(t)
  for (const words of [['--help'], ['train', '--help']]) {
    const { status, stderr } = await swarmgrad(t, folder, words, { env: { NODE_DEBUG: 'esm' } })
    t.is(status, 0)
    t.true(stderr.includes('/cli/program.js'), 'the log names what is loaded')
    for (const heavy of ['tensorflow', 'node_modules/esbuild', '/actors/', 'zod', '/cli/commands/']) t.false(stderr.includes(heavy), heavy)
  }
})

test('help tells the defaults of the library', (t) => {
  t.is(FLAGS.epochs.default, String(DEFAULT_TRAINING.epochs))
  t.is(FLAGS.batchSize.default, String(DEFAULT_TRAINING.batchSize))
  t.is(FLAGS.seed.default, String(DEFAULT_TRAINING.seed))
  t.is(FLAGS.pnodes.default, String(local().pnodes))
  t.is(FLAGS.window.default, String(local().window))
  const { heartbeat, suspectAfter, lostAfter, standstillAfter } = FLAGS
  const { heartbeatMs, suspectMs, lostMs, standstillMs } = DEFAULT_MEMBERSHIP
  t.deepEqual(
    [heartbeat, suspectAfter, lostAfter, standstillAfter].map((flag) => 1000 * Number(flag.default)),
    [heartbeatMs, suspectMs, lostMs, standstillMs],
  )
  t.is(FLAGS.balanceHold.default, String(DEFAULT_BALANCE.holdMs / 1000))
})

const MISTAKES: readonly [words: readonly string[], says: RegExp][] = [
  [['frobnicate'], /unknown command 'frobnicate'/],
  [['train', '--bogus'], /unknown option '--bogus'/],
  [['train', 'tiny.yaml', '--epochs', 'many'], /--epochs: expected an integer .* got 'many'/],
  [['train', 'tiny.yaml', '--backend', 'cuda'], /--backend: expected wasm or native or gpu or auto, got 'cuda'/],
  [['train', 'tiny.yaml', '--data', 'mnits'], /--data: expected .* Did you mean 'mnist'/],
  [['train', 'tiny.yaml', '--chaos', 'burn:pnode'], /--chaos: expected kill:pnode:every=2s, .* got 'burn:pnode'/],
  [['train', 'tiny.yaml', '--expect-hash', 'xyz'], /--expect-hash: expected 12 to 64 hexadecimal digits/],
  [['train', 'tiny.yaml', '--pnodes', '0'], /--pnodes: expected an integer from 1 to 256/],
  [['train', 'tiny.yaml', '--min-tier', '4'], /--min-tier: expected 1 or 2 or 3, got '4'/],
  [['train', 'tiny.yaml', '--together', 'dense-1,dens-2'], /no VNode 'dens-2' \(together\): expected an id that `swarmgrad check` shows/],
  [['control', '--heartbeat', '0'], /--heartbeat: expected seconds above 0/],
  [['up', '--suspect-after', '6'], /times of the membership: .* suspect 6000 ms, lost 5000 ms/],
  [['control', '--lost-after', '2'], /times of the membership: expected heartbeat < suspect ≤ lost/],
  [['host', 'http://127.0.0.1:2', '--adversary', 'sign-flip'], /a host that lies.*expected SWARMGRAD_ALLOW_ADVERSARIES=1, got nothing\./],
  [['status'], /missing required argument 'RUN'/],
  [['export', 'latest', '--format', 'onnx'], /--format: expected safetensors or tfjs, got 'onnx'/],
  [['predict', 'latest', '--data', 'x.csv'], /required option '--out <FILE>'/],
]

for (const [words, says] of MISTAKES) {
  test(`a mistake is one line and status 2: ${words.join(' ')}`, async (t) => {
    const ended = await swarmgrad(t, await folderOf(t), words)
    t.is(ended.status, 2)
    isOneLine(t, ended, says)
  })
}

const FAILURES: readonly [words: readonly string[], says: RegExp][] = [
  [['train', 'missing.yaml'], /no such file \(missing\.yaml\).*\[definition\.invalid\]/],
  [['train', '--data', 'missing.csv'], /missing\.csv.*\[dataset\.missing\]/],
  [['status', 'nope'], /no run 'nope'.*\[run\.not-found\]/],
  [['resume', 'latest'], /no runs.*\[run\.not-found\]/],
]

for (const [words, says] of FAILURES) {
  test(`a failure is one line and status 1: ${words.join(' ')}`, async (t) => {
    const ended = await swarmgrad(t, await folderOf(t), words)
    t.is(ended.status, 1)
    isOneLine(t, ended, says)
  })
}

test('with --json an error is a line on standard output; with --verbose it has a stack', async (t) => {
  const folder = await folderOf(t)
  const json = await swarmgrad(t, folder, ['status', 'nope', '--json'])
  t.is(json.status, 1)
  t.is(json.stderr, '')
  t.like(json.lines.at(-1), { v: 1, type: 'error', code: 'run.not-found', retryable: false })
  const usage = await swarmgrad(t, folder, ['train', '--epochs', '0', '--json'])
  t.is(usage.status, 2)
  t.like(usage.lines.at(-1), { v: 1, type: 'error', code: 'usage' })
  const verbose = await swarmgrad(t, folder, ['status', 'nope', '--verbose'])
  t.regex(verbose.stderr, /^error: no run 'nope'[^]*\n\s+at /)
})

test('a flag comes before the environment, that before the configuration, and a definition before a configuration', async (t) => {
  const folder = await folderOf(t)
  const sizeWith = async (words: string[], env: { [name: string]: string } = {}, file: string[] = []) => {
    const { lines } = await swarmgrad(t, folder, ['check', ...file, '--json', ...words], { env })
    return lines.at(-1)?.batchSize
  }
  await mkdir(join(folder, 'config', 'swarmgrad'), { recursive: true })
  await writeFile(join(folder, 'config', 'swarmgrad', 'config.yaml'), 'batchSize: 16\nrule: pred\n')
  t.is(await sizeWith([]), 16)
  await writeFile(join(folder, 'swarmgrad.yaml'), 'batchSize: 32\n')
  await writeFile(join(folder, 'other.yaml'), 'batchSize: 48\n')
  await writeFile(join(folder, 'net.yaml'), 'input: [4]\ntarget: { categorical: 2 }\nlayers: [dense: 3]\nbatchSize: 64\n')
  t.is(await sizeWith([]), 32)
  t.is(await sizeWith(['--config', 'other.yaml']), 48)
  t.is(await sizeWith([], {}, ['net.yaml']), 64)
  t.is(await sizeWith([], { SWARMGRAD_BATCH_SIZE: '80' }, ['net.yaml']), 80)
  t.is(await sizeWith(['--batch-size', '96'], { SWARMGRAD_BATCH_SIZE: '80' }, ['net.yaml']), 96)
})

test('a configuration with an unknown key or a bad value is named with its line', async (t) => {
  const folder = await folderOf(t)
  await writeFile(join(folder, 'swarmgrad.yaml'), '# mine\nepochs: 3\nbatchsize: 32\n')
  const unknown = await swarmgrad(t, folder, ['runs'])
  t.is(unknown.status, 2)
  isOneLine(t, unknown, /unknown key 'batchsize' \(swarmgrad\.yaml:3\)\. Did you mean 'batchSize'/)
  await writeFile(join(folder, 'swarmgrad.yaml'), 'store: ./runs\nepochs: none\n')
  const bad = await swarmgrad(t, folder, ['check'])
  t.is(bad.status, 0, 'check takes no epochs')
  isOneLine(t, await swarmgrad(t, folder, ['train', 'tiny.yaml']), /'epochs' in swarmgrad\.yaml:2: expected an integer/)
  isOneLine(t, await swarmgrad(t, folder, ['runs', '--config', 'none.yaml']), /no such configuration \(none\.yaml\)/)
})

test('colours follow FORCE_COLOR, NO_COLOR, TERM and the terminal, in this order', async (t) => {
  const terminal = { isTTY: true }
  t.is(colourLevel(terminal, { TERM: 'xterm' }), 1)
  t.is(colourLevel(terminal, { TERM: 'xterm-256color' }), 2)
  t.is(colourLevel(terminal, { TERM: 'xterm', NO_COLOR: '1' }), 0)
  t.is(colourLevel(terminal, { TERM: 'dumb' }), 0)
  t.is(colourLevel({}, { TERM: 'xterm' }), 0)
  t.is(colourLevel({}, { FORCE_COLOR: '1', NO_COLOR: '1' }), 1)
  t.is(colourLevel(terminal, { FORCE_COLOR: '0' }), 0)
  const folder = await folderOf(t)
  const escape = '\u001B['
  t.true((await swarmgrad(t, folder, ['status', 'x'], { env: { FORCE_COLOR: '1' } })).stderr.includes(escape))
  t.false((await swarmgrad(t, folder, ['status', 'x'], { env: { NO_COLOR: '1' } })).stderr.includes(escape))
})

test('a fault is told by its kind and its time', (t) => {
  t.deepEqual(parseChaos('kill:pnode:every=2s'), { kill: 'pnode', everyMs: 2000 })
  t.deepEqual(parseChaos('kill:worker:every=500ms'), { kill: 'worker', everyMs: 500 })
  t.deepEqual(parseChaos('kill:process@step=7'), { kill: 'process', atStep: 7 })
  for (const bad of ['', 'kill', 'kill:pnode', 'kill:pnode:every=0s', 'kill:pnode@step=0', 'kill:process:every=2s', 'kill:pnode@step=-1']) {
    t.throws(() => parseChaos(bad), { code: 'usage', message: /expected kill:pnode:every=2s/ }, bad)
  }
})
