import { existsSync } from 'node:fs'
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import test from 'ava'
import { folderOf, start, swarmgrad } from './command.js'

/** An undisturbed run of `tiny.yaml`, without threads, which takes half the time. */
async function trainTiny(t: Parameters<typeof folderOf>[0], folder: string, ...words: string[]) {
  const ended = await swarmgrad(t, folder, ['train', 'tiny.yaml', '--json', '--quiet', '--no-threads', ...words])
  t.is(ended.status, 0, ended.stdout)
  return ended.lines.at(-1)! as unknown as { run: string; hash: string; steps: number }
}

test.serial('a run is trained, listed, shown, explained, verified, compared and deleted', async (t) => {
  const folder = await folderOf(t)
  const trained = await swarmgrad(t, folder, ['train', 'tiny.yaml', '--id', 'glyphs-one'])
  t.is(trained.status, 0, trained.stderr)
  t.regex(trained.stdout, /^\d+\.\d % · 0 moves, 0 steps replayed, 0 lost, 0 doubled · [0-9a-f]{12}…\n$/)
  t.regex(trained.stderr, /✂ dense-1[^]*started: 24 steps[^]*epoch 3: test/)
  t.false(trained.stderr.includes('\u001B'))
  const again = await trainTiny(t, folder, '--id', 'glyphs-two', '--expect-hash', /· ([0-9a-f]{12})…/.exec(trained.stdout)![1])

  const runs = await swarmgrad(t, folder, ['runs', '--json'])
  t.deepEqual(
    runs.lines.map(({ type, run, status, step, totalSteps, hash }) => ({ type, run, status, step, totalSteps, hash })),
    ['glyphs-one', 'glyphs-two'].map((run) => ({ type: 'run', run, status: 'done', step: 24, totalSteps: 24, hash: again.hash })),
  )
  t.regex((await swarmgrad(t, folder, ['runs'])).stdout, /^run +status[^]*glyphs-two +done +24\/24/)

  const [status, metrics, csv, explained, events, verified, same] = await Promise.all([
    swarmgrad(t, folder, ['status', 'glyphs-o', '--json']),
    swarmgrad(t, folder, ['metrics', 'latest', '--json']),
    swarmgrad(t, folder, ['metrics', 'latest', '--csv']),
    swarmgrad(t, folder, ['explain', 'dense-2', '--run', 'glyphs-one', '--json']),
    swarmgrad(t, folder, ['events', 'latest', '--since', '1', '--json']),
    swarmgrad(t, folder, ['verify', 'glyphs-one', '--json']),
    swarmgrad(t, folder, ['diff', 'glyphs-one', 'glyphs-two', '--json']),
  ])
  t.like(status.lines[0], { type: 'status', run: 'glyphs-one', status: 'done', pid: null, step: 24, checkpointStep: 24 })
  t.deepEqual(
    metrics.lines.map(({ type, step, epoch }) => [type, step, epoch]),
    [8, 16, 24].map((step, i) => ['evaluated', step, i + 1]),
  )
  t.is(csv.stdout.split('\n').length, 5)
  t.regex(csv.stdout, /^step,epoch,split,accuracy,.*dense-2\.accuracy/)
  t.like(explained.lines[0], { type: 'placed', vnode: 'dense-2', run: 'glyphs-one' })
  t.is((explained.lines[0].candidates as unknown[]).length, 4)
  t.true(events.lines.some(({ type }) => type === 'done'))
  t.false(
    events.lines.some(({ type }) => type === 'started'),
    'that was before step 1',
  )
  t.is(verified.status, 0, verified.stdout)
  t.like(verified.lines.at(-1), { type: 'verified', same: true, hash: again.hash })
  t.like(same.lines[0], { type: 'compared', same: true })

  const ambiguous = await swarmgrad(t, folder, ['status', 'glyphs', '--json'])
  t.is(ambiguous.status, 1)
  t.like(ambiguous.lines[0], { type: 'error', code: 'run.ambiguous' })
  t.regex(String(ambiguous.lines[0].message), /glyphs-one, glyphs-two/)
  const unasked = await swarmgrad(t, folder, ['delete', 'glyphs-one'])
  t.is(unasked.status, 2)
  t.regex(unasked.stderr, /--yes/)
  t.is((await swarmgrad(t, folder, ['delete', 'glyphs-one', '--yes'])).status, 0)
  t.false(existsSync(join(folder, 'runs', 'runs', 'glyphs-one', 'definition')))
  t.true((await readdir(join(folder, 'runs', 'data'))).length > 0, 'shards are shared')
  t.is((await swarmgrad(t, folder, ['runs', '--json'])).lines.length, 1)
})

