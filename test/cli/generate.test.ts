import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import test from 'ava'
import { folderOf, swarmgrad } from './command.js'

const VERSE = 'violets are blue.\n'
const LM = `
input: [16]
target: { tokens: ${new Set(VERSE).size} }
layers:
  - block:
      - embedding: { vocabulary: ${new Set(VERSE).size}, units: 16 }
      - positionEmbedding
      - transformerBlock: { heads: 2, norm: rms, activation: relu }
rule: pred
data: { text: { file: verse.txt, context: 16, stride: 4 } }
learningRate: 0.02
batchSize: 16
epochs: 8
`

test.serial('a language model shows what it writes as it learns, and writes when asked', async (t) => {
  const folder = await folderOf(t)
  await writeFile(join(folder, 'verse.txt'), VERSE.repeat(60))
  await writeFile(join(folder, 'lm.yaml'), LM)
  const run = (...words: string[]) => swarmgrad(t, folder, words)
  const trained = await run('train', 'lm.yaml', '--no-threads', '--json', '--id', 'verse-one')
  t.is(trained.status, 0, trained.stdout)
  const samples = trained.lines.filter(({ type }) => type === 'sample')
  t.true(samples.length > 0 && samples.length <= 8, `${samples.length}`)
  for (const { text } of samples) t.is((text as string).length, 200)

  const said = await run('generate', 'latest', '--prompt', 'violets', '--length', '11', '--temperature', '0')
  t.is(said.status, 0, said.stderr)
  t.is(said.stdout, 'violets are blue.\n\n')
  const json = await run('generate', 'verse-o', '--length', '5', '--json')
  t.like(json.lines.at(-1), { type: 'generated', run: 'verse-one', prompt: '' })
  t.is((json.lines.at(-1)!.text as string).length, 5)

  const unknown = await run('generate', 'latest', '--prompt', 'Violets')
  t.is(unknown.status, 1)
  t.regex(unknown.stderr, /^error: a character that the vocabulary lacks, line 1, column 1[^\n]*\[dataset\.invalid\]\n$/)
  t.is((await run('generate', 'latest', '--temperature', '-1')).status, 2)
  const answers = await run('predict', 'latest', '--data', 'verse.txt', '--out', 'a.csv')
  t.is(answers.status, 2)
  t.regex(answers.stderr, /swarmgrad generate verse-one/)

  const byName = await run('train', '--data', 'verse.txt', '--epochs', '1', '--no-threads', '--json', '--quiet')
  t.is(byName.status, 0, byName.stdout)
})
