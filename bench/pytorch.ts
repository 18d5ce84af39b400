/** A local step (`pred`, 784-3×1024-10, batch 128, Adam) on TensorFlow against the same in PyTorch on the processor, fused Adam, one thread each. */
import { fileURLToPath } from 'node:url'
import { SwarmError } from '../runtime/errors.js'
import type { Rate } from './children/runtime-rate.js'
import { measure, type Printed, printedBy, ratio, type Report } from './measure.js'

const PAIRS = 5
const STEPS = 400
const LEAST_OVER_PYTORCH = 1.3
const SCRIPT = fileURLToPath(new URL('../../bench/pytorch/local_step.py', import.meta.url))
/** Exit status of the script. */
const [NO_TORCH, OLD_TORCH] = [3, 4]
const FIX =
  'Install it where this project does not see it: python3 -m venv FOLDER && FOLDER/bin/pip install torch; then --python FOLDER/bin/python'

interface Torch {
  readonly torch: string
  readonly python: string
}

/** @param python a program. Default: SWARMGRAD_PYTHON, else python3 @throws `backend.missing`, `backend.unsuitable` */
export async function pytorch(python = process.env.SWARMGRAD_PYTHON || 'python3'): Promise<Report> {
  const { torch, python: version } = await inPyTorch<Torch>(python, 0)
  const runs: { [name in 'runtime' | 'bare' | 'pytorch']: Rate[] } = { runtime: [], bare: [], pytorch: [] }
  for (let pair = 0; pair < PAIRS; pair++) {
    runs.runtime.push((await measure('step-runtime', 'native')) as unknown as Rate)
    runs.pytorch.push(await inPyTorch<Rate>(python, STEPS))
    runs.bare.push((await measure('step-bare', 'native')) as unknown as Rate)
  }
  const all = (name: keyof typeof runs, figure: keyof Rate) => runs[name].map((run) => run[figure])
  const each = (figure: keyof Rate) => ({ runtime: all('runtime', figure), bare: all('bare', figure), pytorch: all('pytorch', figure) })
  const [samplesPerSecond, cpuMsPerStep] = [each('samplesPerSecond'), each('cpuMsPerStep')]
  const overPyTorch = ratio(samplesPerSecond.runtime, samplesPerSecond.pytorch)
  return {
    figures: {
      torch,
      python: version,
      samplesPerSecond,
      cpuMsPerStep,
      overPyTorch,
      bareOverPyTorch: ratio(samplesPerSecond.bare, samplesPerSecond.pytorch),
      pytorchOverBareCpu: ratio(cpuMsPerStep.pytorch, cpuMsPerStep.bare),
    },
    bars: [{ name: 'overPyTorch', value: overPyTorch.median, atLeast: LEAST_OVER_PYTORCH }],
  }
}

/** So many steps. @param steps 0: only the versions @throws `backend.missing` no Python or no PyTorch, `backend.unsuitable` an old one */
export async function inPyTorch<T = Torch & Rate>(python: string, steps: number): Promise<T> {
  let printed: Printed
  try {
    printed = await printedBy(python, [SCRIPT, String(steps)])
  } catch (cause) {
    throw new SwarmError('backend.missing', { what: 'there is no Python to run PyTorch', where: python, fix: FIX, cause })
  }
  const { status, lastLine } = printed
  if (status === 0) return JSON.parse(lastLine) as T
  if (status === NO_TORCH)
    throw new SwarmError('backend.missing', { what: 'this Python has no PyTorch', where: python, got: lastLine, fix: FIX })
  const expected = 'PyTorch 2.4 or newer, whose Adam is fused on the processor'
  if (status === OLD_TORCH)
    throw new SwarmError('backend.unsuitable', { what: 'PyTorch is too old', where: python, expected, got: lastLine, fix: FIX })
  throw new Error(`${python} ${SCRIPT} ended with ${status}: ${lastLine}`)
}
