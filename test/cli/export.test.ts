import { readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import test from 'ava'
import { folderOf, swarmgrad, TINY } from './command.js'

test.serial('a run is exported, and other runs begin with its files', async (t) => {
  const folder = await folderOf(t)
  const run = (...words: string[]) => swarmgrad(t, folder, words)
  const train = (...words: string[]) => run('train', 'tiny.yaml', '--no-threads', '--json', '--quiet', '--epochs', '1', ...words)
  t.is((await train('--id', 'glyphs-one')).status, 0)
  const plain = await run('export', 'latest')
  t.is(plain.status, 0, plain.stderr)
  t.is(plain.stdout, 'weights of glyphs-one (step 8) in glyphs-one.safetensors\n')
  const model = await run('export', 'glyphs-o', '--format', 'tfjs', '--json')
  const files = [join('glyphs-one-tfjs', 'model.json'), join('glyphs-one-tfjs', 'weights.bin')]
  t.like(model.lines.at(-1), { v: 1, type: 'exported', run: 'glyphs-one', step: 8, format: 'tfjs' })
  t.deepEqual(model.lines.at(-1)!.files, files)
  t.is((await run('export', 'latest', '--out', 'out/w.safetensors')).status, 0)
  t.deepEqual(await readdir(join(folder, 'out')), ['w.safetensors'])

  const [byRun, byFile, byModel] = [
    await train('--from', 'glyphs-one', '--id', 'two'),
    await train('--from', 'out/w.safetensors', '--id', 'three'),
    await train('--from', files[0], '--id', 'four'),
  ]
  t.is(byRun.status, 0, byRun.stdout)
  t.is(byFile.lines.at(-1)!.hash, byRun.lines.at(-1)!.hash)
  t.is(byModel.status, 0, byModel.stdout)
  t.not(byModel.lines.at(-1)!.hash, byRun.lines.at(-1)!.hash, 'the head of the first VNode began from the seed')
  const events = await run('events', 'four')
  t.regex(events.stdout, /warning: glyphs-one-tfjs\/model\.json: tensors 'dense-1\/head\/bias', 'dense-1\/head\/head' begin from the seed/)
  t.is((await run('verify', 'four', '--json')).lines.at(-1)!.same, true)

  await writeFile(join(folder, 'wide.yaml'), TINY.replace('dense: 12', 'dense: 13'))
  const wide = await run('train', 'wide.yaml', '--from', 'out/w.safetensors')
  t.is(wide.status, 1)
  t.regex(
    wide.stderr,
    /^error: tensor 'dense-2\/layers\/dense-2\/w'[^\n]*expected float32 \[16, 13\], got float32 \[16, 12\][^\n]*\[weights\.mismatch\]\n$/,
  )
  const missing = await run('train', 'tiny.yaml', '--from', 'none.safetensors', '--json')
  t.like(missing.lines.at(-1), { type: 'error', code: 'weights.missing' })
  const neither = await run('train', 'tiny.yaml', '--from', 'out/w.bin')
  t.is(neither.status, 2)
  t.regex(neither.stderr, /expected a run, a \.safetensors file or the model\.json of a LayersModel, got 'out\/w\.bin'/)
})
