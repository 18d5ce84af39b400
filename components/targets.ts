/** What each kind of target means for labels and answers; nothing here needs tfjs. */
import type { Target } from './define.js'

/** True if an answer is one of several classes: its labels are their numbers, int32. */
export const isOfClasses = (target: Target): target is Exclude<Target, { readonly kind: 'continuous' }> => target.kind !== 'continuous'

/** Numbers in one answer: logits of the classes, or the values themselves. */
export const widthOf = (target: Target): number => (isOfClasses(target) ? target.classes : target.size)

/** Answers to one sample: one, or for tokens one at each position of the input. */
export function answersOf({ input, target }: { readonly input: readonly number[]; readonly target: Target }): number {
  return target.kind === 'tokens' ? input[0] : 1
}

/** Numbers in the label of one sample: 1 for a class, n for n numbers, one for each token. */
export function labelSizeOf(task: { readonly input: readonly number[]; readonly target: Target }): number {
  return task.target.kind === 'continuous' ? task.target.size : answersOf(task)
}

/** Labels of a batch: int32 [batch], int32 [batch, tokens] or float32 [batch, size]. */
export function labelForm(task: { readonly input: readonly number[]; readonly target: Target }, batch: number) {
  const isFlat = task.target.kind === 'categorical'
  return { dtype: isOfClasses(task.target) ? 'int32' : 'float32', shape: isFlat ? [batch] : [batch, labelSizeOf(task)] } as const
}

/** For people: `10 classes`, `a vocabulary of 65`, `2 numbers`. */
export function showTarget(target: Target): string {
  if (target.kind === 'tokens') return `the next of ${target.classes} tokens`
  return target.kind === 'categorical' ? `${target.classes} classes` : `${target.size} numbers`
}
