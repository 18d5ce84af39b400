/** Steps that a run has given up, on the command line. */
import { rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import test from 'ava'
import { folderOf, swarmgrad } from './command.js'

const BLOCK = `
import { existsSync } from 'node:fs'
import { defineBlock } from 'swarmgrad'
export const picky = defineBlock<{ file: string }>({
  module: import.meta.url,
  name: 'picky',
  shape: (input) => [...input],
  forward(_parameters, x, { training, step }, { file }) {
    if (training && step === 5 && existsSync(file)) throw new Error('not this one')
    return x.clone()
  },
})
`
const definition = (file: string) => `
input: [28, 28, 1]
target: { categorical: 10 }
use: ./picky.ts
layers:
  - flatten
  - block: [{ dense: 16 }, leakyRelu]
  - block: [{ picky: { file: ${file} } }, { dense: 12 }, leakyRelu]
rule: pred
data: { glyphs: { train: 1000, test: 200 } }
epochs: 1
`

test.serial('a step is given up, listed, shown and replayed; what works again still is not taken back in', async (t) => {
  const folder = await folderOf(t)
  const file = join(folder, 'bait')
  await Promise.all([
    writeFile(file, ''),
    writeFile(join(folder, 'picky.ts'), BLOCK),
    writeFile(join(folder, 'picky.yaml'), definition(file)),
  ])
  const trained = await swarmgrad(t, folder, ['train', 'picky.yaml', '--no-threads', '--id', 'one'])
  t.is(trained.status, 0, trained.stderr)
  t.regex(trained.stdout, /0 lost, 0 doubled, 1 given up · [0-9a-f]{12}…\n$/)
  t.regex(trained.stderr, /dense-2: step 5 is given up, dead letter 5-dense-2: .*not this one/)

  const [list, json, show, again, none] = await Promise.all([
    swarmgrad(t, folder, ['dlq', 'list', 'latest']),
    swarmgrad(t, folder, ['dlq', 'list', 'latest', '--json']),
    swarmgrad(t, folder, ['dlq', 'show', 'one', '5-']),
    swarmgrad(t, folder, ['dlq', 'replay', 'one', '5-dense-2', '--json']),
    swarmgrad(t, folder, ['dlq', 'show', 'one', '7']),
  ])
  t.like((await swarmgrad(t, folder, ['status', 'one', '--json'])).lines[0], { type: 'status', deadLetters: 1 })
  t.regex((await swarmgrad(t, folder, ['status', 'one'])).stdout, /given up +1: swarmgrad dlq list one\n/)
  t.regex(list.stdout, /^id +VNode +step +tried on +reason\n\n?5-dense-2 +dense-2 +5 +pnode-\d, pnode-\d +.*not this one/)
  t.is(json.lines.length, 1)
  t.like(json.lines[0], { v: 1, type: 'deadLetter', id: '5-dense-2', run: 'one', vnode: 'dense-2', step: 5, evaluation: 0, position: 5 })
  t.regex(show.stdout, /^5-dense-2: step 5 of dense-2, given up .*\nreason .*not this one \[compute\.failed\]\nbatch +[0-9a-f]{64}\n/)
  t.is(again.status, 1)
  t.like(again.lines.at(-1), { type: 'replayed', run: 'one', id: '5-dense-2', fromStep: 0, works: false })
  t.is(none.status, 2)
  t.regex(none.stderr, /expected one of 5-dense-2, got '7'/)

  await rm(file)
  const works = await swarmgrad(t, folder, ['dlq', 'replay', 'one'])
  t.is(works.status, 0, works.stderr)
  t.regex(works.stdout, /✔ step 5 of dense-2 would work now, replayed from the seed.*; the run goes on without it all the same/)
  t.is((await swarmgrad(t, folder, ['dlq', 'list', 'latest', '--json'])).lines.length, 1)
  t.is((await swarmgrad(t, folder, ['verify', 'one'])).status, 0)

  const without = await swarmgrad(t, folder, ['train', 'picky.yaml', '--no-threads', '--id', 'two', '--json'])
  t.like(without.lines.at(-1), { type: 'done', deadLetters: 0 })
  const empty = await swarmgrad(t, folder, ['dlq', 'list', 'two'])
  t.deepEqual([empty.status, empty.stdout], [0, ''])
  t.regex(empty.stderr, /run two has given up nothing/)
})

test.serial('a run may give up as many steps as its flag says; the policy for a loss that is not finite cannot change', async (t) => {
  const folder = await folderOf(t)
  const file = join(folder, 'bait')
  await Promise.all([
    writeFile(file, ''),
    writeFile(join(folder, 'picky.ts'), BLOCK),
    writeFile(join(folder, 'picky.yaml'), definition(file)),
  ])
  const words = ['train', 'picky.yaml', '--no-threads', '--json', '--quiet', '--max-dead-letters', '0', '--id', 'one']
  const { status, lines } = await swarmgrad(t, folder, words)
  t.is(status, 1)
  t.like(lines.at(-1), { type: 'error', code: 'run.poisoned' })
  t.regex(String(lines.at(-1)!.message), /not this one.*step 5 of dense-2.*--max-dead-letters/)
  const changed = await swarmgrad(t, folder, ['resume', 'one', '--non-finite', 'skip'])
  t.regex(changed.stderr, /--non-finite of run one cannot change: expected stop, got skip/)
  const resumed = await swarmgrad(t, folder, ['resume', 'one', '--no-threads', '--json', '--max-dead-letters', '1'])
  t.like(resumed.lines.at(-1), { type: 'done', deadLetters: 1 })
})
