/** `swarmgrad demo`: the same run twice, once undisturbed and once with PNodes killed; the weights must be the same. */
import { rmSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TrainingOptions } from '../../actors/prepare.js'
import { local, type RunResult, train } from '../../actors/train.js'
import { datasets } from '../../components/datasets/index.js'
import { categorical } from '../../components/network.js'
import { predsim } from '../../components/rules/index.js'
import { systemClock } from '../../runtime/clock.js'
import { SwarmError } from '../../runtime/errors.js'
import { Chaos, type ChaosSpec } from '../chaos.js'
import type { CommandContext } from '../command.js'
import { mlp } from '../definition.js'
import { lastLine, showEvents } from '../drive-run.js'
import { EXIT, type ExitStatus } from '../exit.js'
import { listenForKeys } from '../keys.js'
import { watchSignals } from '../signals.js'
import { progressBar } from '../view/bar.js'
import { count, duration, percent, shortHash } from '../view/format.js'
import { LiveView } from '../view/live.js'
import { viewFor } from '../view/view.js'

/** Large enough to learn well, small enough for two runs in half a minute on two cores (measured). */
const DEMO = { units: 256, epochs: 4, seed: 1, pnodes: 4, everySteps: 50, dropout: 0.025 } as const
/** Kills at these parts of the run: early, in the middle, late. */
const KILLS = [0.15, 0.4, 0.6, 0.85] as const
const HINT = 'k kills another PNode · Ctrl-C ends'

export async function demo(context: CommandContext): Promise<ExitStatus> {
  const folder = await mkdtemp(join(tmpdir(), 'swarmgrad-demo-'))
  const leave = [() => rmSync(folder, { recursive: true, force: true, maxRetries: 3 })]
  const clean = () => {
    for (const step of leave.toReversed()) step()
  }
  const signals = watchSignals({
    onFirst(status) {
      clean()
      process.exit(status)
    },
    onSecond: clean,
  })
  try {
    const undisturbed = await runUndisturbed(context, folder)
    const disturbed = await runDisturbed(context, folder, undisturbed.steps, {
      interrupt: () => signals.interrupt(),
      onLeave: (step) => leave.push(step),
    })
    return compare(context, undisturbed, disturbed)
  } finally {
    signals.stop()
    await rm(folder, { recursive: true, force: true, maxRetries: 3 })
  }
}

function plan({ settings }: CommandContext) {
  const { units, epochs, seed, dropout } = DEMO
  const network = mlp({ input: [28, 28, 1], target: categorical(10) }, { blocks: 3, units, dropout })
  const training: TrainingOptions = {
    data: datasets.glyphs(),
    rule: predsim(),
    epochs: settings.epochs ?? epochs,
    seed: settings.seed ?? seed,
  }
  return { network, training }
}

const options = (store: string) => ({ on: local({ pnodes: DEMO.pnodes }), store, checkpoint: { everySteps: DEMO.everySteps } })

async function runUndisturbed(context: CommandContext, store: string): Promise<RunResult> {
  const { output } = context
  const { network, training } = plan(context)
  output.note('Three VNodes learn to tell drawn glyphs apart, on four PNodes (worker threads),')
  output.note('twice: first undisturbed, then with PNodes killed. The weights must be the same.\n')
  const bar = progressBar(output, '1/2 undisturbed')
  const run = train(network, training, options(store), { id: 'undisturbed' })
  try {
    for await (const event of run.events()) {
      if (event.type !== 'progress') continue
      const { step, totalSteps, samplesPerSecond, secondsLeft } = event
      const left = secondsLeft > 0 ? `, ${duration(secondsLeft * 1000)} left` : ''
      bar.show(step / totalSteps, `${count(step)}/${count(totalSteps)}, ${count(samplesPerSecond)} samples/s${left}`)
    }
    const result = await run.result
    bar.end()
    output.note(`1/2 undisturbed: ${percent(result.metrics.accuracy)} in ${duration(result.seconds * 1000)} · ${shortHash(result.hash)}\n`)
    record(context, result)
    return result
  } finally {
    bar.end()
  }
}

interface Stage {
  interrupt(): void
  /** What must happen before the process ends, however it ends. */
  onLeave(step: () => void): void
}

async function runDisturbed(context: CommandContext, store: string, totalSteps: number, stage: Stage): Promise<RunResult> {
  const { output } = context
  const { network, training } = plan(context)
  const kills = KILLS.map((part): ChaosSpec => ({ kill: 'pnode', atStep: Math.max(1, Math.round(part * totalSteps)) }))
  const chaos = new Chaos(kills, { seed: training.seed!, clock: systemClock })
  output.note('2/2 disturbed: PNodes are killed on the way')
  const view = output.isLive ? new LiveView(output, process.stderr, process.stdin.isTTY ? HINT : undefined) : viewFor(output)
  const stopKeys = listenForKeys({
    k: () => chaos.strike('pnode', 'killed by you'),
    '\u0003': () => stage.interrupt(),
  })
  stage.onLeave(() => {
    view.end()
    stopKeys()
  })
  const run = train(network, training, options(store), {
    id: 'disturbed',
    onSwarm: (swarm) => chaos.begin(swarm),
    onObservation: (observation) => chaos.observe(observation),
  })
  try {
    const [result] = await Promise.all([run.result, showEvents(run, { view, output, store, pnodes: DEMO.pnodes })])
    record(context, result)
    return result
  } finally {
    view.end()
    stopKeys()
    chaos.end()
  }
}

function record({ output }: CommandContext, { status: _status, metrics, ...result }: RunResult): void {
  output.record({ type: 'done', ...result, accuracy: metrics.accuracy ?? null })
}

/** @throws `run.hash` */
function compare({ output }: CommandContext, undisturbed: RunResult, disturbed: RunResult): ExitStatus {
  const isSame = undisturbed.hash !== undefined && undisturbed.hash === disturbed.hash
  const { green, red, bold } = output.style
  output.record({ type: 'compared', same: isSame, expected: undisturbed.hash, got: disturbed.hash })
  output.result(`\n${bold(lastLine(disturbed))}`)
  output.result(
    isSame
      ? green(`same weights as the undisturbed run: ${disturbed.hash} ✔`)
      : red(`other weights than the undisturbed run: ${disturbed.hash} ✘`),
  )
  if (isSame) return EXIT.done
  throw new SwarmError('run.hash', { what: 'the disturbed run ended with other weights', expected: undisturbed.hash, got: disturbed.hash })
}
