/** Every example runs, as it says in its first lines. */
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { block, categorical, datasets, dense, flatten, local, network, relu, train } from 'swarmgrad'
import { delta } from '../../examples/custom-block-and-rule/custom.js'
import { repository, runNode, said, temporaryFolder } from './repository.js'

/** Each takes seconds; the rest is for a machine with other things to do. */
const MOST_MS = 90_000

/** Those that the command line trains. */
const DEFINITIONS = [
  'branch-and-join.ts',
  'network.yaml',
  'custom-block-and-rule/main.ts',
  'rules/cwc.ts',
  'rules/dgl.ts',
  'rules/symba.ts',
]
/** Those that are programs, with arguments that make them small. */
const PROGRAMS = { 'quickstart.ts': ['1000', '2'] }
/** Those whose data is not everywhere, and which takes minutes: `test/actors/language-models.test.ts` trains the network on another text. */
const ELSEWHERE = ['char-lm.ts']
/** What examples import. */
const PARTS = ['custom-block-and-rule/custom.ts']

const command = join(repository, 'dist/cli/main.js')

function lastLine(stdout: string): { readonly [name: string]: unknown } {
  return JSON.parse(stdout.trim().split('\n').at(-1)!)
}

async function trained(t: ExecutionContext, example: string, cwd: string): Promise<void> {
  const args = [command, 'train', join(repository, 'examples', example), '--epochs', '1', '--pnodes', '2', '--json']
  const ended = await runNode(args, { cwd, deadlineMs: MOST_MS })
  t.is(ended.status, 0, said(ended))
  t.like(lastLine(ended.stdout), { type: 'done', epochs: 1, steps: 40 }, said(ended))
}

for (const example of DEFINITIONS) {
  test.serial(`examples/${example} trains`, async (t) => {
    t.timeout(2 * MOST_MS)
    await trained(t, example, await temporaryFolder(t))
  })
}

for (const [example, args] of Object.entries(PROGRAMS)) {
  test.serial(`examples/${example} runs`, async (t) => {
    t.timeout(2 * MOST_MS)
    const program = join(repository, 'dist/examples', example.replace(/\.ts$/, '.js'))
    const ended = await runNode([program, ...args], { cwd: await temporaryFolder(t), deadlineMs: MOST_MS })
    t.is(ended.status, 0, said(ended))
    t.regex(ended.stdout, /done: [0-9a-f]{64}/)
    t.regex(ended.stdout, /a plus sign is class \d/)
  })
}

test('the rule that takes its own step learns, on a layer of random features', async (t) => {
  const net = network({ input: [28, 28, 1], target: categorical(10) }, [flatten(), block(dense(256), relu())])
  const data = datasets.glyphs({ train: 1_000, test: 200 })
  const on = local({ pnodes: 1, threads: false })
  const { metrics } = await train(net, { data, rule: delta(), epochs: 5, batchSize: 50 }, { on, store: await temporaryFolder(t) }).result
  t.true(metrics.accuracy > 0.5, `${metrics.accuracy}`)
})

test('no example is left out here', async (t) => {
  const entries = await readdir(join(repository, 'examples'), { recursive: true, withFileTypes: true })
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name))
  const names = files.map((file) => file.slice(join(repository, 'examples').length + 1).replaceAll('\\', '/'))
  t.deepEqual(names.toSorted(), [...DEFINITIONS, ...Object.keys(PROGRAMS), ...PARTS, ...ELSEWHERE].toSorted())
})
