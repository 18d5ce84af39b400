/** `swarmgrad predict`: every sample of a file answered, in a file. */
import { extname } from 'node:path'
import { type Model, openModel, type Prediction } from '../../actors/model.js'
import { readDefinition } from '../../actors/run/run-definition.js'
import { SwarmError } from '../../runtime/errors.js'
import { writeWhole } from '../../runtime/whole-file.js'
import type { CommandContext } from '../command.js'
import { EXIT, type ExitStatus } from '../exit.js'
import { openPlace } from '../place.js'
import { findRun } from '../run-list.js'
import { readSamples } from '../samples.js'
import { progressBar } from '../view/bar.js'
import { count } from '../view/format.js'

/** Samples between two looks at the progress. */
const CHUNK = 2_048

export async function predict(context: CommandContext, words: string): Promise<ExitStatus> {
  const { output, settings } = context
  const { samples: file, out } = settings as { samples: string; out: string }
  const format = formatOf(out)
  const place = await openPlace(context)
  const { store } = place
  const run = await findRun(place, words)
  const { data: description } = await readDefinition(store, run)
  if (description.target.kind === 'tokens') {
    const fix = `Let it write: swarmgrad generate ${run}`
    throw new SwarmError('usage', { what: `run ${run} is a language model`, expected: 'a run that answers samples', got: 'tokens', fix })
  }
  const raw = await readSamples(file, { description, label: settings.label ?? 'label' })
  const model = await openModel(store, run)
  const bar = progressBar(output, 'predicting')
  try {
    const samples = raw.length / model.sampleSize
    const names = description.target.kind === 'categorical' ? classNamesOf(description, model.outputs) : undefined
    await writeWhole(out, async (write) => {
      if (format.header) await write(format.header(model.outputs, names))
      for (let from = 0; from < samples; from += CHUNK) {
        const to = Math.min(samples, from + CHUNK)
        const part = Array.prototype.slice.call(raw, from * model.sampleSize, to * model.sampleSize) as number[]
        await write(
          rowsOf(await model.predict(part), { from, outputs: model.outputs, names })
            .map(format.row)
            .join(''),
        )
        bar.show(to / samples, `${count(to)}/${count(samples)}`)
      }
    })
    bar.end()
    output.record({ type: 'predicted', run, step: model.step, samples, file: out })
    output.result(`${count(samples)} answers of ${run} (step ${count(model.step)}) in ${out}`)
    return EXIT.done
  } finally {
    bar.end()
    await model.close()
  }
}

function classNamesOf({ classNames }: { readonly classNames?: readonly string[] }, classes: number): readonly string[] {
  return classNames ?? Array.from({ length: classes }, (_, i) => String(i))
}

interface Answer {
  readonly row: number
  /** Of categorical targets. */
  readonly label?: number
  readonly name?: string
  /** Probabilities of the classes, or the values of a continuous target. */
  readonly values: readonly number[]
}

function rowsOf(
  { labels, probabilities }: Prediction,
  { from, outputs, names }: { from: number; outputs: Model['outputs']; names?: readonly string[] },
): Answer[] {
  return Array.from({ length: probabilities.length / outputs }, (_, i) => {
    const values = Array.from(probabilities.subarray(i * outputs, (i + 1) * outputs))
    return names ? { row: from + i, label: labels[i], name: names[labels[i]], values } : { row: from + i, values }
  })
}

interface Format {
  readonly header?: (outputs: number, names?: readonly string[]) => string
  readonly row: (answer: Answer) => string
}

/** Shortest digits that are the float32. */
const digits = (value: number): string => String(Number(value.toPrecision(8)))
const cell = (text: string): string => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text)

const CSV: Format = {
  header: (outputs, names) => {
    const values = Array.from({ length: outputs }, (_, i) => (names ? `p_${names[i]}` : `value_${i}`))
    return `${['row', ...(names ? ['label', 'class'] : []), ...values].map(cell).join(',')}\n`
  },
  row: ({ row, label, name, values }) => `${[row, ...(name === undefined ? [] : [label, cell(name)]), ...values.map(digits)].join(',')}\n`,
}
const JSON_LINES: Format = {
  row: ({ row, label, name, values }) =>
    `${JSON.stringify(name === undefined ? { row, values } : { row, label, class: name, probabilities: values })}\n`,
}

function formatOf(out: string): Format {
  const extension = extname(out).toLowerCase()
  if (extension === '.csv') return CSV
  if (extension === '.jsonl') return JSON_LINES
  throw new SwarmError('usage', { what: '--out', expected: 'a .csv or .jsonl file', got: `'${out}'` })
}
