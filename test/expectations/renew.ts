/*
 * Writes what the runs end with now into `expectations.json`, from where git shows what has changed:
 *   node dist/test/expectations/renew.js              the hashes, after a change of kernels; refused if something is learnt otherwise than before
 *   node dist/test/expectations/renew.js --learning   accuracies and losses, too: say in the commit why they are others
 *   … NAME                                            of this run only
 */
import { writeFile } from 'node:fs/promises'
import { parseArgs } from 'node:util'
import { carryOut, type Expectation, FILE, learningDifferences, readExpectations } from './expected.js'
import { RUN_NAMES, type RunName, RUNS } from './runs.js'

/** Digits that are kept: tolerances are far wider. */
const DIGITS = 4
const TOLERANCE = { accuracy: 0.01, loss: 0.01 }

const { values, positionals } = parseArgs({ allowPositionals: true, options: { learning: { type: 'boolean', default: false } } })
const unknown = positionals.find((name) => !RUN_NAMES.includes(name as RunName))
if (unknown !== undefined) {
  process.stderr.write(`no run '${unknown}'; there are: ${RUN_NAMES.join(', ')}\n`)
  process.exit(2)
}

const expectations: { [name in RunName]?: Expectation } = await readExpectations().catch(() => ({}))
for (const name of RUN_NAMES.filter((name) => positionals.length === 0 || positionals.includes(name))) {
  const before = expectations[name]
  const got = await carryOut(name)
  const differences = before === undefined ? [] : learningDifferences(name, got, before)
  if (differences.length > 0 && !values.learning) {
    process.stderr.write(`${differences.join('\n')}\nNothing is renewed. If that is meant: --learning\n`)
    process.exit(1)
  }
  const learnt = {
    accuracy: Number(got.accuracy.toPrecision(DIGITS)),
    loss: Number(got.loss.toPrecision(DIGITS)),
    tolerance: before?.tolerance ?? TOLERANCE,
  }
  const { accuracy, loss, tolerance } = before === undefined || values.learning ? learnt : before
  const bits = RUNS[name].backend === 'wasm' && { hash: got.hash, computeClass: got.computeClass }
  expectations[name] = { accuracy, loss, tolerance, ...bits }
  process.stdout.write(`${name}: accuracy ${got.accuracy}, loss ${got.loss}, hash ${got.hash}\n`)
}
await writeFile(FILE, `${JSON.stringify(expectations, undefined, 2)}\n`)
