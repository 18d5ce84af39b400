/** A head that begins anew in the middle of a run. */
import type { VNodeMachineDefinition } from './definition.js'
import { initializers } from './initializers.js'
import { guarded } from './program.js'
import type { LoadedRule } from './program.js'
import { intViewOf, overwrite, tf, viewOf } from './tf.js'

/**
 * Gives the parameters of a rule what its `init` makes from (seed, vnode, step), and zeros to the optimizer's slots of them. Running products of
 * the optimizer, which all parameters share, stay: the first updates of such a head are up to about three times as large with Adam.
 * @param slots by parameter that it learns: `head/<name>`; what it was given by others stays as it is
 * @throws `compute.failed` with the step, what `init` throws
 */
export function resetHead(
  { spec, target, options, parameters }: LoadedRule,
  { vnode, training }: VNodeMachineDefinition,
  slots: ReadonlyMap<string, readonly tf.Tensor[]>,
  step: number,
): void {
  tf.tidy(() => {
    const random = initializers(training.seed, vnode.id, 'head', `reset-${step}`)
    const fresh = guarded(`fresh head of ${vnode.id}`, step, () => spec.init(vnode.outputShape, target, random, options))
    for (const [name, tensor] of Object.entries(parameters)) {
      if (!slots.has(`head/${name}`)) continue
      // A copy: on the wasm heap the two may be one tensor, or move.
      overwrite(tensor, (tensor.dtype === 'int32' ? intViewOf : viewOf)(fresh[name]).slice())
      for (const slot of slots.get(`head/${name}`) ?? []) overwrite(slot, new Float32Array(slot.size))
    }
  })
}