test.serial('with --json every line has v and type, and the last one is done', async (t) => {
  const folder = await folderOf(t)
  const { status, stdout, stderr } = await swarmgrad(t, folder, ['train', 'tiny.yaml', '--json'])
  t.is(status, 0)
  t.is(stderr, '')
  const lines = stdout
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as { v: number; type: string })
  t.true(lines.every(({ v, type }) => v === 1 && typeof type === 'string'))
  t.is(lines.filter(({ type }) => type === 'done').length, 1)
  t.deepEqual(Object.keys(lines.at(-1)!), [
    'v',
    'type',
    'run',
    'steps',
    'epochs',
    'accuracy',
    'hash',
    'seconds',
    'samplesPerSecond',
    'moves',
    'stepsReplayed',
    'stepsLost',
    'stepsDoubled',
    'deadLetters',
  ])
})

test.serial('other weights than expected are an error with status 1', async (t) => {
  const folder = await folderOf(t)
  const { status, lines } = await swarmgrad(t, folder, ['train', 'tiny.yaml', '--json', '--quiet', '--expect-hash', '0123456789ab'])
  t.is(status, 1)
  t.like(lines.at(-1), { type: 'error', code: 'run.hash' })
  t.regex(String(lines.at(-1)!.message), /expected 0123456789ab, got [0-9a-f]{64}/)
})

test.serial('killed PNodes and workers do not change the weights', async (t) => {
  const folder = await folderOf(t)
  const { hash } = await trainTiny(t, folder)
  const chaos = ['kill:pnode@step=6', 'kill:worker@step=12', 'kill:pnode@step=18'].flatMap((spec) => ['--chaos', spec])
  const { status, lines } = await swarmgrad(t, folder, [
    'train',
    'tiny.yaml',
    '--json',
    '--expect-hash',
    hash,
    '--checkpoint-every',
    '8',
    ...chaos,
  ])
  t.is(status, 0)
  t.like(lines.at(-1), { type: 'done', hash, stepsLost: 0, stepsDoubled: 0 })
  t.true((lines.at(-1)!.moves as number) >= 3)
  t.is(lines.filter(({ type }) => type === 'lost').length, 3)
})

test.serial('a process that was killed is shown as interrupted, and resuming ends with the same weights', async (t) => {
  const folder = await folderOf(t)
  const { hash } = await trainTiny(t, folder, '--id', 'quiet')
  const killed = await swarmgrad(t, folder, [
    'train',
    'tiny.yaml',
    '--id',
    'killed',
    '--checkpoint-every',
    '5',
    '--chaos',
    'kill:process@step=17',
  ])
  t.is(killed.status, 'SIGKILL')
  const { lines } = await swarmgrad(t, folder, ['runs', '--json'])
  t.like(
    lines.find(({ run }) => run === 'killed'),
    { status: 'interrupted' },
  )
  const changed = await swarmgrad(t, folder, ['resume', 'killed', '--epochs', '9', '--json'])
  t.is(changed.status, 1)
  t.like(changed.lines[0], { type: 'error', code: 'run.changed' })
  t.regex(String(changed.lines[0].message), /--epochs of run killed cannot change: expected 3, got 9/)
  const resumed = await swarmgrad(t, folder, ['resume', 'killed', '--epochs', '3', '--pnodes', '2', '--json', '--expect-hash', hash])
  t.is(resumed.status, 0, resumed.stdout)
  t.like(resumed.lines.at(-1), { type: 'done', run: 'killed', steps: 24, hash })
})

