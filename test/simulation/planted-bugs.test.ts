/** The simulator is worth what it finds: bugs as patches of the sources, each found by the seeds that everything is tested with. */
import { type ChildProcess, fork } from 'node:child_process'
import test from 'ava'
import { plant } from './planted-loader.js'
import { PLANTED_BUGS } from './planted-bugs.js'

const MAX_SEEDS = 1_000

for (const bug of PLANTED_BUGS) {
  test.serial(`found: ${bug.name}`, async (t) => {
    t.timeout(600_000)
    t.notThrows(() => plant(bug))
    const known = bug.seed === undefined ? undefined : await firstFailure(bug.name, { first: bug.seed, seeds: 1 })
    const { seed, message } = known?.seed === undefined ? await firstFailure(bug.name, { first: 1, seeds: MAX_SEEDS }) : known
    t.log(seed === undefined ? 'not found' : `${seed === bug.seed ? 'as before, ' : ''}seed ${seed}: ${message.slice(0, 120)}`)
    t.true(seed !== undefined && seed <= MAX_SEEDS)
  })
}

interface Found {
  readonly seed: number | undefined
  readonly message: string
}

/** Simulates seed after seed, in a process that has the bug. */
function firstFailure(bug: string, { first, seeds }: { readonly first: number; readonly seeds: number }): Promise<Found> {
  const loader = new URL('planted-loader.js', import.meta.url).href
  const child: ChildProcess = fork(
    new URL('main.js', import.meta.url),
    ['--first-seed', String(first), '--seeds', String(seeds), '--stride', '1', '--until-failure'],
    {
      execArgv: ['--import', loader],
      env: { ...process.env, SWARMGRAD_PLANTED_BUG: bug },
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    },
  )
  return new Promise((resolve) => {
    let errors = ''
    child.stderr!.on('data', (chunk) => (errors += String(chunk)))
    child.on('message', (result: { ok: boolean; failure?: { seed: number; message: string } }) => {
      if (result.ok || !result.failure) return
      resolve(result.failure)
      child.kill()
    })
    // A process that a bug ends is a bug found too, if it is not the loader that fails.
    child.on('exit', () => resolve({ seed: undefined, message: errors }))
  })
}
