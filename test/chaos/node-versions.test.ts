/** Other versions of Node compute the same bits: kernel by kernel, and in whole runs. */
import { execFile } from 'node:child_process'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { homedir, tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import test, { type ExecutionContext } from 'ava'

const MAJORS = [20, 22, 24]
const run = promisify(execFile)
const program = process.platform === 'win32' ? 'node.exe' : 'node'

interface Hashes {
  readonly version: string
  readonly kernels: { readonly [what: string]: string }
  readonly runs: { readonly [run: string]: string }
}

async function hashes(node: string): Promise<Hashes> {
  const script = fileURLToPath(new URL('../support/hash-process.js', import.meta.url))
  const { stdout } = await run(node, [script], { timeout: 180_000 })
  return JSON.parse(stdout) as Hashes
}

/** One that is on this machine: in PATH, or of nvm. */
async function installed(major: number): Promise<string | undefined> {
  const versions = join(process.env.NVM_DIR ?? join(homedir(), '.nvm'), 'versions', 'node')
  const managed = (await readdir(versions).catch(() => [])).map((version) => join(versions, version, 'bin'))
  for (const folder of [...(process.env.PATH ?? '').split(delimiter), ...managed]) {
    const node = join(folder, program)
    const version = await run(node, ['--version']).then(
      ({ stdout }) => stdout,
      () => '',
    )
    if (version.startsWith(`v${major}.`)) return node
  }
}

/** The newest of that major version, from the package registry. */
async function install(t: ExecutionContext, major: number): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'swarmgrad-node-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  const quiet = ['--no-audit', '--no-fund', '--no-save', '--loglevel=error']
  await run('npm', ['install', '--prefix', folder, ...quiet, `node@${major}`], { timeout: 240_000 })
  return join(folder, 'node_modules', 'node', 'bin', program)
}

let own: Promise<Hashes> | undefined
const running = Number(process.versions.node.split('.')[0])
for (const major of MAJORS.filter((major) => major !== running)) {
  test.serial(`Node ${major} computes the bits of the running version, in each kernel and in runs`, async (t) => {
    t.timeout(600_000)
    let node: string
    try {
      node = (await installed(major)) ?? (await install(t, major))
    } catch (cause) {
      const what = `there is no Node ${major}, and npm cannot install it from the package registry, so that its bits are not compared`
      throw new Error(what, { cause })
    }
    const [{ version, ...other }, { version: _, ...mine }] = [await hashes(node), await (own ??= hashes(process.execPath))]
    t.log(version)
    t.true(version.startsWith(`v${major}.`), version)
    t.deepEqual(other, mine)
    t.true(Object.values({ ...other.kernels, ...other.runs }).every((hash) => /^[0-9a-f]{64}$/.test(hash)))
  })
}
