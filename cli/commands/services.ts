/** `swarmgrad services`. */
import { installPrograms, removePrograms } from '../../runtime/services/install.js'
import { findPrograms, type Program, programCache, PROGRAMS } from '../../runtime/services/index.js'
import { suggest } from '../../components/suggest.js'
import { SwarmError } from '../../runtime/errors.js'
import type { CommandContext } from '../command.js'
import { EXIT, type ExitStatus } from '../exit.js'
import type { Output } from '../output.js'
import { watchSignals } from '../signals.js'
import { duration, size } from '../view/format.js'
import { table } from '../view/table.js'

const ACTIONS = { install, list, remove } as const

export async function services({ output }: CommandContext, action: string): Promise<ExitStatus> {
  if (!Object.hasOwn(ACTIONS, action)) {
    const names = Object.keys(ACTIONS)
    throw new SwarmError('usage', { what: `unknown action '${action}'`, expected: names.join(', '), fix: suggest(action, names) })
  }
  return ACTIONS[action as keyof typeof ACTIONS](output)
}

async function install(output: Output): Promise<ExitStatus> {
  const stop = new AbortController()
  let status: ExitStatus = EXIT.done
  const signals = watchSignals({
    onFirst(asked) {
      status = asked
      stop.abort()
    },
    onSecond() {},
  })
  try {
    const programs = await installPrograms({
      signal: stop.signal,
      onBuild: (names, version) => output.note(`building ${names.join(', ')} ${version}: this takes minutes the first time`),
    })
    show(output, programs)
    return EXIT.done
  } catch (error) {
    // Asked to end: that is no error.
    if (status === EXIT.done) throw error
    output.note('nothing was installed')
    return status
  } finally {
    signals.stop()
  }
}

async function list(output: Output): Promise<ExitStatus> {
  const programs = await findPrograms()
  show(output, programs)
  const missing = PROGRAMS.filter((name) => !programs.some((program) => program.name === name))
  if (missing.length > 0) output.note(`missing: ${missing.join(', ')}; build them with: swarmgrad services install`)
  return missing.length > 0 ? EXIT.failed : EXIT.done
}

async function remove(output: Output): Promise<ExitStatus> {
  const removed = await removePrograms()
  for (const { name, path, sizeBytes } of removed) {
    output.record({ type: 'removed', name, path, sizeBytes })
    output.result(`removed ${name}, ${size(sizeBytes)}`)
  }
  if (removed.length === 0) output.note(`nothing was built into ${programCache()}`)
  return EXIT.done
}

function show(output: Output, programs: readonly (Program & { readonly builtMs?: number })[]): void {
  const rows = programs.map(({ name, version, origin, path, sizeBytes, builtMs }) => {
    output.record({ type: 'program', name, version, origin, path, sizeBytes, builtMs: builtMs ?? null })
    return [name, version, size(sizeBytes), builtMs === undefined ? `found in ${origin}` : `built in ${duration(builtMs)}`, path]
  })
  const columns = [{ title: 'program' }, { title: 'version' }, { title: 'size', align: 'right' }, { title: '' }, { title: 'path' }] as const
  if (rows.length > 0) output.result(table(columns, rows, output.style))
}
