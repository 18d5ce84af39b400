/** A network as people see it: one line per VNode, with what is between the cuts. */
import type { ChalkInstance } from 'chalk'
import { type LayerDefinition, type NetworkDefinition, SOURCE, type VNodeDefinition } from '../../components/definition.js'
import { showTarget } from '../../components/targets.js'
import { count, fit, shape } from './format.js'

/** `784→256`, `28×28×1 + 256→256`. */
export function shapesOf({ inputShapes, outputShape }: VNodeDefinition): string {
  return `${inputShapes.map(shape).join(' + ')} → ${shape(outputShape)}`
}

/** `flatten · dense(256) · leakyRelu`. */
export function layersOf({ layers }: VNodeDefinition): string {
  return layers.map(nameOf).join(' · ')
}

function nameOf({ layer: { name, options } }: LayerDefinition): string {
  const sizes = Object.entries(options).flatMap(([key, value]) => (typeof value === 'number' && SHOWN_OPTIONS.has(key) ? value : []))
  return sizes.length > 0 ? `${name}(${sizes.join(', ')})` : name
}

/** Options that say how large a layer is; the others have defaults that few change. */
const SHOWN_OPTIONS: ReadonlySet<string> = new Set(['units', 'filters', 'size', 'rate'])

/** Where a VNode reads, if that is not simply the one before. */
function readsOf({ inputs }: VNodeDefinition, before: string): string {
  return inputs.length === 1 && inputs[0] === before ? '' : `← ${inputs.join(', ')}`
}

/** The whole graph, a VNode a line, no wider than `width`. */
export function graphLines(network: NetworkDefinition, width: number, style: ChalkInstance): string[] {
  const { vnodes, input, target } = network
  const rows = vnodes.map((vnode, i) => ({
    id: vnode.id,
    reads: readsOf(vnode, i === 0 ? SOURCE : vnodes[i - 1].id),
    shapes: shapesOf(vnode),
    layers: layersOf(vnode),
    parameters: vnode.parameters > 0 ? count(vnode.parameters) : '',
  }))
  const widest = (pick: (row: (typeof rows)[number]) => string) => Math.max(...rows.map((row) => pick(row).length))
  const [idWidth, readsWidth, shapesWidth, parametersWidth] = [
    widest(({ id }) => id),
    widest(({ reads }) => reads),
    widest(({ shapes }) => shapes),
    widest(({ parameters }) => parameters),
  ]
  const lines = rows.map(({ id, reads, shapes, layers, parameters }) => {
    const start = `${id.padEnd(idWidth)}  ${readsWidth > 0 ? `${reads.padEnd(readsWidth)}  ` : ''}`
    const middle = `${shapes.padStart(shapesWidth)}  ${parameters.padStart(parametersWidth)}  `
    const room = width - 4 - start.length - middle.length
    return `${style.cyan('✂ ')}${style.bold(start)}${middle}${style.dim(fit(layers, Math.max(0, room)))}`.trimEnd()
  })
  return [
    `${style.dim('input')} ${shape(input)} ${style.dim('→')} ${showTarget(target)} ${style.dim(`· ${vnodes.length} VNodes, cut at ✂`)}`,
    ...lines,
  ]
}
