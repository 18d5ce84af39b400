/** Builds the server programs that this machine lacks. */
import { randomUUID } from 'node:crypto'
import { mkdir, mkdtemp, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { z } from 'zod'
import { systemClock } from '../clock.js'
import { SwarmError } from '../errors.js'
import { isGone, processIdentity } from '../object-store/process-identity.js'
import { findPrograms, fileNameOf, type Places, programCache, versionOf } from './find.js'
import { requireGo, runGo } from './go.js'
import { DAPR_PROGRAMS, type Program, type ProgramName, PROGRAMS } from './programs.js'

export interface InstallOptions {
  readonly places?: Places
  /** Build even what is found elsewhere; what is in the cache is replaced. Default false. */
  readonly isForced?: boolean
  /** Called before each build. */
  readonly onBuild?: (names: readonly ProgramName[], version: string) => void
  readonly signal?: AbortSignal
}

/** A program that is there now. */
export interface InstalledProgram extends Program {
  /** What its build took; undefined if it was there before. */
  readonly builtMs?: number
}

/** What is built, and in which version: dapr/tools. */
const TOOLS = fileURLToPath(new URL('../../../dapr/tools/', import.meta.url))
const DAPR_MODULE = 'github.com/dapr/dapr'

const PINS = z.strictObject({ module: z.string(), version: z.string(), sum: z.string() })
const TOOLS_FILE = z.strictObject({ 'nats-server': PINS, minio: PINS })

/** Programs that are built together. */
interface Build {
  readonly names: readonly ProgramName[]
  readonly version: string
  /** Writes the programs into `folder`, which holds nothing else. */
  run(folder: string, signal?: AbortSignal): Promise<void>
}

/**
 * Looks for every program, and builds what is missing from sources of a pinned version with a known checksum. What is built is moved into
 * the cache when it is whole and runs: a reader never sees a part, two installers at once both succeed, and what a killed one leaves is
 * removed by the next.
 * @throws `service.missing` if something must be built and there is no Go; `service.failed`; `aborted`
 */
export async function installPrograms(options: InstallOptions = {}): Promise<InstalledProgram[]> {
  const { places = {}, isForced = false, onBuild, signal } = options
  const found = isForced ? [] : await findPrograms(places)
  const isMissing = (name: ProgramName) => !found.some((program) => program.name === name)
  const builds = (await allBuilds()).filter(({ names }) => names.some(isMissing))
  if (builds.length === 0) return found
  await requireGo(builds.flatMap(({ names }) => names).join(', '))
  const cache = programCache(places)
  await mkdir(cache, { recursive: true })
  await sweep(cache)
  const tookMs = new Map<ProgramName, number>()
  for (const build of builds) {
    onBuild?.(build.names, build.version)
    const begunMs = systemClock.now()
    await buildInto(cache, build, signal)
    for (const name of build.names) tookMs.set(name, systemClock.now() - begunMs)
  }
  const now = await findPrograms(places)
  return now.map((program) => {
    const builtMs = program.origin === 'cache' ? tookMs.get(program.name) : undefined
    return builtMs === undefined ? program : { ...program, builtMs }
  })
}

/** Removes what was built here; what is elsewhere is not ours. Resolves to what is gone. */
export async function removePrograms(places: Places = {}): Promise<{ name: ProgramName; path: string; sizeBytes: number }[]> {
  const cache = programCache(places)
  const removed: { name: ProgramName; path: string; sizeBytes: number }[] = []
  for (const name of PROGRAMS) {
    const path = join(cache, fileNameOf(name))
    try {
      const { size: sizeBytes } = await stat(path)
      await rm(path)
      removed.push({ name, path, sizeBytes })
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw notWritable(path, error)
    }
  }
  await sweep(cache)
  return removed
}

async function buildInto(cache: string, build: Build, signal?: AbortSignal): Promise<void> {
  const { names } = build
  // Beside the programs, so that they can be moved; named after this process, so that others see whether it still works.
  const folder = join(cache, `${BUILD_PREFIX}${processIdentity()}.${randomUUID()}`)
  try {
    await mkdir(folder)
    await build.run(folder, signal)
    for (const name of names) if (hasVersion(name)) await runs(join(folder, fileNameOf(name)))
    // daprd last: it is what the family is found by.
    for (const name of names.toReversed()) await rename(join(folder, fileNameOf(name)), join(cache, fileNameOf(name)))
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

const BUILD_PREFIX = '.build-'

/** Removes what builds of processes that are gone have left. */
async function sweep(cache: string): Promise<void> {
  for (const name of await readdir(cache).catch(() => [])) {
    const identity = name.startsWith(BUILD_PREFIX) ? name.slice(BUILD_PREFIX.length).split('.')[0] : undefined
    if (identity !== undefined && isGone(identity)) await rm(join(cache, name), { recursive: true, force: true })
  }
}

const hasVersion = (name: ProgramName): boolean => name !== 'placement' && name !== 'scheduler'

async function runs(path: string): Promise<void> {
  try {
    await versionOf(path)
  } catch (cause) {
    throw new SwarmError('service.failed', { what: 'a program that was just built does not run', where: path, cause })
  }
}

async function allBuilds(): Promise<Build[]> {
  const pins = TOOLS_FILE.parse(JSON.parse(await readFile(join(TOOLS, 'tools.json'), 'utf8')))
  const goMod = await readFile(join(TOOLS, 'go.mod'), 'utf8')
  const dapr = new RegExp(`^require ${DAPR_MODULE} (v\\S+)$`, 'm').exec(goMod)?.[1]
  if (dapr === undefined) throw new SwarmError('internal', { what: `no version of ${DAPR_MODULE} in go.mod`, where: TOOLS })
  const others = (['nats-server', 'minio'] as const).map((name): Build => {
    const { module, version, sum } = pins[name]
    return { names: [name], version, run: (folder, signal) => buildModule(folder, { module, version, sum, name, signal }) }
  })
  return [...others, { names: DAPR_PROGRAMS, version: dapr, run: (folder, signal) => buildDapr(folder, dapr, signal) }]
}

interface ModuleBuild {
  readonly name: ProgramName
  readonly module: string
  readonly version: string
  /** Of the whole module, as go.sum has it. */
  readonly sum: string
  readonly signal?: AbortSignal
}

async function buildModule(folder: string, { name, module, version, sum, signal }: ModuleBuild): Promise<void> {
  const { Sum: got } = await download(folder, `${module}@${version}`, signal)
  if (got !== sum) {
    throw new SwarmError('service.failed', {
      what: `the sources of ${name} are not those that were pinned`,
      where: version,
      expected: sum,
      got,
    })
  }
  const environment = { CGO_ENABLED: '0', GOBIN: folder }
  await runGo(['install', '-ldflags', linkerFlags(name, version), `${module}@${version}`], { folder, environment, signal })
}

/** MinIO does not say its version unless it is told. */
function linkerFlags(name: ProgramName, version: string): string {
  if (name !== 'minio') return '-s -w'
  const [, time = '', commit = ''] = /(\d{14})-([0-9a-f]{12})$/.exec(version) ?? []
  const tag = time.replace(/^(....)(..)(..)(..)(..)(..)$/, 'DEVELOPMENT.$1-$2-$3T$4-$5-$6Z')
  return `-s -w -X github.com/minio/minio/cmd.ReleaseTag=${tag} -X github.com/minio/minio/cmd.ShortCommitID=${commit}`
}

async function buildDapr(folder: string, version: string, signal?: AbortSignal): Promise<void> {
  const sources = await mkdtemp(join(folder, 'sources-'))
  const sums = await readFile(join(TOOLS, 'go.sum'), 'utf8')
  await writeFile(join(sources, 'go.mod'), await readFile(join(TOOLS, 'go.mod')))
  await writeFile(join(sources, 'go.sum'), sums)
  // Checked against our go.sum. Dapr's own has what the checksum service lacks.
  const { Dir } = await download(sources, DAPR_MODULE, signal)
  await writeFile(join(sources, 'go.sum'), sums + (await readFile(join(Dir, 'go.sum'), 'utf8')))
  const number = version.slice(1)
  const linker = `-s -w -X ${DAPR_MODULE}/pkg/buildinfo.version=${number} -X github.com/dapr/kit/logger.DaprVersion=${number}`
  const commands = DAPR_PROGRAMS.map((name) => `${DAPR_MODULE}/cmd/${name}`)
  // Without such a tag daprd ends at once; this one has the components that are not experimental.
  const args = ['build', '-mod=mod', '-tags', 'stablecomponents', '-ldflags', linker, '-o', `${folder}/`, ...commands]
  await runGo(args, { folder: sources, environment: { CGO_ENABLED: '0' }, signal })
}

const DOWNLOADED = z.object({ Dir: z.string(), Sum: z.string() })

/** The sources of a module, from the Go module registry or Go's own cache. */
async function download(folder: string, module: string, signal?: AbortSignal): Promise<z.infer<typeof DOWNLOADED>> {
  return DOWNLOADED.parse(JSON.parse(await runGo(['mod', 'download', '-json', module], { folder, signal })))
}

function notWritable(path: string, cause: unknown): SwarmError {
  return new SwarmError('service.failed', { what: 'cannot remove a program', where: path, got: (cause as Error).message, cause })
}
