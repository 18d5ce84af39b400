/** The layers of one VNode, loaded: specs found, tensors made, run one after another. */
import { isSwarmError, SwarmError, toSwarmError } from '../runtime/errors.js'
import { RandomStream } from '../runtime/random.js'
import type { BlockSpec, BuiltIn, Located, Options, RuleSpec, Target, Tensors } from './define.js'
import type { DefinitionRef, LayerDefinition, VNodeMachineDefinition } from './definition.js'
import { blanks, initializers } from './initializers.js'
import { widthOf } from './targets.js'
import { builtInLayers } from './layers/index.js'
import { builtInRules } from './rules/index.js'
import { sameShape, showShape } from './shapes.js'
import { tf } from './tf.js'

/** A layer with its tensors; `state` is replaced as a whole after a training step. */
export interface LoadedLayer {
  readonly definition: LayerDefinition
  readonly spec: BuiltIn<BlockSpec<any>>
  readonly options: Options
  readonly parameters: Tensors
  state: Tensors
}

export interface LoadedRule {
  readonly spec: BuiltIn<RuleSpec<any>>
  /** `classes`: numbers per sample, whatever the kind of target. */
  readonly target: Target & { readonly classes: number }
  readonly options: Options
  readonly parameters: Tensors
}

/** What a pass through the layers is told. */
export interface Pass {
  readonly training: boolean
  readonly step: number
  /** Number of the update that follows the step, from 0; undefined: the step itself. */
  readonly update?: number
  readonly seed: number
  readonly vnode: string
  /** Receives the tensors that a layer put in place of its state, by layer; inside the caller's tidy. */
  readonly onState: (layer: LoadedLayer, next: Tensors) => void
}

const NAME = /^[A-Za-z0-9_]+$/

/** Whether a state is read into all tensors before anybody sees them. */
interface Loading {
  readonly isRestored: boolean
}

/** Those of layers and rules of our own need no numbers where a state is read into them; what others do with theirs nobody knows. */
const initializersOf = ({ bundle }: DefinitionRef, { isRestored }: Loading): typeof initializers =>
  isRestored && bundle === undefined ? blanks : initializers

/** The layers of a VNode with fresh tensors, kept; the caller disposes them. @throws `graph.unknown`, `definition.invalid`, `compute.failed` */
export async function loadLayers({ vnode, training, bundles }: VNodeMachineDefinition, loading: Loading): Promise<LoadedLayer[]> {
  const loaded: LoadedLayer[] = []
  for (const definition of vnode.layers) {
    const spec = await findSpec<BlockSpec<any>>('block', definition.layer, builtInLayers, bundles)
    const options = spec.options?.(definition.layer.options) ?? definition.layer.options
    const startingWith = initializersOf(definition.layer, loading)
    const make = (kind: 'init' | 'state'): Tensors =>
      kept(definition.id, () => spec[kind]?.(definition.inputShapes[0], options, startingWith(training.seed, definition.id, kind)) ?? {})
    loaded.push({ definition, spec, options, parameters: make('init'), state: make('state') })
  }
  return loaded
}

/** The rule of a VNode with fresh parameters, kept; the caller disposes them. */
export async function loadRule({ vnode, target, training, bundles }: VNodeMachineDefinition, loading: Loading): Promise<LoadedRule> {
  const spec = await findSpec<RuleSpec<any>>('rule', training.rule, builtInRules, bundles)
  const options = spec.options?.(training.rule.options) ?? training.rule.options
  const sized = { ...target, classes: widthOf(target) }
  const where = `head of ${vnode.id}`
  const made = (id: string) =>
    spec.init(vnode.outputShape, sized, initializersOf(training.rule, loading)(training.seed, id, 'head'), options)
  const { of, from: [lender] = [], parameter = '' } = vnode.feedback ?? {}
  if (of === 'head' && !(parameter in tf.tidy(() => made(vnode.id)))) {
    const what = `rule '${spec.name}' shares the parameter '${parameter}', which its init does not make`
    throw new SwarmError('definition.invalid', { what, fix: 'Name one of the parameters that init returns' })
  }
  // What is lent to it begins as it is there.
  const parameters = kept(where, () =>
    of === 'head' && lender !== undefined ? { ...made(vnode.id), [parameter]: made(lender)[parameter] } : made(vnode.id),
  )
  return { spec, target: sized, options, parameters }
}

