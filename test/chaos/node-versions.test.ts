/** Other versions of Node compute the same bits. */
import { execFile } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import test from 'ava'
import { undisturbed } from '../support/chaos-run.js'

const run = promisify(execFile)

/** The newest of that major version, from the package registry. */
async function install(major: number, folder: string): Promise<string> {
  try {
    const quiet = ['--no-audit', '--no-fund', '--no-save', '--loglevel=error']
    await run('npm', ['install', '--prefix', folder, ...quiet, `node@${major}`], { timeout: 240_000 })
  } catch (cause) {
    throw new Error(`Node ${major} cannot be installed by npm from the package registry, so that its bits cannot be compared`, { cause })
  }
  return join(folder, 'node_modules', 'node', 'bin', process.platform === 'win32' ? 'node.exe' : 'node')
}

for (const major of [22, 24]) {
  test.serial(`Node ${major} trains to the same hash as the running version`, async (t) => {
    t.timeout(300_000)
    const folder = await mkdtemp(join(tmpdir(), 'swarmgrad-node-'))
    t.teardown(() => rm(folder, { recursive: true, force: true }))
    const node = await install(major, folder)
    const script = fileURLToPath(new URL('../support/hash-process.js', import.meta.url))
    const { stdout } = await run(node, [script], { timeout: 60_000 })
    const { version, ...hashes } = JSON.parse(stdout) as { version: string; chain: string; branching: string }
    t.log(version)
    t.true(version.startsWith(`v${major}.`), version)
    const [chain, branching] = [(await undisturbed('chain')).hash, (await undisturbed('branching')).hash]
    t.deepEqual(hashes, { chain, branching } as typeof hashes)
  })
}
