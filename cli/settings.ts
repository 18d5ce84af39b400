/** Which value holds: flag, else SWARMGRAD_*, else ./swarmgrad.yaml (or --config), else the user's configuration, else the default. */
import { existsSync, readFileSync } from 'node:fs'
import { join, relative, resolve } from 'node:path'
import { suggest } from '../components/suggest.js'
import { SwarmError } from '../runtime/errors.js'
import { FLAGS, type Flag, type FlagName, type Settings } from './flags.js'

/** Settings, and where they came from. */
export interface ResolvedSettings {
  readonly settings: Settings
  /** Typed on the command line. */
  readonly typed: ReadonlySet<FlagName>
  /** From a configuration file: a definition's own values come before these. */
  readonly configured: ReadonlySet<FlagName>
}

/** What commander found on the command line. */
export type TypedFlags = { readonly [Name in FlagName]?: string | boolean | readonly string[] }

export interface SettingsOptions {
  readonly names: readonly FlagName[]
  readonly flags: TypedFlags
  readonly environment: { readonly [name: string]: string | undefined }
  /** Configuration of the user; undefined: none. */
  readonly userConfig: string | undefined
}

const PROJECT_CONFIG = 'swarmgrad.yaml'

/** @throws `usage` naming the flag, the variable, or the file with its line */
export async function resolveSettings({ names, flags, environment, userConfig }: SettingsOptions): Promise<ResolvedSettings> {
  const settings: Partial<Record<FlagName, unknown>> = {}
  const typed = new Set<FlagName>()
  const configured = new Set<FlagName>()
  for (const name of names) {
    const flag: Flag<unknown> = FLAGS[name]
    const value = flags[name]
    const variable = flag.environment === undefined ? undefined : environment[flag.environment]
    if (value !== undefined) {
      settings[name] = Array.isArray(value) ? value.map((each) => flag.parse(each, nameOf(flag))) : flag.parse(String(value), nameOf(flag))
      typed.add(name)
    } else if (variable !== undefined && variable !== '') settings[name] = flag.parse(variable, flag.environment!)
  }
  for (const { file, values } of await readConfigs(settings.config as string | undefined, userConfig)) {
    for (const name of names) {
      const flag: Flag<unknown> = FLAGS[name]
      const found = flag.key === undefined ? undefined : values.get(flag.key)
      if (found === undefined || settings[name] !== undefined) continue
      settings[name] = flag.parse(found.text, `'${flag.key}' in ${file}:${found.line}`)
      configured.add(name)
    }
  }
  return { settings: settings as Settings, typed, configured }
}

const nameOf = ({ syntax }: Flag<unknown>): string => syntax.split(' ')[0]

interface Config {
  readonly file: string
  readonly values: ReadonlyMap<string, { readonly text: string; readonly line: number }>
}

async function readConfigs(named: string | undefined, userConfig: string | undefined): Promise<Config[]> {
  if (named !== undefined && !existsSync(named)) {
    throw new SwarmError('usage', { what: 'no such configuration', where: named, fix: 'Give --config the path of a YAML file' })
  }
  const files = [named ?? PROJECT_CONFIG, userConfig].filter((file) => file !== undefined && existsSync(file))
  if (files.length === 0) return []
  const yaml = await import('yaml')
  return files.map((file) => readConfig(file!, yaml))
}

/** A mapping of keys to single values; every line is known, so that an error can name it. */
function readConfig(path: string, { parseDocument, LineCounter, isMap, isScalar }: typeof import('yaml')): Config {
  const file = relative(process.cwd(), resolve(path)).startsWith('..') ? path : relative(process.cwd(), resolve(path))
  const lines = new LineCounter()
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (cause) {
    throw new SwarmError('usage', { what: 'cannot read the configuration', where: file, got: (cause as Error).message, cause })
  }
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false })
  const lineOf = (offset: number | undefined) => lines.linePos(offset ?? 0).line
  const [error] = document.errors
  if (error) throw new SwarmError('usage', { what: error.message, where: `${file}:${lineOf(error.pos[0])}` })
  if (document.contents === null) return { file, values: new Map() }
  if (!isMap(document.contents))
    throw new SwarmError('usage', { what: 'the configuration', where: file, expected: 'a mapping of settings' })
  const known = Object.values(FLAGS).flatMap((flag: Flag<unknown>) => flag.key ?? [])
  const values = new Map<string, { text: string; line: number }>()
  for (const { key, value } of document.contents.items) {
    const name = isScalar(key) ? String(key.value) : 'a mapping'
    const line = lineOf(isScalar(key) ? key.range?.[0] : undefined)
    if (!known.includes(name)) {
      throw new SwarmError('usage', { what: `unknown key '${name}'`, where: `${file}:${line}`, fix: suggest(name, known) })
    }
    const content = isScalar(value) ? value.value : null
    if (typeof content !== 'string' && typeof content !== 'number' && typeof content !== 'boolean') {
      throw new SwarmError('usage', { what: `'${name}'`, where: `${file}:${line}`, expected: 'one value' })
    }
    values.set(name, { text: String(content), line })
  }
  return { file, values }
}

/** Where the user's own configuration is. */
export async function userConfigPath(): Promise<string> {
  const { default: envPaths } = await import('env-paths')
  return join(envPaths('swarmgrad', { suffix: '' }).config, 'config.yaml')
}

/** Where what the user's machine lends or runs is kept: hosts, clusters. */
export async function userDataPath(): Promise<string> {
  const { default: envPaths } = await import('env-paths')
  return envPaths('swarmgrad', { suffix: '' }).data
}