test.serial('a run is paused from another process, refused while it is under way, and goes on to the same weights', async (t) => {
  const folder = await folderOf(t)
  const { hash } = await trainTiny(t, folder, '--epochs', '150')
  const train = start(t, folder, [
    'train',
    'tiny.yaml',
    '--json',
    '--id',
    'long',
    '--epochs',
    '150',
    '--window',
    '1',
    '--chaos',
    'kill:pnode:every=900ms',
  ])
  await train.until(({ type }) => type === 'started')
  const [busy, undeletable, paused] = await Promise.all([
    swarmgrad(t, folder, ['resume', 'long', '--json']),
    swarmgrad(t, folder, ['delete', 'long', '--yes', '--json']),
    swarmgrad(t, folder, ['pause', 'long', '--json']),
  ])
  t.is(busy.status, 1)
  t.like(busy.lines.at(-1), { type: 'error', code: 'run.busy' })
  t.like(undeletable.lines.at(-1), { type: 'error', code: 'run.busy' })
  t.like(paused.lines.at(-1), { type: 'paused', run: 'long', status: 'paused' }, paused.stdout)
  const ended = await train.ended
  t.is(ended.status, 3)
  t.like(ended.lines.at(-1), { type: 'paused', run: 'long', step: paused.lines.at(-1)!.step })
  const idle = await swarmgrad(t, folder, ['pause', 'long'])
  t.is(idle.status, 0)
  t.regex(idle.stdout, /not running \(paused.*swarmgrad resume long/)
  const resumed = await swarmgrad(t, folder, ['resume', 'long', '--quiet', '--json', '--expect-hash', hash])
  t.is(resumed.status, 0, resumed.stdout)
})

test.serial('the first Ctrl-C pauses and says how to go on, the second ends at once', async (t) => {
  const folder = await folderOf(t)
  const first = start(t, folder, ['train', 'tiny.yaml', '--json', '--id', 'first', '--epochs', '2000'])
  await first.until(({ type }) => type === 'started')
  first.child.kill('SIGINT')
  const paused = await first.ended
  t.is(paused.status, 3)
  t.like(paused.lines.at(-1), { type: 'paused', run: 'first' })
  const second = start(t, folder, ['train', 'tiny.yaml', '--json', '--id', 'second', '--epochs', '2000', '--no-threads', '--window', '1'])
  await second.until(({ type }) => type === 'started')
  // Two signals of one kind may be heard as one.
  second.child.kill('SIGTERM')
  second.child.kill('SIGINT')
  t.true([130, 143].includes((await second.ended).status as number))
  const { lines } = await swarmgrad(t, folder, ['runs', '--json'])
  t.deepEqual(
    lines.map(({ run, status }) => [run, status]),
    [
      ['first', 'paused'],
      ['second', 'interrupted'],
    ],
  )
})

test.serial('a detached run goes on by itself and can be followed', async (t) => {
  const folder = await folderOf(t)
  const { status, stdout } = await swarmgrad(t, folder, ['train', 'tiny.yaml', '--detach'])
  t.is(status, 0)
  const run = stdout.trim()
  const followed = await swarmgrad(t, folder, ['events', run, '--follow', '--json'])
  t.is(followed.lines.at(-1)?.type, 'done')
  const failed = await swarmgrad(t, folder, ['train', 'none.yaml', '--detach', '--json'])
  t.is(failed.status, 1)
  t.like(failed.lines.at(-1), { type: 'error', code: 'definition.invalid' })
})

test.serial('a run starts from the weights of another', async (t) => {
  const folder = await folderOf(t)
  const cold = await trainTiny(t, folder, '--id', 'cold')
  const warm = await trainTiny(t, folder, '--from', 'cold')
  t.not(warm.hash, cold.hash)
  const { status, lines } = await swarmgrad(t, folder, ['train', '--data', 'glyphs', '--from', 'cold', '--json'])
  t.is(status, 1)
  t.like(lines.at(-1), { type: 'error', code: 'run.changed' })
})

test.serial('check shows the cuts, and --json the same as data', async (t) => {
  const folder = await folderOf(t)
  const { lines, status } = await swarmgrad(t, folder, ['check', 'tiny.yaml', '--json'])
  t.is(status, 0)
  t.deepEqual(
    lines.map(({ type, vnode, inputs, inputShapes, outputShape, parameters }) => [
      type,
      vnode,
      inputs,
      inputShapes,
      outputShape,
      parameters,
    ]),
    [
      ['vnode', 'dense-1', ['source'], [[28, 28, 1]], [16], 12_560],
      ['vnode', 'dense-2', ['dense-1'], [[16]], [12], 204],
      ['network', undefined, undefined, undefined, undefined, 12_764],
    ],
  )
  t.regex((await swarmgrad(t, folder, ['check', 'tiny.yaml'])).stdout, /dense-2 +dense-1 +16 → 12 +dense\(12\) · leakyRelu/)
})

test.serial('a table is learnt and answered: columns by name, the label optional, no file half written', async (t) => {
  const folder = await folderOf(t)
  const rows = Array.from(
    { length: 300 },
    (_, i) => `${i % 3},${(i * 7) % 5},${['low', 'mid', 'high, "too"'][i % 3].replace(/^(high.*)$/, '"high, ""too"""')}`,
  )
  await writeFile(join(folder, 'table.csv'), ['a,b,kind', ...rows].join('\n'))
  await writeFile(join(folder, 'new.csv'), 'b,note,a\n1,x,0\n2,"y, z",2\n')
  const trained = await swarmgrad(t, folder, [
    'train',
    '--data',
    'table.csv',
    '--label',
    'kind',
    '--rule',
    'pred',
    '--epochs',
    '8',
    '--batch-size',
    '32',
    '--quiet',
  ])
  t.is(trained.status, 0, trained.stderr)
  const csv = await swarmgrad(t, folder, ['predict', 'latest', '--data', 'new.csv', '--out', 'out.csv'])
  t.is(csv.status, 0, csv.stderr)
  t.regex(csv.stdout, /^2 answers of /)
  const [header, first, second] = (await readFile(join(folder, 'out.csv'), 'utf8')).trimEnd().split('\n')
  t.is(header, 'row,label,class,"p_high, ""too""",p_low,p_mid')
  t.regex(first, /^0,1,low,/)
  t.regex(second, /^1,0,"high, ""too""",/)
  const json = await swarmgrad(t, folder, ['predict', 'latest', '--data', 'table.csv', '--label', 'kind', '--out', 'out.jsonl', '--json'])
  t.like(json.lines.at(-1), { type: 'predicted', samples: 300, file: 'out.jsonl' })
  t.is((await readFile(join(folder, 'out.jsonl'), 'utf8')).trimEnd().split('\n').length, 300)
  await writeFile(join(folder, 'bad.csv'), 'a,b\n1,2\n3,x\n')
  const bad = await swarmgrad(t, folder, ['predict', 'latest', '--data', 'bad.csv', '--out', 'bad-out.csv'])
  t.is(bad.status, 1)
  t.regex(bad.stderr, /column 'b' \(bad\.csv:3\)/)
  t.false((await readdir(folder)).some((name) => name.startsWith('bad-out')))
  t.is((await swarmgrad(t, folder, ['predict', 'latest', '--data', 'new.csv', '--out', 'out.txt'])).status, 2)
})

test.serial('images are answered from IDX, and images of another size are refused', async (t) => {
  const folder = await folderOf(t)
  await trainTiny(t, folder)
  const idx = (side: number) => {
    const bytes = Buffer.alloc(16 + 3 * side * side)
    bytes.writeUInt32BE(0x803, 0)
    for (const [i, size] of [3, side, side].entries()) bytes.writeUInt32BE(size, 4 + 4 * i)
    return bytes
  }
  await mkdir(join(folder, 'in'))
  await writeFile(join(folder, 'in', 'images'), idx(28))
  await writeFile(join(folder, 'in', 'small'), idx(8))
  const { status, stdout } = await swarmgrad(t, folder, ['predict', 'latest', '--data', 'in/images', '--out', 'out.csv'])
  t.is(status, 0)
  t.regex(stdout, /^3 answers/)
  const refused = await swarmgrad(t, folder, ['predict', 'latest', '--data', 'in/small', '--out', 'out2.csv'])
  t.is(refused.status, 1)
  t.regex(refused.stderr, /expected 28×28, got 8×8/)
})

test.serial('the demonstration makes both runs, compares them and leaves nothing behind', async (t) => {
  const folder = await folderOf(t)
  const { status, stdout, stderr } = await swarmgrad(t, folder, ['demo', '--epochs', '1'], { env: { TMPDIR: folder } })
  t.is(status, 0, stderr)
  t.regex(
    stdout,
    /\d+\.\d % · \d+ moves, \d+ steps replayed, 0 lost, 0 doubled · [0-9a-f]{12}…\nsame weights as the undisturbed run: [0-9a-f]{64} ✔\n$/,
  )
  t.regex(stderr, /1\/2 undisturbed[^]*pnode-\d lost \(chaos\)[^]*steps replayed in/)
  t.false((await readdir(folder)).some((name) => name.startsWith('swarmgrad-demo')))
})

test.serial('standbys are asked for by number, shown with their VNodes, and explained', async (t) => {
  const folder = await folderOf(t)
  const { hash } = await trainTiny(t, folder, '--id', 'alone', '--pnodes', '2')
  await trainTiny(t, folder, '--id', 'followed', '--pnodes', '2', '--replicas', '1', '--expect-hash', hash)
  const [json, text, explained, refused] = await Promise.all([
    swarmgrad(t, folder, ['status', 'followed', '--json']),
    swarmgrad(t, folder, ['status', 'followed']),
    swarmgrad(t, folder, ['explain', 'dense-1~1', '--run', 'followed', '--json']),
    swarmgrad(t, folder, ['train', 'tiny.yaml', '--replicas', '9']),
  ])
  const { vnodes, standbys } = json.lines[0] as unknown as {
    readonly vnodes: readonly { readonly vnode: string; readonly pnode: string }[]
    readonly standbys: readonly { readonly vnode: string; readonly id: string; readonly pnode: string }[]
  }
  t.deepEqual(
    standbys.map(({ id }) => id),
    vnodes.map(({ vnode }) => `${vnode}~1`),
  )
  for (const { vnode, pnode } of standbys) t.not(pnode, vnodes.find((one) => one.vnode === vnode)?.pnode)
  t.regex(text.stdout, /VNode .*stands by/)
  t.like(explained.lines[0], { type: 'placed', vnode: 'dense-1~1', reason: 'stands by' })
  t.is(refused.status, 2)
})
