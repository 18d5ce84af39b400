/** Which processor this is, as far as TensorFlow chooses its code by it. */
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { cpus } from 'node:os'

/** Fields of /proc/cpuinfo that say what it can do; others are of one core, or change. */
const FIELDS = [
  'vendor_id',
  'cpu family',
  'model',
  'model name',
  'cache size',
  'flags',
  'CPU implementer',
  'CPU part',
  'CPU variant',
  'Features',
]

/** Its name, with a hash of its features and of the size of its cache: machines that rent out processors give many of them one name. */
export function processor(): string {
  const name = cpus()[0]?.model.trim() || 'processor'
  const [first] = readFileSync('/proc/cpuinfo', 'utf8').split('\n\n')
  const fields = new Map(first.split('\n').map((line) => line.split(/\s*:\s*/, 2) as [string, string]))
  const said = FIELDS.map((field) => `${field} ${fields.get(field) ?? ''}`).join('\n')
  return `${name} ${createHash('sha256').update(said).digest('hex').slice(0, 8)}`
}
