/** Where server programs are found, and how they get into the cache: with programs and a Go that are shell scripts. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import test, { type ExecutionContext } from 'ava'
import { findProgram, findPrograms, type Places } from '../../runtime/services/find.js'

const MAIN = fileURLToPath(new URL('../../cli/main.js', import.meta.url))
const TOOLS = fileURLToPath(new URL('../../../dapr/tools/tools.json', import.meta.url))
const ALL = ['daprd', 'minio', 'nats-server', 'placement', 'scheduler']

interface Machine {
  readonly folder: string
  readonly places: Places & { readonly cacheFolder: string }
  readonly named: string
  readonly path: string
  readonly dapr: string
}

/** A machine without any program: all places, empty. */
async function machine(t: ExecutionContext): Promise<Machine> {
  const folder = await mkdtemp(join(tmpdir(), 'swarmgrad-services-'))
  t.teardown(() => rm(folder, { recursive: true, force: true, maxRetries: 5 }))
  const [named, path, home, cacheFolder] = ['named', 'path', 'home', 'cache/swarmgrad/services'].map((name) => join(folder, name))
  const dapr = join(home, '.dapr/bin')
  for (const each of [named, path, dapr, cacheFolder]) await mkdir(each, { recursive: true })
  const environment = { SWARMGRAD_SERVICES: named, PATH: [path, join(folder, 'missing')].join(delimiter) }
  return { folder, places: { environment, home, cacheFolder: cacheFolder }, named: named, path: path, dapr }
}

async function script(path: string, text: string): Promise<void> {
  await writeFile(path, `#!/bin/sh\n${text}\n`)
  await chmod(path, 0o755)
}

const program = (folder: string, name: string, says: string) => script(join(folder, name), `echo "${says}"`)

async function family(folder: string, version: string): Promise<void> {
  for (const name of ['daprd', 'placement', 'scheduler']) await program(folder, name, version)
}

test('programs are taken from the named folder, then PATH, then the cache', async (t) => {
  const { places, named, path } = await machine(t)
  await t.throwsAsync(findProgram('nats-server', places), { code: 'service.missing', message: /swarmgrad services install/ })
  for (const [folder, origin] of [
    [places.cacheFolder, 'cache'],
    [path, 'PATH'],
    [named, 'SWARMGRAD_SERVICES'],
  ] as const) {
    await program(folder, 'nats-server', 'nats-server: v2.14.5')
    const { path: found, version, origin: from, sizeBytes } = await findProgram('nats-server', places)
    t.deepEqual([found, version, from], [join(folder, 'nats-server'), '2.14.5', origin])
    t.true(sizeBytes > 0)
  }
})

test('the version is what the program says', async (t) => {
  const { places, path } = await machine(t)
  const versionOf = async (says: string) => {
    await program(path, 'minio', says)
    return (await findProgram('minio', places)).version
  }
  t.is(await versionOf('minio version RELEASE.2025-09-07T16-13-09Z (commit-id=07c3a42)'), 'RELEASE.2025-09-07T16-13-09Z')
  t.is(await versionOf('minio version DEVELOPMENT.GOGET (commit-id=DEVELOPMENT.GOGET)'), 'DEVELOPMENT.GOGET')
})

test('a program that does not run is passed over, and named if there is no other', async (t) => {
  const { places, path } = await machine(t)
  await script(join(path, 'minio'), 'exit 1')
  await t.throwsAsync(findProgram('minio', places), { code: 'service.missing', message: /path\/minio does not run/ })
  await program(places.cacheFolder, 'minio', 'minio version RELEASE.x')
  t.is((await findProgram('minio', places)).origin, 'cache')
})

test('the programs of Dapr come from one place, which has them all in a version that fits', async (t) => {
  const { places, named, path, dapr } = await machine(t)
  await program(named, 'daprd', '1.16.0')
  await t.throwsAsync(findProgram('placement', places), { code: 'service.missing', message: /has no placement and no scheduler beside it/ })
  await family(path, '1.13.2')
  await t.throwsAsync(findProgram('daprd', places), { code: 'service.missing', message: /version 1.13.2, expected 1.14 to 1.18/ })
  await family(dapr, '1.18.3')
  await family(places.cacheFolder, '1.14.4')
  for (const name of ['daprd', 'placement', 'scheduler'] as const) {
    const { path: found, version, origin } = await findProgram(name, places)
    t.deepEqual([found, version, origin], [join(dapr, name), '1.18.3', 'Dapr'])
  }
  t.is((await findPrograms(places)).length, 3)
})

/** A Go that writes scripts where programs are wanted. It waits where `$STALL` says until that file is gone. */
const GO = `
case "$1" in
  version) echo "go version \${GO_SAYS:-go1.26.1} linux/amd64" ;;
  mod)
    case "$4" in
      *nats*) sum=NATS_SUM ;;
      *minio*) sum=\${MINIO_SUM:-REAL_MINIO_SUM} ;;
      *) sum=any ;;
    esac
    : > go.sum
    echo "{ \\"Dir\\": \\"$PWD\\", \\"Sum\\": \\"$sum\\" }" ;;
  install)
    case "$*" in *minio*) name=minio ;; *) name=nats-server ;; esac
    echo "#!/bin/sh" > "$GOBIN/$name"
    chmod +x "$GOBIN/$name"
    [ -z "$STALL" ] || { echo stalled >> "$STALL"; exec sleep 600; }
    echo "echo v2.14.5" >> "$GOBIN/$name" ;;
  build)
    for name in daprd placement scheduler; do
      printf '#!/bin/sh\\necho 1.14.4\\n' > "../$name"
      chmod +x "../$name"
    done ;;
esac
`

