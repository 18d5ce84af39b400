/** A run on a terminal: the graph once, then a picture that is drawn again and again. */
import type { ChalkInstance } from 'chalk'
import { createLogUpdate } from 'log-update'
import type { PNodeView, RunEvent, VNodeView } from '../../actors/events.js'
import type { RunDefinition } from '../../actors/run/run-definition.js'
import type { Output } from '../output.js'
import { count, decimal, duration, fit, percent, timeOfDay } from './format.js'
import { graphLines } from './graph.js'
import { colourOf, News } from './happenings.js'
import { titleOf } from './lines.js'
import { table } from './table.js'
import type { RunView } from './run-view.js'

/** Ten pictures a second look alive; more would only heat the machine. */
const FRAME_MS = 100
/** Happenings that are kept; a tall terminal shows more of them. */
const MAX_HAPPENINGS = 12
const MIN_HAPPENINGS = 3
const BAR_WIDTH = 24
const LOAD_WIDTH = 8

interface Screen extends NodeJS.WritableStream {
  readonly columns?: number
  readonly rows?: number
}

interface Happening {
  readonly atMs: number
  readonly text: string
  readonly colour: ReturnType<typeof colourOf>
}

export class LiveView implements RunView {
  readonly #news: News
  readonly #screen: Screen
  readonly #style: ChalkInstance
  readonly #draw: ReturnType<typeof createLogUpdate>
  readonly #happenings: Happening[] = []
  readonly #hint: string | undefined
  #graphLines = 0
  #fetched: number | undefined
  #isEnded = false
  #progress: (RunEvent & { type: 'progress' }) | undefined
  #vnodes: readonly VNodeView[] = []
  #pnodes: readonly PNodeView[] = []
  #timer: NodeJS.Timeout | undefined

  /** @param hint a line below the bar */
  constructor(output: Output, screen: Screen, hint?: string) {
    this.#news = new News(output.isVerbose)
    this.#screen = screen
    this.#style = output.errorStyle
    this.#draw = createLogUpdate(screen)
    this.#hint = hint
  }

  begin(run: string, definition: RunDefinition, { pnodes }: { readonly pnodes: number }): void {
    const lines = [
      this.#style.bold(fit(titleOf(run, definition, pnodes), this.#width)),
      ...graphLines(definition.network, this.#width, this.#style),
    ]
    this.#graphLines = lines.length
    this.#screen.write(`${lines.join('\n')}\n`)
  }

  show(event: RunEvent): void {
    if (this.#isEnded) return
    if (event.type === 'snapshot' || event.type === 'progress') {
      this.#vnodes = event.vnodes
      this.#pnodes = event.pnodes
    }
    if (event.type === 'progress') this.#progress = event
    const text = this.#news.sentenceOf(event)
    if (text !== undefined) this.#happen(event.atMs, text, colourOf(event))
    this.#schedule()
  }

  fetch(done: number, total: number): void {
    this.#fetched = done / total
    this.#schedule()
  }

  say(text: string): void {
    this.#happen(Date.now(), text.replaceAll('\n', ' ⏎ '), 'yellow')
    this.#schedule()
  }

  end(): void {
    if (this.#isEnded) return
    this.#isEnded = true
    clearTimeout(this.#timer)
    this.#paint()
    this.#draw.done()
  }

  #happen(atMs: number, text: string, colour: Happening['colour']): void {
    this.#happenings.push({ atMs, text, colour })
    if (this.#happenings.length > MAX_HAPPENINGS) this.#happenings.shift()
  }

  get #width(): number {
    return Math.max(20, (this.#screen.columns ?? 80) - 1)
  }

  #schedule(): void {
    if (this.#isEnded) return
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined
      this.#paint()
    }, FRAME_MS).unref()
  }

  /** As many lines as there is room for below the graph; log-update cuts what a small terminal cannot show. */
  #paint(): void {
    const style = this.#style
    const tables = this.#vnodes.length > 0 ? ['', ...this.#vnodeTable(), '', ...this.#pnodeTable(), ''] : []
    const fixed = [...tables, this.#bar(), ...(this.#hint ? [style.dim(this.#hint)] : [])]
    const room = (this.#screen.rows ?? 24) - 1 - this.#graphLines - fixed.length
    const shown = this.#happenings.slice(-Math.min(MAX_HAPPENINGS, Math.max(MIN_HAPPENINGS, room)))
    const news = shown.map(({ atMs, text, colour }) => `${style.dim(timeOfDay(atMs))} ${style[colour](fit(text, this.#width - 9))}`)
    this.#draw([...fixed, ...news].join('\n'))
  }

  #vnodeTable(): string[] {
    const rows = this.#vnodes.map(({ vnode, pnode, term, step, loss, accuracy, state }) => [
      fit(vnode, 20),
      state === 'running' ? pnode : this.#style.yellow(`${pnode} restoring`),
      String(term),
      count(step),
      decimal(loss),
      percent(accuracy),
    ])
    const columns = [
      { title: 'VNode' },
      { title: 'PNode' },
      { title: 'term', align: 'right' },
      { title: 'step', align: 'right' },
      { title: 'loss', align: 'right' },
      { title: 'accuracy', align: 'right' },
    ] as const
    return table(columns, rows, this.#style).split('\n')
  }

  #pnodeTable(): string[] {
    const { green, cyan, yellow, red, dim } = this.#style
    const colours = { ready: green, observer: dim, draining: cyan, quarantined: red, suspect: yellow, lost: red }
    const ordered = this.#pnodes.toSorted((a, b) => a.pnode.localeCompare(b.pnode, 'en', { numeric: true }))
    const rows = ordered.map(({ pnode, state, load, vnodes }) => [
      pnode,
      colours[state](state),
      state === 'lost' ? '' : `${this.#blocks(load, LOAD_WIDTH)} ${`${Math.round(load * 100)} %`.padStart(5)}`,
      fit(vnodes.join(' '), Math.max(8, this.#width - 40)),
    ])
    return table([{ title: 'PNode' }, { title: 'state' }, { title: 'load' }, { title: 'VNodes' }], rows, this.#style).split('\n')
  }

  #bar(): string {
    if (!this.#progress && this.#fetched !== undefined && this.#fetched < 1) {
      return `${this.#style.cyan(this.#blocks(this.#fetched, BAR_WIDTH))} data ${Math.floor(this.#fetched * 100)} %`
    }
    if (!this.#progress) return this.#style.dim('starting …')
    const { step, totalSteps, epoch, epochs, samplesPerSecond, secondsLeft } = this.#progress
    const left = step === totalSteps ? 'done' : secondsLeft > 0 ? `${duration(secondsLeft * 1000)} left` : ''
    const words = [`epoch ${epoch}/${epochs}`, `step ${count(step)}/${count(totalSteps)}`, `${count(samplesPerSecond)} samples/s`, left]
    const text = words.filter(Boolean).join('  ')
    return `${this.#style.cyan(this.#blocks(step / totalSteps, BAR_WIDTH))} ${fit(text, this.#width - BAR_WIDTH - 1)}`
  }

  #blocks(share: number, width: number): string {
    const full = Math.round(Math.min(1, Math.max(0, share)) * width)
    return '█'.repeat(full) + this.#style.dim('░'.repeat(width - full))
  }
}
