/** From a file's tensors to the first weights of a network: by name, each of the shape that the network has. */
import { SwarmError } from '../../runtime/errors.js'
import type { StateTensor } from '../../runtime/state.js'
import type { DefinitionRef, NetworkDefinition } from '../definition.js'
import { definitionHash } from '../resolve.js'
import { sameShape, showShape } from '../shapes.js'
import type { Weights } from './weights.js'

/** What the weights are for, as it would begin without them. */
export interface Fresh {
  readonly network: NetworkDefinition
  readonly rule: DefinitionRef
  /** By VNode: weights from the seed, under the names of its state. */
  readonly tensors: ReadonlyMap<string, readonly StateTensor[]>
}

export interface Filled {
  readonly tensors: ReadonlyMap<string, readonly StateTensor[]>
  /** What was not taken from the file, in sentences for people. */
  readonly notes: readonly string[]
}

/** More names than these are only counted. */
const SHOWN = 4

/**
 * Layers are found by their names, whatever VNode they were in; heads by that of their VNode, if the rule has the same name.
 * @param where the file, for errors
 * @throws `weights.mismatch` naming the tensor
 */
export function fillWeights(fresh: Fresh, weights: Weights, where: string): Filled {
  const { network, rule } = fresh
  const ofUsers = network.vnodes.flatMap(({ layers }) => layers.filter(({ layer }) => layer.bundle !== undefined).map(({ id }) => id))
  const given = byKey(weights, where)
  const hasHeads = [...given.keys()].some(isHead)
  const isSameRule = weights.origin ? weights.origin.rule === rule.name : hasHeads || weights.isAnswerOnly
  const wrong: Misfit[] = []
  const missing: string[] = []
  const fromSeed: string[] = []
  const filled = new Map<string, StateTensor[]>()
  for (const [vnode, tensors] of fresh.tensors) {
    const fill = (own: StateTensor): StateTensor => {
      const name = `${vnode}/${own.name}`
      const key = keyOf(name)
      const tensor = isHead(key) && !isSameRule ? undefined : given.get(key)
      given.delete(key)
      if (tensor) {
        if (!fits(own, tensor, ofUsers)) wrong.push({ vnode, own, tensor })
        return { ...tensor, name: own.name }
      }
      const isOptional = isHead(key) && (!isSameRule || weights.isAnswerOnly)
      ;(isOptional ? fromSeed : missing).push(name)
      return own
    }
    filled.set(vnode, tensors.map(fill))
  }
  if (wrong.length > 0) throw otherShape(wrong, where)
  const fix = 'Start from an export of the same network, or train without --from'
  if (missing.length > 0) throw new SwarmError('weights.mismatch', { what: `the file lacks ${list(missing)}`, where, fix })
  const unknown = [...given.values()].map(({ name }) => name).filter((name) => isSameRule || !isHead(keyOf(name)))
  if (unknown.length > 0) throw new SwarmError('weights.mismatch', { what: `the network has no ${list(unknown)}`, where, fix })
  return { tensors: filled, notes: notesOf(fresh, weights, { where, fromSeed, isSameRule }) }
}

/** What a tensor is found by: layers have names of their own, heads those of their VNodes. */
function keyOf(name: string): string {
  const rest = name.slice(name.indexOf('/') + 1)
  return /^(layers|state)\//.test(rest) ? rest : `${HEAD}${name}`
}

const HEAD = 'head: '
const isHead = (key: string): boolean => key.startsWith(HEAD)

function byKey({ tensors }: Weights, where: string): Map<string, StateTensor> {
  const found = new Map<string, StateTensor>()
  for (const [name, tensor] of tensors) {
    const other = found.get(keyOf(name))
    if (other) throw new SwarmError('weights.mismatch', { what: `two tensors of one layer, '${other.name}' and '${name}'`, where })
    found.set(keyOf(name), { ...tensor, name })
  }
  return found
}

/** A tensor that the network has in another shape. */
interface Misfit {
  readonly vnode: string
  readonly own: StateTensor
  readonly tensor: StateTensor
}

/** A user's layer may have given its state another shape. */
function fits({ name, dtype, shape }: StateTensor, tensor: StateTensor, ofUsers: readonly string[]): boolean {
  const isFree = name.startsWith('state/') && ofUsers.includes(name.split('/')[1])
  return tensor.dtype === dtype && (isFree || sameShape(tensor.shape, shape))
}

/** Names the one that tells most: of the first VNode with other layers the tensor with the most dimensions; heads only follow. */
function otherShape(wrong: readonly Misfit[], where: string): SwarmError {
  const ofLayers = wrong.filter(({ own }) => !own.name.startsWith('head/'))
  const candidates = (ofLayers.length > 0 ? ofLayers : wrong).filter(({ vnode }, _, [first]) => vnode === first.vnode)
  const [{ own, tensor }] = candidates.toSorted((a, b) => b.own.shape.length - a.own.shape.length)
  const [expected, got] = [own, tensor].map(({ dtype, shape }) => `${dtype} ${showShape(shape)}`)
  const fix =
    ofLayers.length > 0
      ? 'Give the layer the size that the file has'
      : 'Give the rule the options, and the network the target, that the file is of'
  const what = `tensor '${tensor.name}' has another shape than the network's`
  return new SwarmError('weights.mismatch', { what, where, expected, got, fix })
}

function notesOf(
  { network, rule }: Fresh,
  { origin, isAnswerOnly }: Weights,
  { where, fromSeed, isSameRule }: { readonly where: string; readonly fromSeed: readonly string[]; readonly isSameRule: boolean },
): string[] {
  const notes: string[] = []
  if (fromSeed.length > 0) {
    const rules = origin && `they were learnt with rule '${origin.rule}', and this run has '${rule.name}'`
    const reason =
      isSameRule || !rules ? (isAnswerOnly ? 'a LayersModel has only what leads to the answer' : 'the file has no heads') : rules
    notes.push(`${where}: ${list(fromSeed)} ${fromSeed.length === 1 ? 'begins' : 'begin'} from the seed, since ${reason}`)
  }
  if (origin && origin.network !== definitionHash(network)) {
    notes.push(`${where} was exported from another network, that of run ${origin.run}; all names and shapes fit`)
  }
  return notes
}

function list(names: readonly string[]): string {
  const shown = names.slice(0, SHOWN).map((name) => `'${name}'`)
  const more = names.length > SHOWN ? ` and ${names.length - SHOWN} more` : ''
  return `${names.length === 1 ? 'tensor' : 'tensors'} ${shown.join(', ')}${more}`
}
