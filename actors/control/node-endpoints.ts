/**
 * What every node says of itself, for those who look after it (M33): `GET /health`, `/metrics` (Prometheus' text format), `/queue_stats`,
 * `/checkpoint_state`. Gathered when asked for; nothing is kept.
 */
import type { Clock } from '../../runtime/clock.js'
import type { Express, Request } from '../../runtime/http-server.js'
import { httpApp } from '../../runtime/http-server.js'
import { VERSION } from '../../runtime/version.js'
import type { ControlHost } from './control-host.js'
import type { PNodeHost } from '../pnode/pnode.js'
import type { Queues } from '../pnode/queues.js'

/** One line of `/metrics`, after its name. */
interface Sample {
  readonly labels: { readonly [name: string]: string }
  readonly value: number
}

interface Metric {
  readonly name: string
  readonly help: string
  readonly kind: 'counter' | 'gauge'
  readonly samples: readonly Sample[]
}

/** What a node can be asked. */
export interface NodeReport {
  metrics(): readonly Metric[]
  /** Messages that wait, outputs that are kept. */
  queueStats(): object
  /** How far checkpoints are. */
  checkpointState(): object
}

const ENDPOINTS_VERSION = 1
const PROMETHEUS = 'text/plain; version=0.0.4; charset=utf-8'

/** Adds the endpoints, but for `/health`, to an application. @param admit throws if the request has no right to them */
export function addNodeEndpoints(app: Express, report: NodeReport, admit: (request: Request) => void = () => undefined): void {
  app.get('/metrics', (request, response) => {
    admit(request)
    response.set('Content-Type', PROMETHEUS).send(prometheusText(report.metrics()))
  })
  app.get('/queue_stats', (request, response) => {
    admit(request)
    response.json({ v: ENDPOINTS_VERSION, ...report.queueStats() })
  })
  app.get('/checkpoint_state', (request, response) => {
    admit(request)
    response.json({ v: ENDPOINTS_VERSION, ...report.checkpointState() })
  })
}

/** The application of a PNode, for its own machine alone: nobody else is to reach it, so nobody is asked who he is. */
export function pnodeApp(host: PNodeHost, clock: Clock): Express {
  const app = httpApp()
  app.get('/health', (_request, response) => {
    const { pnode, vnodes } = host
    response.json({ v: ENDPOINTS_VERSION, version: VERSION, nowMs: clock.now(), pnode, vnodes: vnodes.length })
  })
  addNodeEndpoints(app, pnodeReport(host))
  return app
}

export function pnodeReport(host: PNodeHost): NodeReport {
  const perVNode = (value: (stats: PNodeHost['stats'][number]) => number): Sample[] =>
    host.stats.map((stats) => ({ labels: { pnode: host.pnode, run: stats.run, vnode: stats.vnode }, value: value(stats) }))
  return {
    metrics: () => [
      ...queueMetrics(host),
      {
        name: 'refused_total',
        help: 'Messages refused on arrival, by reason.',
        kind: 'counter',
        samples: [...host.refused].map(([reason, value]) => ({ labels: { pnode: host.pnode, reason: `call: ${reason}` }, value })),
      },
      { name: 'vnodes', help: 'VNodes that are placed here.', kind: 'gauge', samples: [sampleOf(host.pnode, host.vnodes.length)] },
      { name: 'applied_position', help: 'Position of the last applied batch.', kind: 'gauge', samples: perVNode((s) => s.applied) },
      { name: 'waiting_inputs', help: 'Inputs that wait for their turn.', kind: 'gauge', samples: perVNode((s) => s.waiting) },
      { name: 'retained_outputs', help: 'Outputs kept until the next checkpoint.', kind: 'gauge', samples: perVNode((s) => s.retained) },
      {
        name: 'checkpoint_position',
        help: 'Position of the newest whole checkpoint.',
        kind: 'gauge',
        samples: perVNode((s) => s.manifest),
      },
    ],
    queueStats: () => ({
      pnode: host.pnode,
      queues: host.queues,
      vnodes: host.stats.map(({ run, vnode, term, applied, waiting, retained, queues }) => {
        return { run, vnode, term, applied, waiting, retained, queues }
      }),
    }),
    checkpointState: () => ({
      pnode: host.pnode,
      vnodes: host.stats.map(({ run, vnode, term, generation, applied, restored, manifest }) => {
        return { run, vnode, term, generation, applied, restored, manifest }
      }),
    }),
  }
}

