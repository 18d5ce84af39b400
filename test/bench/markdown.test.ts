/** Reports of benchmarks, to be read. */
import test from 'ava'
import { markdown } from '../../bench/markdown.js'
import { measured, parseMeasured } from '../../bench/measured.js'
import { replaced } from '../../bench/output.js'

const report = {
  figures: {
    steps: 400,
    overFit: { median: 1.49321, smallest: 1.38, largest: 1.63 },
    samplesPerSecond: { runtime: [1, 2], fit: Array.from({ length: 30 }, (_, i) => i) },
    rules: {
      pred: { accuracy: { mean: 89, deviation: 0.05, each: [88.95, 89.05] }, seconds: [21, 22] },
      backprop: { accuracy: { mean: 90, deviation: 0, each: [90, 90] }, seconds: [31, 32] },
    },
  },
  bars: [
    { name: 'overFit', value: 1.49321, atLeast: 1.5 },
    { name: 'a | b', value: 3, atMost: 4 },
  ],
  curves: { task: { pred: [[{ epoch: 1, step: 123_456, split: 'test', loss: 0.123456 }]] } },
} as const

test('a report says when, on what and with which versions it was measured, which bars are missed, and all figures', async (t) => {
  const made = await measured('native', 'native --seeds 2', async () => report)
  const text = markdown(made, ['plots/task.svg'])
  t.regex(
    text,
    /^## native\n\n {4}npm run bench -- native --seeds 2\n\n\d{4}-\d\d-\d\d \d\d:\d\d UTC; .+ cores, \d+ GB, .+, load [\d.]+ when it began; /,
  )
  t.true(text.includes(`Node ${process.version}, swarmgrad `))
  t.regex(text, /tfjs 4\.\d+\.\d+\./)
  for (const line of [
    '| overFit | ≥ 1.5 | **1.493: missed** |',
    '| a \\| b | ≤ 4 | 3 |',
    '| steps | 400 |',
    '| overFit | 1.493 (1.38 to 1.63) |',
    '| samplesPerSecond, runtime | 1, 2 |',
    '| samplesPerSecond, fit | 30 values |',
    '### rules',
    '|  | accuracy | seconds |',
    '| pred | 89 ± 0.05 (88.95, 89.05) | 21, 22 |',
    '![task](plots/task.svg)',
  ])
    t.true(text.includes(`${line}\n`), `${line}\nin\n${text}`)
})

test('what was written as JSON is read again, every digit of the curves; anything else is refused by name', async (t) => {
  const made = await measured('native', 'native', async () => report)
  t.deepEqual(parseMeasured(`${JSON.stringify(made)}\n\n${JSON.stringify(made)}\n`, 'x.json'), [made, made])
  t.deepEqual(made.curves, report.curves)
  for (const text of ['{', '{"v":1,"type":"benchmark"}', '[]', 'null'])
    t.throws(() => parseMeasured(text, 'x.json'), { message: /x\.json.*expected lines/ })
})

test('a report takes the place of the one that the same command gave before, and of nothing else', (t) => {
  const place = (command: string, text: string) => `<!-- bench: ${command} -->\n\n${text}\n<!-- end of bench: ${command} -->`
  const document = (text: string) => `# All\n\n${place('native', 'old\n')}\n\n${place('native --task conv', text)}\n\nThe end.\n`
  t.is(replaced(document('old\n'), 'native --task conv', 'new\n', 'x.md'), document('new\n'))
  t.is(replaced(document('new\n'), 'native --task conv', 'new\n', 'x.md'), document('new\n'))
  t.throws(() => replaced(document(''), 'step', 'new', 'x.md'), { message: /x\.md.*<!-- bench: step -->/ })
})
