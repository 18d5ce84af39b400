/** What an optimizer is: which state it keeps, and one update in place. */
import type { Located, Options } from '../define.js'

/** One parameter tensor and all that belongs to it, as views of the memory that the update writes. */
export interface Update {
  readonly parameters: Float32Array
  readonly gradient: Float32Array
  /** In the order of `slots`. */
  readonly slots: readonly Float32Array[]
  readonly learningRate: number
  /** The running products after this step's multiplication, by name. */
  readonly products: { readonly [name: string]: number }
}

/** An update as an operation of TensorFlow: on the variables of parameter and slots, then numbers, the gradient, and numbers. */
export interface Operation {
  readonly name: string
  readonly before: readonly number[]
  readonly after?: readonly number[]
  /** Names of its switches, all of which are off. */
  readonly flags?: readonly string[]
}

export interface OptimizerSpec<O extends Options> extends Located {
  /** Checks options and fills in the defaults. The learning rate is the run's (schedule.ts), not read here. @throws `definition.invalid` */
  options(raw: Options): O
  /** Names of the tensors that are kept per parameter; zeros at first. */
  slots(options: O): readonly string[]
  /** The largest Euclidean norm that all gradients of a VNode together may have (Pascanu et al. 2013); undefined: any. */
  clipNorm(options: O): number | undefined
  /** Factors of running products βᵗ, which start at 1 and are kept in the state as float64. */
  products(options: O): { readonly [name: string]: number }
  /** Updates parameters and slots in place. Returns 0, or NaN if a parameter is not finite now. */
  update(values: Update, options: O): number
  /** The same as one operation of TensorFlow, for the native backend; undefined where there is none. Default: there is none. */
  operation?(values: Pick<Update, 'learningRate' | 'products'>, options: O): Operation | undefined
}
