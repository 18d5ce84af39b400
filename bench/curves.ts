/** How runs learn, epoch by epoch, as plots: a line for each rule, the mean of its seeds, in a band from the least to the most. */
import type { Curves, CurvePoint } from './measure.js'
import { type Panel, plotSvg, type Series } from './plot.js'

/** SVG by task. */
export function plotsOf(curves: Curves): { readonly [task: string]: string } {
  return Object.fromEntries(
    Object.entries(curves).map(([task, rules]) => {
      const seeds = Math.max(...Object.values(rules).map((runs) => runs.length))
      const title = `${task}, ${seeds === 1 ? 'one seed' : `mean and range of ${seeds} seeds`}`
      return [task, plotSvg({ title, panels: panelsOf(rules) })]
    }),
  )
}

function panelsOf(rules: Curves[string]): Panel[] {
  const split = Object.values(rules)[0]?.[0]?.[0]?.split ?? 'test'
  const lines = (value: (point: CurvePoint) => number | undefined, more: (rule: string) => Pick<Series, 'name' | 'isDashed'>) =>
    Object.entries(rules).map(([rule, runs], colour): Series => ({ ...more(rule), colour, points: pointsOf(runs, split, value) }))
  return [
    {
      x: 'epoch',
      y: `accuracy, % (${split})`,
      series: lines(
        ({ accuracy }) => accuracy && 100 * accuracy,
        (name) => ({ name }),
      ),
    },
    {
      x: 'epoch',
      y: 'loss of the rule',
      series: [
        ...lines(
          ({ loss }) => loss,
          (name) => ({ name }),
        ),
        ...lines(
          ({ trainingLoss }) => trainingLoss,
          (rule) => ({ name: `${rule}, in training`, isDashed: true }),
        ),
      ],
    },
  ]
}

/** Where all runs have a value. The last evaluation may be of another split: it is left out. */
function pointsOf(
  runs: Curves[string][string],
  split: CurvePoint['split'],
  value: (point: CurvePoint) => number | undefined,
): Series['points'] {
  const epochs = runs[0]?.filter((point) => point.split === split).map(({ epoch }) => epoch) ?? []
  return epochs.flatMap((epoch) => {
    const values = runs
      .map((run) => run.find((point) => point.epoch === epoch && point.split === split))
      .map((point) => point && value(point))
    if (!values.every((one) => one !== undefined)) return []
    const mean = values.reduce((a, b) => a + b, 0) / values.length
    return [{ x: epoch, mean, least: Math.min(...values), most: Math.max(...values) }]
  })
}
