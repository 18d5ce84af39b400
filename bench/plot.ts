/** Plots of lines as SVG, which read on light and on dark ground: transparent, and in colours between the two. */

/** A line, and how far the runs that it is the mean of lie apart. */
export interface Series {
  readonly name: string
  /** Of `COLOURS`: the same for the same thing in each panel. */
  readonly colour: number
  readonly isDashed?: boolean
  readonly points: readonly { readonly x: number; readonly mean: number; readonly least: number; readonly most: number }[]
}

export interface Panel {
  readonly x: string
  readonly y: string
  readonly series: readonly Series[]
}

/** Each has a contrast of 3 with white and with #0d1117. */
export const COLOURS = ['#2f81d6', '#d9661f', '#2e9b57', '#a35bd0', '#c2436a'] as const

const PANEL = { width: 420, height: 300, left: 62, right: 16, top: 14, bottom: 46 }
const TITLE = 30
const LEGEND_ROW = 20
/** Of a line and the space around it, and of a letter. */
const [LEGEND_GAP, LETTER] = [52, 7]
const TICKS = 6
const STYLE = [
  'text{font:12px system-ui,-apple-system,sans-serif;fill:#6a737d}',
  '.title{font-size:14px;font-weight:600}',
  '.axis{stroke:#7d8590;stroke-width:1;fill:none}',
  '.grid{stroke:#7d8590;stroke-opacity:.22}',
  '@media(prefers-color-scheme:dark){text{fill:#9198a1}}',
].join('')

/** Panels side by side under a title and one legend. */
export function plotSvg({ title, panels }: { readonly title: string; readonly panels: readonly Panel[] }): string {
  const legend = legendOf(panels)
  const top = TITLE + legend.length * LEGEND_ROW
  const [width, height] = [panels.length * PANEL.width, top + PANEL.height]
  const rows = legend.map((row, i) => `<g transform="translate(${PANEL.left} ${TITLE + i * LEGEND_ROW})">${row}</g>`)
  const drawn = panels.map((panel, i) => `<g transform="translate(${i * PANEL.width} ${top})">${panelSvg(panel)}</g>`)
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img">`,
    `<title>${escaped(title)}</title><style>${STYLE}</style>`,
    `<text class="title" x="${PANEL.left}" y="20">${escaped(title)}</text>`,
    ...rows,
    ...drawn,
    '</svg>\n',
  ].join('\n')
}

/** Round numbers over a range, 1, 2 or 5 times a power of ten apart, about as many as asked for. */
export function ticks(least: number, most: number, about = TICKS): number[] {
  const rough = (most - least || Math.abs(most) || 1) / about
  const power = Number(`1e${Math.floor(Math.log10(rough))}`)
  // The factor that is nearest, by ratio.
  const factor = [10, 5, 2, 1].find((one) => rough / power >= one / Math.SQRT2 || one === 1)!
  const step = power * factor
  const first = Math.ceil(least / step - 1e-9)
  const count = Math.floor(most / step + 1e-9) - first + 1
  return Array.from({ length: Math.max(0, count) }, (_, i) => Number(((first + i) * step).toPrecision(12)))
}

/** Each name once: what is drawn through in one row, what is dashed in another. */
function legendOf(panels: readonly Panel[]): string[] {
  const unique = [...new Map(panels.flatMap(({ series }) => series.map((one) => [one.name, one] as const))).values()]
  const pitch = LEGEND_GAP + LETTER * Math.max(...unique.map(({ name }) => name.length))
  const rows = [unique.filter(({ isDashed }) => !isDashed), unique.filter(({ isDashed }) => isDashed)].filter((row) => row.length > 0)
  return rows.map((row) =>
    row
      .map((one, i) => `<path d="M${i * pitch} 8h26" ${strokeOf(one)}/><text x="${i * pitch + 32}" y="12">${escaped(one.name)}</text>`)
      .join(''),
  )
}

function panelSvg({ x, y, series }: Panel): string {
  const points = series.flatMap((one) => one.points)
  const { left, right, top, bottom, width, height } = PANEL
  const across = scaleOf(
    points.map((point) => point.x),
    left,
    width - right,
    0,
  )
  const isWhole = points.every((point) => Number.isInteger(point.x))
  const up = scaleOf(
    points.flatMap(({ least, most }) => [least, most]),
    height - bottom,
    top,
    0.06,
  )
  const [floor, middle] = [height - bottom, (left + width - right) / 2]
  return [
    ...up.ticks.map((value) => {
      const at = number(up.at(value))
      return `<path class="grid" d="M${left} ${at}H${width - right}"/><text x="${left - 8}" y="${at + 4}" text-anchor="end">${value}</text>`
    }),
    ...across.ticks
      .filter((value) => !isWhole || Number.isInteger(value))
      .map((value) => {
        const at = number(across.at(value))
        return `<path class="axis" d="M${at} ${floor}v4"/><text x="${at}" y="${floor + 18}" text-anchor="middle">${value}</text>`
      }),
    `<path class="axis" d="M${left} ${top}V${floor}H${width - right}"/>`,
    `<text x="${middle}" y="${height - 8}" text-anchor="middle">${escaped(x)}</text>`,
    `<text transform="translate(14 ${(top + floor) / 2}) rotate(-90)" text-anchor="middle">${escaped(y)}</text>`,
    ...series.map((one) => seriesSvg(one, across.at, up.at)),
  ].join('\n')
}

type At = (value: number) => number

function seriesSvg(series: Series, across: At, up: At): string {
  const { points, colour } = series
  const path = (along: readonly (readonly [number, number])[]) => along.map(([x, y]) => `${number(across(x))} ${number(up(y))}`).join('L')
  const mean = `M${path(points.map((point) => [point.x, point.mean]))}`
  const isOne = points.every(({ least, most }) => least === most)
  const around = [
    ...points.map((point) => [point.x, point.most] as const),
    ...points.toReversed().map((point) => [point.x, point.least] as const),
  ]
  const band = isOne ? '' : `<path d="M${path(around)}Z" fill="${colourOf(colour)}" fill-opacity=".18"/>`
  const dots = points.map(
    (point) => `<circle cx="${number(across(point.x))}" cy="${number(up(point.mean))}" r="2" fill="${colourOf(colour)}"/>`,
  )
  return `${band}<path d="${mean}" ${strokeOf(series)}/>${dots.join('')}`
}

const colourOf = (colour: number): string => COLOURS[colour % COLOURS.length]

function strokeOf({ colour, isDashed }: Series): string {
  return `fill="none" stroke="${colourOf(colour)}" stroke-width="2" stroke-linejoin="round"${isDashed ? ' stroke-dasharray="5 4"' : ''}`
}

/** Values to pixels, with ticks inside. @param margin share of the range that stays empty at both ends */
function scaleOf(values: readonly number[], from: number, to: number, margin: number) {
  const [smallest, largest] = values.length === 0 ? [0, 1] : [Math.min(...values), Math.max(...values)]
  const room = largest > smallest ? margin * (largest - smallest) : margin > 0 ? Math.abs(largest) * 0.1 || 1 : 0.5
  const [least, most] = [smallest - room, largest + room]
  const at: At = (value) => from + ((value - least) / (most - least)) * (to - from)
  return { at, ticks: ticks(least, most) }
}

const number = (value: number): number => Number(value.toFixed(1))

function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;')
}
