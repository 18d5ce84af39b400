/** `swarmgrad dlq`: what a run has given up, and whether it would work now. */
import { replayDeadLetter } from '../../actors/dead-letter-replay.js'
import { type DeadLetter, placeOf, readDeadLetters } from '../../actors/run/dead-letters.js'
import { suggest } from '../../components/suggest.js'
import { SwarmError } from '../../runtime/errors.js'
import type { CommandContext } from '../command.js'
import { EXIT, type ExitStatus } from '../exit.js'
import { openPlace, type RunPlace } from '../place.js'
import { findRun } from '../run-list.js'
import { progressBar } from '../view/bar.js'
import { count, dateAndTime } from '../view/format.js'
import { table } from '../view/table.js'

const ACTIONS = { list, show, replay } as const

export async function dlq(context: CommandContext, action: string, words: string, id: string | undefined): Promise<ExitStatus> {
  if (!Object.hasOwn(ACTIONS, action)) {
    const names = Object.keys(ACTIONS)
    throw new SwarmError('usage', { what: `unknown action '${action}'`, expected: names.join(', '), fix: suggest(action, names) })
  }
  const place = await openPlace(context)
  const run = await findRun(place, words)
  const letters = await readDeadLetters(place.store, run)
  return ACTIONS[action as keyof typeof ACTIONS](context, place, { run, letters: chosen(run, letters, id) })
}

interface Chosen {
  readonly run: string
  readonly letters: readonly DeadLetter[]
}

/** All of them, or the one that is meant by its id or the beginning of it. @throws `usage` */
function chosen(run: string, letters: readonly DeadLetter[], id: string | undefined): readonly DeadLetter[] {
  if (id === undefined) return letters
  const exact = letters.filter((letter) => letter.id === id)
  const found = exact.length > 0 ? exact : letters.filter((letter) => letter.id.startsWith(id))
  if (found.length === 1) return found
  const expected = letters.length > 0 ? `one of ${letters.map((letter) => letter.id).join(', ')}` : 'none: it has no dead letters'
  throw new SwarmError('usage', { what: `dead letter of run ${run}`, expected, got: `'${id}'` })
}

async function list({ output }: CommandContext, _place: RunPlace, { run, letters }: Chosen): Promise<ExitStatus> {
  for (const letter of letters) output.record(recordOf(letter))
  const rows = letters.map(({ id, vnode, step, evaluation, error, attempts }) => [
    id,
    vnode,
    evaluation === 0 ? count(step) : `${count(step)}, evaluation ${evaluation}`,
    triedOn(attempts),
    error.message,
  ])
  const columns = [
    { title: 'id' },
    { title: 'VNode' },
    { title: 'step', align: 'right' },
    { title: 'tried on' },
    { title: 'reason' },
  ] as const
  if (rows.length > 0) output.result(table(columns, rows, output.style))
  else output.note(`run ${run} has given up nothing`)
  return EXIT.done
}

async function show({ output }: CommandContext, _place: RunPlace, { run, letters }: Chosen): Promise<ExitStatus> {
  if (letters.length === 0) output.note(`run ${run} has given up nothing`)
  for (const letter of letters) {
    output.record(recordOf(letter))
    const { id, batch, position, generation, error, attempts, atMs } = letter
    const { bold, dim } = output.style
    const lines = [
      `${bold(id)}: ${placeOf(letter)}, given up ${dateAndTime(atMs)}`,
      `${dim('reason')}   ${error.message} [${error.code}]`,
      `${dim('batch')}    ${batch}`,
      `${dim('position')} ${position} in the log, generation ${generation}`,
      ...attempts.map(({ pnode, term, error: own }) => `${dim('tried on')} ${pnode}, term ${term}: ${own.message}`),
    ]
    output.result(lines.join('\n'))
  }
  return EXIT.done
}

/** Status 1 if one of them would fail again. */
async function replay({ output }: CommandContext, place: RunPlace, { run, letters }: Chosen): Promise<ExitStatus> {
  if (letters.length === 0) output.note(`run ${run} has given up nothing`)
  let status: ExitStatus = EXIT.done
  for (const letter of letters) {
    const bar = progressBar(output, `replaying ${letter.id}`)
    const onProgress = (step: number, total: number) => bar.show(step / total, `step ${count(step)}/${count(total)}`)
    try {
      const { fromStep, error } = await replayDeadLetter(place.store, letter, { onProgress })
      bar.end()
      output.record({ type: 'replayed', run, id: letter.id, fromStep, works: error === undefined, error: error ?? null })
      const { green, red } = output.style
      const from =
        fromStep === 0 ? 'from the seed, since no checkpoint before it is kept' : `from the checkpoint at step ${count(fromStep)}`
      output.result(
        error
          ? `${red('✘')} ${placeOf(letter)} would fail again, replayed ${from}: ${error.message}`
          : `${green('✔')} ${placeOf(letter)} would work now, replayed ${from}; the run goes on without it all the same`,
      )
      if (error) status = EXIT.failed
    } finally {
      bar.end()
    }
  }
  return status
}

function recordOf(letter: DeadLetter) {
  const { id, run, generation, vnode, step, evaluation, position, batch, error, attempts, atMs } = letter
  return { type: 'deadLetter', id, run, vnode, step, evaluation, position, generation, batch, error, attempts, atMs }
}

/** `pnode-1, pnode-2`; `pnode-1 ×5`. */
function triedOn(attempts: DeadLetter['attempts']): string {
  const times = new Map<string, number>()
  for (const { pnode } of attempts) times.set(pnode, (times.get(pnode) ?? 0) + 1)
  return [...times].map(([pnode, time]) => (time === 1 ? pnode : `${pnode} ×${time}`)).join(', ')
}
