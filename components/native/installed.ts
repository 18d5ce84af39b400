/** What `npm run native:install` has installed (native/install.sh), and where. Nothing here loads it. */
import { readFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { SwarmError } from '../../runtime/errors.js'
import type { BackendName } from '../backends.js'

/** TensorFlow for the processor or for a GPU. */
export type Kind = 'cpu' | 'gpu'

export interface Installed {
  readonly folder: string
  /** Version of TensorFlow. */
  readonly tensorflow: string
}

const FORMAT = 1
/** What the addon was written against and tested with. */
export const TENSORFLOW = '2.18'
const INSTALLER = fileURLToPath(new URL('../../../native/install.sh', import.meta.url))

/** What to type. */
export const installCommand = (kind: Kind): string => `bash ${INSTALLER}${kind === 'gpu' ? ' --gpu' : ''}`

type Environment = { readonly [name: string]: string | undefined }

/** The folder of all kinds. */
export function nativeFolder(environment: Environment = process.env): string {
  const { SWARMGRAD_NATIVE: named, XDG_CACHE_HOME: caches } = environment
  return named ? resolve(named) : join(caches || join(homedir(), '.cache'), 'swarmgrad', 'native')
}

/** Finds it. @throws `backend.missing` where there is none, `backend.unsuitable` where it is another than this version needs */
export function findInstalled(kind: Kind, environment: Environment = process.env): Installed {
  const folder = join(nativeFolder(environment), kind)
  const file = join(folder, 'installed.json')
  let text: string
  try {
    text = readFileSync(file, 'utf8')
  } catch (cause) {
    const what = `backend '${kind === 'gpu' ? 'gpu' : 'native'}' is not installed on this machine`
    const fix = `Install it: ${installCommand(kind)}${kind === 'gpu' ? '' : ' (or npm run native:install)'}; or go on with --backend wasm`
    throw new SwarmError('backend.missing', { what, where: folder, fix, cause })
  }
  const { v, tensorflow } = parsed(text)
  if (v === FORMAT && tensorflow !== undefined) return { folder, tensorflow }
  throw unsuitable(kind, folder, { where: file, expected: `what its installer writes, version ${FORMAT}`, got: `version ${String(v)}` })
}

/** Says at once that a backend is not there, before workers look for it. @throws `backend.missing`, `backend.unsuitable` */
export function assertInstalled(backend: BackendName): void {
  if (backend !== 'wasm') findInstalled(backend === 'gpu' ? 'gpu' : 'cpu')
}

/** An installation that cannot be used. */
export function unsuitable(
  kind: Kind,
  folder: string,
  parts: { readonly where: string; readonly expected?: string; readonly got?: string; readonly cause?: unknown },
): SwarmError {
  const fix = `Install it anew: rm -r ${folder}; ${installCommand(kind)}`
  return new SwarmError('backend.unsuitable', { what: 'the TensorFlow that is installed cannot be used', fix, ...parts })
}

function parsed(text: string): { v?: unknown; tensorflow?: string } {
  try {
    const { v, tensorflow } = JSON.parse(text) as { v?: unknown; tensorflow?: unknown }
    return { v, tensorflow: typeof tensorflow === 'string' ? tensorflow : undefined }
  } catch {
    return {}
  }
}
