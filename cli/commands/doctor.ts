/** `swarmgrad doctor`. */
import type { CommandContext } from '../command.js'
import { type Check, failure, ok, warn } from '../doctor/check.js'
import { checkCluster } from '../doctor/cluster.js'
import { checkDisk, checkNode, checkPrograms } from '../doctor/machine.js'
import { EXIT, type ExitStatus } from '../exit.js'
import type { Output } from '../output.js'
import { clusterOf } from '../place.js'
import { TOKEN_VARIABLE, tokenFor, tokenPath } from '../tokens.js'

export async function doctor(context: CommandContext): Promise<ExitStatus> {
  const { output } = context
  const counts = { ok: 0, warn: 0, fail: 0 }
  for await (const check of checks(context, clusterOf(context))) {
    counts[check.state]++
    tell(output, check)
  }
  output.record({ type: 'doctor', ...counts })
  output.note(`${counts.ok} in order, ${counts.warn} to look at, ${counts.fail} to repair`)
  return counts.fail > 0 ? EXIT.failed : EXIT.done
}

async function* checks({ store }: CommandContext, url: string | undefined): AsyncGenerator<Check> {
  yield checkNode()
  yield await checkDisk('disk', store)
  yield* await checkPrograms(url === undefined ? 'cluster' : 'host')
  if (url === undefined) return
  let token: string | undefined
  try {
    token = (await tokenFor(url, 'trainer')) ?? (await tokenFor(url, 'join'))
    const where = process.env[TOKEN_VARIABLE] ? TOKEN_VARIABLE : await tokenPath()
    if (token !== undefined) yield ok('token file', `a token in ${where}`)
    else yield warn('token file', `no token for ${url}`, `Set ${TOKEN_VARIABLE}, or put it into ${await tokenPath()}`)
  } catch (error) {
    yield failure('token file', error)
  }
  yield* checkCluster(url, token)
}

function tell(output: Output, { name, state, found, fix }: Check): void {
  output.record({ type: 'check', name, state, found, fix: fix ?? null })
  const { style } = output
  const sign = { ok: style.green('✔'), warn: style.yellow('!'), fail: style.red('✘') }[state]
  output.result(`${sign} ${state.padEnd(4)} ${style.bold(name.padEnd(11))} ${found}${fix === undefined ? '' : `. ${fix}`}`)
}
