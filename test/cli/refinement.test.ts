/** Refinement from the command line: by flag, by file, and it cannot change. */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import test from 'ava'
import { folderOf, swarmgrad, TINY } from './command.js'

test.serial('refinement by flag and by file is the same run, whatever is killed, and another one than without', async (t) => {
  const folder = await folderOf(t)
  await writeFile(join(folder, 'refined.yaml'), `${TINY}refinement: { passes: 1, inputs: 2 }\n`)
  const hashOf = async (words: readonly string[]) => {
    const { status, lines, stderr } = await swarmgrad(t, folder, ['train', ...words, '--no-threads', '--json', '--quiet'])
    t.is(status, 0, stderr)
    return lines.at(-1)!.hash
  }
  const plain = await hashOf(['tiny.yaml'])
  const refined = await hashOf(['tiny.yaml', '--refinement', '1x2', '--id', 'one'])
  t.not(refined, plain)
  t.is(await hashOf(['refined.yaml', '--pnodes', '2', '--window', '2', '--chaos', 'kill:pnode@step=9']), refined)

  const changed = await swarmgrad(t, folder, ['train', 'tiny.yaml', '--refinement', '2x0'])
  t.is(changed.status, 2)
  t.regex(changed.stderr, /--refinement: expected PASSESxINPUTS, such as 1x4.*got '2x0'/)
  await writeFile(join(folder, 'wrong.yaml'), `${TINY}refinement: { passes: 1 }\n`)
  const wrong = await swarmgrad(t, folder, ['check', 'wrong.yaml'])
  t.is(wrong.status, 1)
  t.regex(wrong.stderr, /'refinement' \(wrong\.yaml:\d+\).*passes: 1 to 16, inputs: 1 to 64/)
})

test.serial('a run that was begun with a refinement goes on with it', async (t) => {
  const folder = await folderOf(t)
  const words = ['train', 'tiny.yaml', '--refinement', '1x2', '--no-threads', '--id', 'one', '--chaos', 'kill:process@step=9']
  t.is((await swarmgrad(t, folder, words)).status, 'SIGKILL')
  const changed = await swarmgrad(t, folder, ['resume', 'one', '--refinement', '2x2'])
  t.regex(changed.stderr, /--refinement of run one cannot change: expected 1x2, got 2x2/)
  const resumed = await swarmgrad(t, folder, ['resume', 'one', '--refinement', '1x2', '--no-threads', '--json'])
  t.is(resumed.status, 0, resumed.stderr)
  const whole = await swarmgrad(t, folder, [...words.slice(0, 5), '--id', 'two', '--json'])
  t.is(resumed.lines.at(-1)!.hash, whole.lines.at(-1)!.hash)
})
