/*
 * A process of its own for tests that end processes:
 *   run-process.js <folder> <run> <when>   goes on with a run, or starts it if it is not there
 * It sends `{ step }` for each new step, then `{ result }` or `{ error }`. `when` it ends itself by SIGKILL:
 *   never | step:<n> when some VNode applies step n | call:<n> before the n-th change to the folder | checkpoint:<n> when there are n
 *   segfault:<n> when some VNode applies step n, but by SIGSEGV
 */
import { local, resume, type RunOptions, train } from '../../actors/train.js'
import type { Observation } from '../../actors/reports.js'
import { toSwarmError } from '../../runtime/errors.js'
import { fileStore } from '../../runtime/object-store/file-store.js'
import { nodeFileSystem } from '../../runtime/object-store/file-system.js'
import { faultyFileSystem } from './faulty-file-system.js'
import { branching, TRAINING } from './small-runs.js'

export type RunMessage =
  | { readonly step: number }
  | { readonly result: { readonly status: string; readonly hash?: string } }
  | { readonly error: { readonly code: string; readonly message: string } }

const [folder, id, when = 'never'] = process.argv.slice(2)
const [what, count = '0'] = when.split(':')
const say = (message: RunMessage) => void process.send?.(message)
const die = () => process.kill(process.pid, what === 'segfault' ? 'SIGSEGV' : 'SIGKILL')

let calls = 0
const fs = faultyFileSystem(nodeFileSystem, (call) => {
  const changes = ['create', 'write', 'sync', 'rename', 'remove', 'link', 'syncFolder'].includes(call)
  if (what === 'call' && changes && ++calls === Number(count)) die()
  return undefined
})

let furthest = 0
function onObservation(observation: Observation): void {
  if (observation.type !== 'applied' || observation.entry.step <= furthest) return
  furthest = observation.entry.step
  say({ step: furthest })
  if ((what === 'step' || what === 'segfault') && furthest >= Number(count)) die()
}

const options: RunOptions = {
  on: local({ pnodes: 2, threads: false }),
  store: what === 'call' ? fileStore({ root: folder, fs }) : folder,
  // The source waits for the checkpoint before the last one: otherwise a slow disk sees few of them.
  checkpoint: { everySteps: 7, retentionBytes: 0 },
}
const isThere = await fileStore({ root: folder })
  .get(`runs/${id}/definition`)
  .then(
    () => true,
    () => false,
  )
const run = isThere ? resume(id, options, { onObservation }) : train(branching, TRAINING, options, { id, onObservation })
try {
  let checkpoints = 0
  for await (const event of run.events()) {
    if (event.type === 'checkpoint' && ++checkpoints === Number(count) && what === 'checkpoint') die()
  }
  const { status, hash } = await run.result
  say({ result: { status, hash } })
} catch (error) {
  const { code, message } = toSwarmError(error, 'internal')
  say({ error: { code, message } })
}
process.disconnect?.()
