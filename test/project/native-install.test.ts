/** `npm run native:install` where it cannot succeed: what it says before it fetches anything. */
import { mkdir, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { repository, run, said, temporaryFolder } from './repository.js'

const DEADLINE_MS = 20_000
const NEEDED = [
  'bash',
  'uname',
  'dirname',
  'cat',
  'sha256sum',
  'cut',
  'grep',
  'mkdir',
  'df',
  'awk',
  'node',
  'npm',
  'g++',
  'unzip',
  'mvn',
  'python3',
]

/** `stub` replaces programs by scripts. */
interface Setting {
  readonly args?: readonly string[]
  readonly without?: readonly string[]
  readonly stub?: { readonly [name: string]: string }
  readonly env?: NodeJS.ProcessEnv
}

/** Runs it in an empty cache, with nothing in PATH but these programs. */
async function install(t: ExecutionContext, { args = [], without = [], stub = {}, env = {} }: Setting) {
  const folder = await temporaryFolder(t)
  const bin = join(folder, 'bin')
  await mkdir(bin)
  for (const name of NEEDED.filter((each) => !without.includes(each) && !(each in stub))) {
    const { stdout } = await run('bash', ['-c', `command -v ${name}`], { cwd: folder, deadlineMs: DEADLINE_MS })
    // What this machine lacks is only looked for.
    if (stdout.trim()) await symlink(stdout.trim(), join(bin, name))
    else await writeFile(join(bin, name), '#!/bin/sh\nexit 0\n', { mode: 0o755 })
  }
  for (const [name, script] of Object.entries(stub)) await writeFile(join(bin, name), `#!/bin/sh\n${script}\n`, { mode: 0o755 })
  return run(join(bin, 'bash'), [join(repository, 'native/install.sh'), ...args], {
    cwd: folder,
    env: { PATH: bin, SWARMGRAD_NATIVE: join(folder, 'cache'), SWARMGRAD_NATIVE_SOURCE: '', ...env },
    deadlineMs: DEADLINE_MS,
  })
}

for (const [what, { setting, expected }] of Object.entries<{ setting: Setting; expected: RegExp }>({
  'an unknown argument': { setting: { args: ['--cuda'] }, expected: /unknown argument '--cuda'; expected: --gpu/ },
  'no compiler': { setting: { without: ['g++'] }, expected: /g\+\+ is needed.*apt-get install g\+\+/ },
  'no unzip': { setting: { without: ['unzip'] }, expected: /unzip is needed/ },
  'neither Maven nor pip': { setting: { without: ['mvn', 'python3'] }, expected: /Maven \(mvn\) or pip.*is needed/ },
  'another source': { setting: { env: { SWARMGRAD_NATIVE_SOURCE: 'conda' } }, expected: /expected maven or pip, got 'conda'/ },
  'no Maven where it is asked for': { setting: { without: ['mvn'], env: { SWARMGRAD_NATIVE_SOURCE: 'maven' } }, expected: /mvn is needed/ },
  'another operating system': { setting: { stub: { uname: 'echo Darwin' } }, expected: /Darwin is not supported.*--backend wasm/ },
  'another processor': {
    setting: { stub: { uname: '[ "$1" = -s ] && echo Linux || echo riscv64' } },
    expected: /no TensorFlow for riscv64/,
  },
  'a GPU beside an ARM processor': {
    setting: { args: ['--gpu'], stub: { uname: '[ "$1" = -s ] && echo Linux || echo aarch64' } },
    expected: /no TensorFlow for aarch64 \(gpu\)/,
  },
  'a full disk': { setting: { stub: { df: 'echo head; echo x x x 700 x x' } }, expected: /1366 MB of disk are needed.*has 700/ },
})) {
  test(`the installer of the native backend says what to do about ${what}`, async (t) => {
    const ended = await install(t, setting)
    t.true(ended.status !== 0 && ended.status !== null, said(ended))
    t.regex(ended.stderr, expected)
    t.is(ended.stderr.trim().split('\n').length, 1, 'one line')
  })
}

test('the installer of the native backend takes no package that is not what it was', async (t) => {
  const packed = 'for word; do last=$word; done; echo changed > package.tgz; echo package.tgz'
  const ended = await install(t, {
    stub: {
      npm: packed,
      tail: 'exec /usr/bin/env PATH=/usr/bin:/bin tail "$@"',
      mktemp: 'mkdir "$SWARMGRAD_NATIVE/work"; echo "$SWARMGRAD_NATIVE/work"',
      rm: 'exit 0',
    },
  })
  t.is(ended.status, 1, said(ended))
  t.regex(ended.stderr, /tfjs-node@4\.22\.0 is not what it was: another SHA-512/)
})
