/** `swarmgrad status`. */
import type { RunEvent } from '../../actors/events.js'
import { followersIn, followersOf, vnodeOf } from '../../runtime/followers.js'
import type { Head } from '../../runtime/head.js'
import type { CommandContext } from '../command.js'
import { EXIT, type ExitStatus } from '../exit.js'
import { openPlace } from '../place.js'
import { lastEvent, summarise } from '../read-run.js'
import { findRun } from '../run-list.js'
import { count, dateAndTime, decimal, percent, timeOfDay } from '../view/format.js'
import { table } from '../view/table.js'
import { paint } from './runs.js'

type Progress = RunEvent & { type: 'progress' }

export async function status(context: CommandContext, words: string): Promise<ExitStatus> {
  const { output } = context
  const place = await openPlace(context)
  const run = await findRun(place, words)
  const summary = await summarise(place, run)
  const last = await lastEvent(place.store, run, (event): event is Progress => event.type === 'progress')
  const { status, step, totalSteps, accuracy, hash, head, definition, pid } = summary
  const reached = Math.max(step, status === 'running' ? (last?.step ?? 0) : 0)
  const { moves = 0, stepsReplayed = 0 } = head?.counters ?? {}
  const deadLetters = head?.skips?.length ?? 0
  output.record({
    type: 'status',
    run,
    status,
    pid: pid ?? null,
    step: reached,
    totalSteps,
    checkpointStep: head?.manifests[0]?.step ?? null,
    generation: head?.generation ?? 1,
    accuracy: accuracy ?? null,
    hash: hash ?? null,
    moves,
    stepsReplayed,
    deadLetters,
    error: head?.error ?? null,
    vnodes: last?.vnodes ?? [],
    standbys: head ? followersIn(head).map((id) => ({ vnode: vnodeOf(id), id, ...head.directory[id] })) : [],
    pnodes: last?.pnodes ?? [],
  })
  const { style } = output
  const facts: [string, string | undefined][] = [
    ['run', style.bold(run)],
    ['status', `${paint(output, status)}${pid === undefined ? '' : ` in process ${pid}`}`],
    ['step', `${count(reached)} of ${count(totalSteps)}, newest checkpoint ${head?.manifests[0]?.step ?? 'none'}`],
    [
      'data',
      `${definition.data.id}, ${definition.training.rule.name}, batch ${definition.training.batchSize}, seed ${definition.training.seed}`,
    ],
    ['accuracy', percent(accuracy)],
    ['moves', `${count(moves)}, ${count(stepsReplayed)} steps replayed`],
    ['given up', deadLetters > 0 ? style.red(`${count(deadLetters)}: swarmgrad dlq list ${run}${place.flags}`) : undefined],
    ['hash', hash],
    ['error', head?.error && style.red(head.error.message)],
    ['seen', last && `${dateAndTime(last.atMs)} (${timeOfDay(last.atMs)})`],
  ]
  for (const [name, value] of facts) if (value !== undefined) output.result(`${style.dim(name.padEnd(9))} ${value}`)
  if (last) for (const text of tablesOf(last, head, style)) output.result(`\n${text}`)
  return EXIT.done
}

function tablesOf({ vnodes, pnodes }: Progress, head: Head | undefined, style: CommandContext['output']['style']): string[] {
  const right = 'right' as const
  const standing = (vnode: string) => (head ? followersOf(head, vnode).map((id) => head.directory[id].pnode) : [])
  const hasStandbys = vnodes.some(({ vnode }) => standing(vnode).length > 0)
  return [
    table(
      [
        { title: 'VNode' },
        { title: 'PNode' },
        { title: 'term', align: right },
        { title: 'step', align: right },
        { title: 'loss', align: right },
        { title: 'accuracy', align: right },
        ...(hasStandbys ? [{ title: 'stands by' }] : []),
      ],
      vnodes.map(({ vnode, pnode, term, step, loss, accuracy }) => [
        vnode,
        pnode,
        String(term),
        count(step),
        decimal(loss),
        percent(accuracy),
        ...(hasStandbys ? [standing(vnode).join(' ')] : []),
      ]),
      style,
    ),
    table(
      [{ title: 'PNode' }, { title: 'state' }, { title: 'load', align: right }, { title: 'VNodes' }],
      pnodes.map(({ pnode, state, load, vnodes }) => [pnode, state, percent(load), vnodes.join(' ')]),
      style,
    ),
  ]
}
