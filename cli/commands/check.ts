/** `swarmgrad check`. */
import { compileNetwork, DEFAULT_TRAINING, defaultRule } from '../../actors/prepare.js'
import { demandOf } from '../../actors/placement/assignment.js'
import type { NetworkDefinition, VNodeDefinition } from '../../components/definition.js'
import { showTarget } from '../../components/targets.js'
import type { CommandContext } from '../command.js'
import { makePlan } from '../definition.js'
import { EXIT, type ExitStatus } from '../exit.js'
import { count, shape, size } from '../view/format.js'
import { layersOf, shapesOf } from '../view/graph.js'
import { table } from '../view/table.js'

export async function check(context: CommandContext, file: string | undefined): Promise<ExitStatus> {
  const { output, settings, configured } = context
  const { network: written, training } = await makePlan(file, { settings, configured })
  const rule = training.rule ?? defaultRule(written.target)
  const batchSize = training.batchSize ?? DEFAULT_TRAINING.batchSize
  const { network } = (await compileNetwork(written, rule)) as { network: NetworkDefinition }
  const memoryOf = (vnode: VNodeDefinition) => demandOf(vnode, { batchSize, refinement: training.refinement }).memoryBytes
  for (const vnode of network.vnodes) {
    const { id, inputs, inputShapes, outputShape, hasHead, parameters, cost, layers } = vnode
    output.record({
      type: 'vnode',
      vnode: id,
      inputs,
      inputShapes,
      outputShape,
      layers: layers.map(({ id: name, layer, inputShapes, outputShape }) => ({
        name,
        layer: layer.name,
        options: layer.options,
        inputShapes,
        outputShape,
      })),
      hasHead,
      parameters,
      multiplyAdds: cost,
      memoryBytes: memoryOf(vnode),
    })
  }
  const total = (of: (vnode: VNodeDefinition) => number) => network.vnodes.reduce((sum, vnode) => sum + of(vnode), 0)
  const parameters = total((vnode) => vnode.parameters)
  const { input, target, output: answer } = network
  output.record({
    type: 'network',
    input,
    target,
    output: answer,
    rule: rule.name,
    batchSize,
    vnodes: network.vnodes.length,
    parameters,
    memoryBytes: total(memoryOf),
  })
  const rows = network.vnodes.map((vnode) => [
    vnode.id,
    vnode.inputs.join(', '),
    shapesOf(vnode),
    layersOf(vnode),
    vnode.hasHead ? 'learns' : vnode.feedback?.of === 'gradients' && vnode.parameters > 0 ? 'relayed' : '',
    count(vnode.parameters),
    size(memoryOf(vnode)),
  ])
  const columns = [
    { title: 'VNode' },
    { title: 'reads' },
    { title: 'shapes' },
    { title: 'layers' },
    { title: 'head' },
    { title: 'parameters', align: 'right' },
    { title: 'memory', align: 'right' },
  ] as const
  output.result(`input ${shape(input)} → ${showTarget(target)}, learnt by ${rule.name}, answered by ${answer}; batches of ${batchSize}\n`)
  output.result(table(columns, rows, output.style))
  output.result(`\n${network.vnodes.length} VNodes, ${count(parameters)} parameters without the heads', ${size(total(memoryOf))}`)
  return EXIT.done
}
