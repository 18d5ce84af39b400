/** Plots of what benchmarks learn. */
import test from 'ava'
import { plotsOf } from '../../bench/curves.js'
import type { CurvePoint } from '../../bench/measure.js'
import { COLOURS, plotSvg, ticks } from '../../bench/plot.js'

const point = (epoch: number, more: Partial<CurvePoint> = {}): CurvePoint => ({
  epoch,
  step: 10 * epoch,
  split: 'test',
  loss: 1 / epoch,
  ...more,
})

test('ticks are round, in order, inside of the range, and neither few nor many', (t) => {
  t.deepEqual(ticks(0, 1), [0, 0.2, 0.4, 0.6, 0.8, 1])
  t.deepEqual(ticks(85.87, 89.4), [86, 86.5, 87, 87.5, 88, 88.5, 89])
  t.deepEqual(ticks(1, 10), [2, 4, 6, 8, 10])
  t.deepEqual(ticks(-3, 3), [-3, -2, -1, 0, 1, 2, 3])
  for (const [least, most] of [
    [1e-4, 3e-4],
    [1.66, 2.9],
    [0, 14_070],
    [7, 7],
    [-0.001, 0],
  ]) {
    const found = ticks(least, most)
    t.true(
      found.every((tick, i) => tick >= least - 1e-9 && tick <= most + 1e-9 && (i === 0 || tick > found[i - 1])),
      found.join(),
    )
    t.true(found.length <= 11 && (least === most || found.length >= 4), `${least} to ${most}: ${found.join()}`)
  }
})

test('colours are seen on white and on dark ground', (t) => {
  const light = (colour: string) =>
    [0.2126, 0.7152, 0.0722].reduce((sum, weight, i) => {
      const part = Number.parseInt(colour.slice(1 + 2 * i, 3 + 2 * i), 16) / 255
      return sum + weight * (part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
    }, 0)
  const contrast = (a: string, b: string) => (Math.max(light(a), light(b)) + 0.05) / (Math.min(light(a), light(b)) + 0.05)
  for (const colour of COLOURS) for (const ground of ['#ffffff', '#0d1117']) t.true(contrast(colour, ground) >= 3, `${colour} on ${ground}`)
})

test('a rule is a line through the means of its seeds, in a band of their range', (t) => {
  const [first, second] = [0.8, 0.9].map((accuracy) => [1, 2, 3].map((epoch) => point(epoch, { accuracy, trainingLoss: 2 })))
  const { task: svg } = plotsOf({ task: { pred: [first, second], backprop: [first] } })
  t.regex(svg, /mean and range of 2 seeds/)
  for (const name of ['pred', 'backprop', 'pred, in training']) t.true(svg.includes(`>${name}</text>`), name)
  t.regex(svg, /accuracy, % \(test\)/)
  const points = (colour: number, panel: string) =>
    [...panel.matchAll(new RegExp(`<circle cx="([\\d.]+)" cy="([\\d.]+)" r="2" fill="${COLOURS[colour]}"`, 'g'))].map(([, x, y]) => [
      +x,
      +y,
    ])
  const [, accuracy] = svg.split('<g transform="translate(0 ')
  const [mean, worse] = [points(0, accuracy.split('translate(420')[0]), points(1, accuracy.split('translate(420')[0])]
  t.is(mean.length, 3)
  t.deepEqual(
    mean.map(([x]) => x),
    worse.map(([x]) => x),
  )
  t.true(
    mean.every(([, y], i) => y < worse[i][1]),
    'more is further up',
  )
  t.is(svg.match(/fill-opacity/g)?.length, 1, 'a band where seeds differ')
  t.notRegex(svg, /NaN|undefined|Infinity/)
})

test('an evaluation of another split at the end, and metrics that are not there, are left out', (t) => {
  const run = [point(1, { split: 'validation' }), point(2, { split: 'validation' }), point(3, { split: 'test' })]
  const { task: svg } = plotsOf({ task: { pred: [run] } })
  t.is(svg.match(/<circle/g)?.length, 2, 'two points of loss, none of accuracy')
  t.regex(svg, /one seed/)
  t.notRegex(svg, /NaN|undefined|Infinity/)
})

test('names are escaped', (t) => {
  const svg = plotSvg({ title: 'a < b & "c"', panels: [{ x: '<x>', y: 'y', series: [] }] })
  t.regex(svg, /a &lt; b &amp; &quot;c&quot;/)
  t.regex(svg, /&lt;x&gt;/)
  t.notRegex(svg, /NaN|undefined|Infinity/)
})
