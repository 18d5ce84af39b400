/** Convergence from the command line: by flag, by file, in what happens and in what is measured. */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import test from 'ava'
import { folderOf, swarmgrad, TINY } from './command.js'

const STALLING = `${TINY}convergence: { policy: lowerRate, everySteps: 2, patience: 2, minDelta: 0.9, cooldown: 0 }\n`

test.serial('a stall is told as it happened, whatever is killed; metrics have what was measured', async (t) => {
  const folder = await folderOf(t)
  await writeFile(join(folder, 'stalling.yaml'), STALLING)
  const begun = ['train', 'stalling.yaml', '--no-threads', '--checkpoint-every', '5']
  const whole = await swarmgrad(t, folder, [...begun, '--id', 'whole', '--json'])
  t.is(whole.status, 0, whole.stderr)
  const stalls = (lines: typeof whole.lines) =>
    lines.filter(({ type }) => type === 'stalled').map(({ vnode, step, action, rate }) => ({ vnode, step, action, rate }))
  t.deepEqual(stalls(whole.lines).slice(0, 2), [
    { vnode: 'dense-1', step: 6, action: 'lowerRate', rate: 0.5 },
    { vnode: 'dense-2', step: 6, action: 'lowerRate', rate: 0.5 },
  ])
  const killed = await swarmgrad(t, folder, [...begun, '--id', 'killed', '--chaos', 'kill:pnode@step=9', '--json'])
  t.is(killed.lines.at(-1)!.hash, whole.lines.at(-1)!.hash)
  t.deepEqual(stalls(killed.lines), stalls(whole.lines))

  const events = await swarmgrad(t, folder, ['events', 'killed'])
  t.regex(events.stdout, /dense-1 stalls at step 6 \(loss [\d.]+, best [\d.]+\): it goes on with 50\.0 % of the learning rate/)
  const metrics = await swarmgrad(t, folder, ['metrics', 'killed', '--csv'])
  t.regex(metrics.stdout.split('\n')[0], /dense-1\.averageLoss.*dense-1\.novelty.*dense-1\.stability.*dense-1\.trend/)
  t.is((await swarmgrad(t, folder, ['verify', 'killed'])).status, 0)
})

test.serial('by flag it is the same as by file, and it cannot change', async (t) => {
  const folder = await folderOf(t)
  await writeFile(join(folder, 'alerting.yaml'), `${TINY}convergence: alert\n`)
  const hashOf = async (words: readonly string[]) => {
    const { status, lines, stderr } = await swarmgrad(t, folder, ['train', ...words, '--no-threads', '--json', '--quiet'])
    t.is(status, 0, stderr)
    return lines.at(-1)!.hash
  }
  const [plain, alerting] = [await hashOf(['tiny.yaml']), await hashOf(['alerting.yaml'])]
  t.not(plain, alerting, 'what it has measured is in its state')
  t.is(await hashOf(['tiny.yaml', '--convergence', 'alert', '--id', 'one']), alerting)
  const wrong = await swarmgrad(t, folder, ['train', 'tiny.yaml', '--convergence', 'stop'])
  t.is(wrong.status, 2)
  t.regex(wrong.stderr, /--convergence: expected alert or lowerRate or resetHead, got 'stop'/)
  const words = ['train', 'tiny.yaml', '--convergence', 'alert', '--no-threads', '--id', 'two', '--chaos', 'kill:process@step=9']
  t.is((await swarmgrad(t, folder, words)).status, 'SIGKILL')
  const changed = await swarmgrad(t, folder, ['resume', 'two', '--convergence', 'lowerRate'])
  t.regex(changed.stderr, /--convergence of run two cannot change: expected alert, got lowerRate/)
  const resumed = await swarmgrad(t, folder, ['resume', 'two', '--no-threads', '--json'])
  t.is(resumed.lines.at(-1)!.hash, alerting, resumed.stderr)
})
