/**
 * Tokens of clusters, which are never flags: in `SWARMGRAD_TOKEN`, or in `tokens.json` beside the user's configuration, which nobody else may
 * read: `{"v":1,"clusters":{"http://control:7070":{"trainer":"…","join":"…","admin":"…"}}}`.
 */
import { chmod, mkdir, readFile, rename, stat, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { SwarmError } from '../runtime/errors.js'
import { userConfigPath } from './settings.js'

/** What a token is good for: to start and watch runs, to lend a machine, or to say whom the cluster trusts. */
export type TokenKind = 'trainer' | 'join' | 'admin'

const TOKENS_VERSION = 1
export const TOKEN_VARIABLE = 'SWARMGRAD_TOKEN'
/** Whoever else on this machine may read or write. */
const OTHERS = 0o077

interface TokenFile {
  readonly v: typeof TOKENS_VERSION
  readonly clusters: { readonly [url: string]: { readonly [kind in TokenKind]?: string } }
}

/** Where the file is. */
export async function tokenPath(): Promise<string> {
  return join(dirname(await userConfigPath()), 'tokens.json')
}

/** The token to show to a cluster: the environment's, else the file's; undefined: there is none. @throws `cluster.token` for a file that others can read */
export async function tokenFor(url: string, kind: TokenKind): Promise<string | undefined> {
  const named = process.env[TOKEN_VARIABLE]?.trim()
  if (named) return named
  return (await readTokens(await tokenPath())).clusters[addressOf(url)]?.[kind]
}

/** Keeps tokens of a cluster for its next commands; those of other kinds and of other clusters stay. @throws `cluster.token` as `tokenFor` */
export async function saveToken(url: string, tokens: { readonly [kind in TokenKind]?: string }): Promise<string> {
  const path = await tokenPath()
  const { clusters } = await readTokens(path)
  const address = addressOf(url)
  const file: TokenFile = { v: TOKENS_VERSION, clusters: { ...clusters, [address]: { ...clusters[address], ...tokens } } }
  await mkdir(dirname(path), { recursive: true })
  const temporary = `${path}.${process.pid}.partial`
  await writeFile(temporary, `${JSON.stringify(file, null, 2)}\n`, { mode: 0o600 })
  // The mode of a file that was left behind is what it was.
  await chmod(temporary, 0o600)
  await rename(temporary, path)
  return path
}

/** One form of an address: without a path's end, with the host's name in lower case. */
function addressOf(url: string): string {
  return URL.canParse(url) ? new URL(url).href.replace(/\/+$/, '') : url
}

/** @throws `cluster.token` */
async function readTokens(path: string): Promise<TokenFile> {
  let text: string
  try {
    const { mode } = await stat(path)
    // Windows keeps a user's folder to him, and has no such bits.
    if (process.platform !== 'win32' && (mode & OTHERS) !== 0) {
      const got = (mode & 0o777).toString(8)
      throw new SwarmError('cluster.token', {
        what: 'others can read the tokens',
        where: path,
        expected: '600',
        got,
        fix: `chmod 600 ${path}`,
      })
    }
    text = await readFile(path, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return { v: TOKENS_VERSION, clusters: {} }
    if (error instanceof SwarmError) throw error
    throw new SwarmError('cluster.token', { what: 'cannot read the tokens', where: path, got: (error as Error).message, cause: error })
  }
  const fix = `Remove the file, and set ${TOKEN_VARIABLE}`
  let file: Partial<TokenFile> | null
  try {
    file = JSON.parse(text) as Partial<TokenFile> | null
  } catch (cause) {
    throw new SwarmError('cluster.token', { what: 'unreadable tokens', where: path, fix, cause })
  }
  if (file?.v === TOKENS_VERSION && typeof file.clusters === 'object') return file as TokenFile
  throw new SwarmError('cluster.token', {
    what: 'tokens of another version',
    where: path,
    expected: TOKENS_VERSION,
    got: String(file?.v),
    fix,
  })
}
