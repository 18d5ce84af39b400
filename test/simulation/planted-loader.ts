/** Loads a planted bug in the place of the module that it is in: `node --import planted-loader.js`, the bug by `SWARMGRAD_PLANTED_BUG`. */
import { readFileSync } from 'node:fs'
import { register } from 'node:module'
import { transformSync } from 'esbuild'
import { PLANTED_BUGS, type PlantedBug } from './planted-bugs.js'

const ROOT = new URL('../../../', import.meta.url)
const HOOKS = `
let planted
export const initialize = (data) => void (planted = data)
export const load = (url, context, next) =>
  url === planted.url ? { format: 'module', source: planted.source, shortCircuit: true } : next(url, context)
`

/** The source with the bug in it. @throws if the patch does not fit */
export function plant({ name, file, find, replace }: PlantedBug): string {
  const source = readFileSync(new URL(file, ROOT), 'utf8')
  const places = source.split(find).length - 1
  if (places !== 1) throw new Error(`planted bug '${name}': ${places} places in ${file}, expected 1`)
  return source.replace(find, () => replace)
}

const wanted = process.env.SWARMGRAD_PLANTED_BUG
const bug = PLANTED_BUGS.find(({ name }) => name === wanted)
if (wanted !== undefined && !bug) throw new Error(`no planted bug '${wanted}'`)
if (bug) {
  const { code } = transformSync(plant(bug), { loader: 'ts', format: 'esm', target: 'node20' })
  const url = new URL(bug.file.replace(/\.ts$/, '.js'), new URL('../../', import.meta.url)).href
  register(`data:text/javascript,${encodeURIComponent(HOOKS)}`, { data: { url, source: code } })
}