async function withGo(t: ExecutionContext): Promise<Machine> {
  const made = await machine(t)
  const sums = JSON.parse(await readFile(TOOLS, 'utf8')) as Record<string, { sum: string }>
  await script(join(made.path, 'go'), GO.replace('REAL_MINIO_SUM', sums.minio.sum).replace('NATS_SUM', sums['nats-server'].sum))
  for (const tool of ['chmod', 'sleep']) await symlink(`/bin/${tool}`, join(made.path, tool))
  return made
}

interface Ended {
  readonly status: number | string | null
  readonly lines: readonly { readonly type: string; readonly [field: string]: unknown }[]
}

function command(t: ExecutionContext, { folder, path }: Machine, action: string, environment: Record<string, string> = {}) {
  const env = { PATH: path, HOME: join(folder, 'home'), XDG_CACHE_HOME: join(folder, 'cache'), ...environment }
  const child: ChildProcess = spawn(process.execPath, [MAIN, 'services', action, '--json'], {
    cwd: folder,
    env,
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  t.teardown(() => child.kill('SIGKILL'))
  let text = ''
  child.stdout!.setEncoding('utf8').on('data', (more: string) => (text += more))
  const ended = (async (): Promise<Ended> => {
    const [code, signal] = (await once(child, 'close')) as [number | null, string | null]
    const lines = text.split('\n').filter((line) => line !== '')
    return { status: signal ?? code, lines: lines.map((line) => JSON.parse(line) as Ended['lines'][number]) }
  })()
  return { child, ended }
}

// Skipped elsewhere: Linux alone has a cache folder that a variable can move (XDG_CACHE_HOME), and without that the test would look into the real one.
const onLinux = process.platform === 'linux' ? test : test.skip

onLinux('what is missing is built, found the next time, and removed', async (t) => {
  const made = await withGo(t)
  const listed = await command(t, made, 'list').ended
  t.deepEqual(listed, { status: 1, lines: [] })
  const built = await command(t, made, 'install').ended
  t.is(built.status, 0, JSON.stringify(built.lines))
  t.deepEqual(built.lines.map(({ name }) => String(name)).sort(), ALL)
  t.true(built.lines.every(({ origin, builtMs }) => origin === 'cache' && typeof builtMs === 'number'))
  t.deepEqual((await readdir(made.places.cacheFolder)).sort(), ALL)
  await rm(join(made.path, 'go'))
  const again = await command(t, made, 'install').ended
  t.deepEqual([again.status, again.lines.length], [0, 5], 'nothing is built twice')
  t.true(again.lines.every(({ builtMs, version }) => builtMs === null && typeof version === 'string'))
  const removed = await command(t, made, 'remove').ended
  t.deepEqual(removed.lines.map(({ name }) => String(name)).sort(), ALL)
  t.deepEqual(await readdir(made.places.cacheFolder), [])
})

onLinux('two installers at once both succeed', async (t) => {
  const made = await withGo(t)
  const both = await Promise.all([command(t, made, 'install').ended, command(t, made, 'install').ended])
  for (const { status, lines } of both) t.deepEqual([status, lines.length], [0, 5])
  t.deepEqual((await readdir(made.places.cacheFolder)).sort(), ALL)
})

for (const [signal, status] of [
  ['SIGKILL', 'SIGKILL'],
  ['SIGINT', 130],
] as const) {
  onLinux(`a build that is ended by ${signal} leaves no program, and the next one clears up`, async (t) => {
    const made = await withGo(t)
    const stall = join(made.folder, 'stall')
    const fifo = spawn('mkfifo', [stall])
    await once(fifo, 'exit')
    const { child, ended } = command(t, made, 'install', { STALL: stall })
    // Opening it waits for the build, which is then in the middle of a program.
    t.is(await readFile(stall, 'utf8'), 'stalled\n')
    child.kill(signal)
    t.is((await ended).status, status)
    t.deepEqual(
      (await readdir(made.places.cacheFolder)).filter((name) => !name.startsWith('.')),
      [],
    )
    t.is((await command(t, made, 'install').ended).status, 0)
    t.deepEqual((await readdir(made.places.cacheFolder)).sort(), ALL)
  })
}

onLinux('sources that are not those that were pinned are not built', async (t) => {
  const made = await withGo(t)
  const { status, lines } = await command(t, made, 'install', { MINIO_SUM: 'h1:other' }).ended
  t.deepEqual([status, lines.at(-1)!.code], [1, 'service.failed'])
  t.regex(String(lines.at(-1)!.message), /not those that were pinned.*got h1:other/)
})

onLinux('without Go, or with an old one, it is said what to do', async (t) => {
  const made = await withGo(t)
  const old = await command(t, made, 'install', { GO_SAYS: 'go1.22.2' }).ended
  t.is(old.lines[0].code, 'service.missing')
  t.regex(String(old.lines[0].message), /expected Go 1.26 or newer, got 1.22.2. Install Go/)
  await rm(join(made.path, 'go'))
  const none = await command(t, made, 'install').ended
  t.regex(String(none.lines[0].message), /got no go command. Install Go/)
})

test('an unknown action is an error of usage', async (t) => {
  const { status, lines } = await command(t, await machine(t), 'instal').ended
  t.deepEqual([status, lines[0].code], [2, 'usage'])
  t.regex(String(lines[0].message), /Did you mean 'install'\?/)
})