function queueMetrics({ pnode, queues }: PNodeHost): readonly Metric[] {
  const each = Object.entries(queues) as [string, Queues[keyof Queues]][]
  const samples = (name: 'depth' | 'enqueued' | 'done') => each.map(([queue, stats]) => ({ labels: { pnode, queue }, value: stats[name] }))
  const dropped = each.flatMap(([queue, stats]) =>
    Object.entries(stats.dropped).map(([reason, value]) => ({ labels: { pnode, queue, reason }, value })),
  )
  return [
    { name: 'queue_depth', help: 'What waits in each queue.', kind: 'gauge', samples: samples('depth') },
    { name: 'queue_enqueued_total', help: 'What was let into each queue.', kind: 'counter', samples: samples('enqueued') },
    { name: 'queue_done_total', help: 'What has gone through each queue.', kind: 'counter', samples: samples('done') },
    { name: 'queue_dropped_total', help: 'What each queue refused, or lost with a VNode, by reason.', kind: 'counter', samples: dropped },
  ]
}

export function controlReport(host: ControlHost): NodeReport {
  const runs = () => host.stats.runs
  return {
    metrics() {
      const { pnodes, refused } = host.stats
      const states = ['ready', 'observer', 'draining', 'quarantined', 'suspect', 'lost'].map((state) => ({
        labels: { state },
        value: Object.values(pnodes).filter((each) => each === state).length,
      }))
      const dropped = runs().flatMap(({ run, dropped: reasons }) =>
        Object.entries(reasons).map(([reason, value]) => ({ labels: { run, reason }, value })),
      )
      return [
        { name: 'pnodes', help: 'PNodes by state.', kind: 'gauge', samples: states },
        { name: 'run_step', help: 'Step of each run under way.', kind: 'gauge', samples: runs().map(({ run, step }) => stepOf(run, step)) },
        { name: 'dropped_total', help: 'Messages refused in a run, by reason.', kind: 'counter', samples: dropped },
        {
          name: 'refused_total',
          help: 'Messages refused on arrival, by reason.',
          kind: 'counter',
          samples: Object.entries(refused).map(([reason, value]) => ({ labels: { reason }, value })),
        },
      ]
    },
    queueStats: () => ({ runs: runs().map(({ run, dropped }) => ({ run, dropped })), refused: host.stats.refused }),
    checkpointState: () => ({ runs: runs().map(({ run, step, checkpointStep }) => ({ run, step, checkpointStep })) }),
  }
}

/** Text for Prometheus: names get a prefix, labels are quoted; a metric without samples is left out. */
export function prometheusText(metrics: readonly Metric[]): string {
  const lines = metrics.flatMap(({ name, help, kind, samples }) => {
    if (samples.length === 0) return []
    const full = `swarmgrad_${name}`
    return [`# HELP ${full} ${help}`, `# TYPE ${full} ${kind}`, ...samples.map((sample) => `${full}${labelsOf(sample)} ${sample.value}`)]
  })
  return lines.length > 0 ? `${lines.join('\n')}\n` : ''
}

const sampleOf = (pnode: string, value: number): Sample => ({ labels: { pnode }, value })
const stepOf = (run: string, value: number): Sample => ({ labels: { run }, value })

function labelsOf({ labels }: Sample): string {
  const quote = (value: string) => `"${value.replaceAll('\\', '\\\\').replaceAll('\n', '\\n').replaceAll('"', '\\"')}"`
  return `{${Object.entries(labels)
    .map(([name, value]) => `${name}=${quote(value)}`)
    .join(',')}}`
}