/** The VNode's output. Call inside `tf.tidy`. @throws `graph.shape`, `compute.failed` with the layer's name and the step */
export function runLayers(layers: readonly LoadedLayer[], inputs: readonly tf.Tensor[], pass: Pass): tf.Tensor {
  const outputs: tf.Tensor[] = []
  for (const layer of layers) {
    const xs = layer.definition.inputs.map((from) => (from < 0 ? inputs[-1 - from] : outputs[from]))
    outputs.push(runLayer(layer, xs, pass))
  }
  return outputs.length > 0 ? outputs[outputs.length - 1] : inputs[0]
}

function runLayer(layer: LoadedLayer, xs: tf.Tensor[], { training, step, update, seed, vnode, onState }: Pass): tf.Tensor {
  const { definition, spec, options, parameters } = layer
  const state = { ...layer.state }
  let random: RandomStream | undefined
  const context = {
    training,
    step,
    state,
    get random() {
      return (random ??= new RandomStream(seed, 'dropout', vnode, definition.id, step, ...(update === undefined ? [] : [update])))
    },
  }
  const y = guarded(`layer '${definition.id}'`, step, () => spec.forward(parameters, xs[0], context, options, xs))
  const expected = [xs[0].shape[0], ...definition.outputShape]
  if (!(y instanceof tf.Tensor) || y.dtype !== 'float32' || !sameShape(y.shape, expected)) {
    throw new SwarmError('graph.shape', {
      what: `layer '${definition.id}' returned another tensor than its shape function promised, at step ${step}`,
      expected: `float32 ${showShape(expected)}`,
      got: y instanceof tf.Tensor ? `${y.dtype} ${showShape(y.shape)}` : typeof y,
    })
  }
  if (training) {
    const changed = Object.keys(state).filter((name) => state[name] !== layer.state[name])
    for (const name of changed) checkTensor(`state '${name}' of layer '${definition.id}'`, layer.state[name] !== undefined, state[name])
    if (changed.length > 0) onState(layer, Object.fromEntries(changed.map((name) => [name, state[name]])))
  }
  return y
}

/** Runs code that a user may have written; an error says where and when. @throws `compute.failed` */
export function guarded<T>(where: string, step: number, run: () => T): T {
  try {
    return run()
  } catch (error) {
    throw isSwarmError(error) ? error : toSwarmError(error, 'compute.failed', `${where} threw at step ${step}`)
  }
}

function kept(where: string, make: () => Tensors): Tensors {
  const tensors = guarded(where, 0, () =>
    tf.tidy(() => {
      const made = make()
      for (const [name, tensor] of Object.entries(made)) checkTensor(`tensor '${name}' of ${where}`, NAME.test(name), tensor)
      // Copies: an optimizer writes in place, and a user may return one tensor twice.
      return Object.fromEntries(
        Object.entries(made).map(([name, tensor]) => [name, tf.tensor(tensor.dataSync(), tensor.shape, tensor.dtype)]),
      )
    }),
  )
  for (const tensor of Object.values(tensors)) tf.keep(tensor)
  return tensors
}

function checkTensor(what: string, isNamed: boolean, tensor: unknown): void {
  const isTensor = tensor instanceof tf.Tensor && (tensor.dtype === 'float32' || tensor.dtype === 'int32')
  if (isNamed && isTensor) return
  throw new SwarmError('definition.invalid', {
    what,
    expected: isNamed ? 'a float32 or int32 tensor' : 'a name of letters, digits and _ that its definition declares',
    got: tensor instanceof tf.Tensor ? tensor.dtype : typeof tensor,
  })
}

/** The spec behind a reference: built in, or an export of a bundle. */
async function findSpec<Spec extends Located>(
  kind: 'block' | 'rule',
  { name, bundle }: DefinitionRef,
  builtIn: { readonly [name: string]: BuiltIn<Spec> },
  bundles: VNodeMachineDefinition['bundles'],
): Promise<BuiltIn<Spec>> {
  if (bundle === undefined) {
    if (Object.hasOwn(builtIn, name)) return builtIn[name]
    throw new SwarmError('graph.unknown', { what: `unknown ${kind === 'block' ? 'layer' : 'rule'} '${name}'` })
  }
  if (!Object.hasOwn(bundles, bundle))
    throw new SwarmError('definition.invalid', { what: `no file for the bundle of '${name}'`, got: bundle })
  const { definitionIn, loadBundle } = await import('./bundle.js') // esbuild is not loaded without need
  return definitionIn(await loadBundle(bundles[bundle], bundle), kind, name) as Spec
}
