/** Where the server programs are. */
import { execFile } from 'node:child_process'
import { constants } from 'node:fs'
import { access, realpath, stat } from 'node:fs/promises'
import { homedir } from 'node:os'
import { delimiter, join, resolve } from 'node:path'
import { promisify } from 'node:util'
import envPaths from 'env-paths'
import { SwarmError } from '../errors.js'
import { DAPR_PROGRAMS, isDaprProgram, type Origin, type Program, type ProgramName, PROGRAMS } from './programs.js'

/** Folders to look in; tests give others. */
export interface Places {
  readonly environment?: { readonly [name: string]: string | undefined }
  readonly home?: string
  readonly cacheFolder?: string
}

/** The oldest and the newest Dapr that this was run with. */
export const DAPR_VERSIONS = { from: [1, 14], to: [1, 18] } as const

/** A program that does not answer to `--version` within this is none. */
const VERSION_TIMEOUT_MS = 10_000

/** Where programs that were built here are kept. */
export function programCache({ cacheFolder }: Places = {}): string {
  return cacheFolder ?? join(envPaths('swarmgrad', { suffix: '' }).cache, 'services')
}

/**
 * The program, from the first of: the folder `SWARMGRAD_SERVICES`, PATH, `~/.dapr/bin`, our own cache. Programs of Dapr come from the
 * first place that has them all in a version that fits.
 * @throws `service.missing` with what to do
 */
export async function findProgram(name: ProgramName, places: Places = {}): Promise<Program> {
  const { found, passed } = await (isDaprProgram(name) ? findDapr(places) : findOne(name, places))
  const program = found.find((each) => each.name === name)
  if (program) return program
  throw new SwarmError('service.missing', {
    what: `${name} is not installed`,
    got: passed.length > 0 ? passed.join('; ') : undefined,
    fix: `Run 'swarmgrad services install', put it into PATH, or name its folder in SWARMGRAD_SERVICES`,
  })
}

/** All programs that are there. */
export async function findPrograms(places: Places = {}): Promise<Program[]> {
  const alone = PROGRAMS.filter((name) => !isDaprProgram(name))
  const all = await Promise.all([findDapr(places), ...alone.map((name) => findOne(name, places))])
  return all.flatMap(({ found }) => found)
}

interface Search {
  readonly found: readonly Program[]
  /** What was there and did not fit, in words. */
  readonly passed: readonly string[]
}

async function findOne(name: ProgramName, places: Places): Promise<Search> {
  const passed: string[] = []
  for (const { folder, origin } of foldersOf(places)) {
    const path = await executable(folder, name)
    if (path === undefined) continue
    try {
      return { found: [{ name, path, origin, version: await versionOf(path), sizeBytes: (await stat(path)).size }], passed }
    } catch (error) {
      passed.push(`${path} does not run (${(error as Error).message.split('\n')[0]})`)
    }
  }
  return { found: [], passed }
}

async function findDapr(places: Places): Promise<Search> {
  const passed: string[] = []
  for (const { folder, origin } of foldersOf(places)) {
    const paths = await Promise.all(DAPR_PROGRAMS.map((name) => executable(folder, name)))
    const [daprd] = paths
    if (daprd === undefined) continue
    const missing = DAPR_PROGRAMS.filter((_, index) => paths[index] === undefined)
    if (missing.length > 0) {
      passed.push(`${daprd} has no ${missing.join(' and no ')} beside it`)
      continue
    }
    try {
      const version = await versionOf(daprd)
      if (isSupportedDapr(version)) {
        const sizes = await Promise.all(paths.map(async (path) => (await stat(path!)).size))
        const found = DAPR_PROGRAMS.map((name, index) => ({ name, path: paths[index]!, version, origin, sizeBytes: sizes[index] }))
        return { found, passed }
      }
      passed.push(`${daprd} is of version ${version}, expected ${DAPR_VERSIONS.from.join('.')} to ${DAPR_VERSIONS.to.join('.')}`)
    } catch (error) {
      passed.push(`${daprd} does not run (${(error as Error).message.split('\n')[0]})`)
    }
  }
  return { found: [], passed }
}

/** In the order in which they are looked at. */
function foldersOf(places: Places): { folder: string; origin: Origin }[] {
  const { environment = process.env, home = homedir() } = places
  const { SWARMGRAD_SERVICES: named, PATH = '' } = environment
  return [
    ...(named ? [{ folder: resolve(named), origin: 'SWARMGRAD_SERVICES' as const }] : []),
    ...PATH.split(delimiter).flatMap((folder) => (folder === '' ? [] : [{ folder, origin: 'PATH' as const }])),
    { folder: join(home, '.dapr', 'bin'), origin: 'Dapr' },
    { folder: programCache(places), origin: 'cache' },
  ]
}

export function fileNameOf(name: ProgramName): string {
  return process.platform === 'win32' ? `${name}.exe` : name
}

async function executable(folder: string, name: ProgramName): Promise<string | undefined> {
  const path = join(folder, fileNameOf(name))
  try {
    await access(path, constants.X_OK)
    // Links of package managers: the real folder has the others of the family, too.
    return (await stat(path)).isFile() ? await realpath(path) : undefined
  } catch {
    return undefined
  }
}

/** The version in what a program says: `1.14.4`, `nats-server: v2.14.5`, `minio version RELEASE.2025-09-07T16-13-09Z (…)`. */
export async function versionOf(path: string): Promise<string> {
  const { stdout, stderr } = await promisify(execFile)(path, ['--version'], { timeout: VERSION_TIMEOUT_MS })
  const text = (stdout || stderr).trim().split('\n')[0]
  return /(RELEASE|DEVELOPMENT)\.\S+/.exec(text)?.[0] ?? /\d+\.\d+\.\d+\S*/.exec(text)?.[0] ?? text
}

function isSupportedDapr(version: string): boolean {
  const [major, minor] = version.split('.').map(Number)
  const { from, to } = DAPR_VERSIONS
  return major === from[0] && minor >= from[1] && minor <= to[1]
}
