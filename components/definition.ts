/**
 * The compiled network: plain JSON, stored with the run. VNode ids, seeds and grouping come from here and never from the
 * placement (PROTOCOL.md rule 5).
 */
import type { Options, Shape, Target } from './define.js'

export const DEFINITION_VERSION = 1

/** A definition to be found in a worker: built in, or an export of a bundle named by the SHA-256 of its bytes. */
export interface DefinitionRef {
  readonly name: string
  readonly bundle?: string
  readonly options: Options
}

/** One layer of a VNode's program. */
export interface LayerDefinition {
  /** The layer's name in errors and in the state: unique in the network, e.g. `dense-2`. */
  readonly id: string
  readonly layer: DefinitionRef
  /** Where its inputs come from: ≥ 0 an earlier layer of this program by index; −1−k the VNode's input number k. */
  readonly inputs: readonly number[]
  readonly inputShapes: readonly Shape[]
  readonly outputShape: Shape
}

/** One VNode: a short straight program of layers, with a head of the learning rule or without. */
export interface VNodeDefinition {
  readonly id: string
  /** Producers in order: ids of VNodes, or SOURCE. */
  readonly inputs: readonly string[]
  readonly inputShapes: readonly Shape[]
  readonly outputShape: Shape
  readonly layers: readonly LayerDefinition[]
  /** Whether it has a head and learns. VNodes without trainable parameters have none, unless they are the output. */
  readonly hasHead: boolean
  /** What goes against the graph. Absent: nothing. */
  readonly feedback?: FeedbackDefinition
  /** Trainable parameters of the layers (without the head's), in elements. */
  readonly parameters: number
  /** Multiply-adds of one forward pass of one sample. */
  readonly cost: number
}

/** Of a rule that is not local, or not quite: a VNode's part in what goes against the graph. */
export interface FeedbackDefinition {
  /** Derivatives of the loss by outputs; or a parameter of the output VNode's head, for all others. */
  readonly of: 'gradients' | 'head'
  /** VNodes that it gets some from. */
  readonly from: readonly string[]
  /** VNodes that it gives some to. */
  readonly to: readonly string[]
  /** Positions of the log between giving and getting, at least 1. */
  readonly lag: number
  /** `gradients`: batches under way at a time. */
  readonly window?: number
  /** `head`: the parameter's name, and its shape where that is known. */
  readonly parameter?: string
  readonly shape?: Shape
  /** `head`: it is given after every so many steps, and used as it was between one and two times as many steps before. */
  readonly everySteps?: number
}

export interface NetworkDefinition {
  readonly v: typeof DEFINITION_VERSION
  readonly input: Shape
  readonly target: Target
  /** In graph order: every VNode after those that it reads. */
  readonly vnodes: readonly VNodeDefinition[]
  /** The VNode whose head answers. */
  readonly output: string
}

/** Everything besides the network that decides the hash. */
export interface TrainingDefinition {
  readonly rule: DefinitionRef
  readonly optimizer: DefinitionRef
  readonly batchSize: number
  readonly epochs: number
  readonly seed: number
  readonly totalSteps: number
  /** Learning rate of the first step; multiplied by `decay` once each milestone (a fraction of totalSteps) is passed. */
  readonly learningRate: number
  readonly decay: number
  readonly milestones: readonly number[]
  /** Steps, the first ones, in which it rises in equal parts. Absent: 0. */
  readonly warmup?: number
  /** How it falls from the warm-up to the last step. Absent: it does not. */
  readonly annealing?: Annealing
  /** A step whose loss is not finite is skipped where that happens, and by all that reads from there. Absent: the run stops. */
  readonly nonFinite?: 'skip'
  /** Local updates after each training step. Absent: none. */
  readonly refinement?: Refinement
  /** What is done to training images before each step. Absent: nothing. */
  readonly augmentation?: Augmentation
  /** How every VNode that learns watches itself, and what it does when it stalls. Absent: it does not. */
  readonly convergence?: Convergence
}

/** Changes of training images, drawn anew for each step and image (ranges: `augmentation.ts`). */
export interface Augmentation {
  /** They move by up to so many pixels in each direction, as if cropped at random from a wider black frame. */
  readonly crop?: number
  /** They are mirrored left to right, or not. */
  readonly flip?: boolean
}

export interface Annealing {
  readonly kind: 'linear' | 'cosine'
  /** Share of the learning rate that is left at the last step, 0 to 1. */
  readonly end: number
}

/** After each training step a VNode that learns passes over its newest inputs again, oldest first (PROTOCOL.md rule 22). */
export interface Refinement {
  /** Passes over them. Range: `refinement.ts`. */
  readonly passes: number
  /** How many of its newest training inputs it keeps, that of the step included. */
  readonly inputs: number
}

/** What becomes of a VNode that stalls (PROTOCOL.md rule 23). Ranges: `convergence.ts`. */
export interface Convergence {
  /** `alert`: it is told; `lowerRate`: its own learning rate falls; `resetHead`: its head begins anew. */
  readonly policy: 'alert' | 'lowerRate' | 'resetHead'
  /** Steps of a window: one mean of the loss, one look at all else. */
  readonly everySteps: number
  /** Windows in a row without progress that make a stall. */
  readonly patience: number
  /** By what share of the best mean loss so far a window's has to be lower to be progress. */
  readonly minDelta: number
  /** Windows after a decision that do not count. */
  readonly cooldown: number
  /** Of `lowerRate`: the VNode's learning rate is multiplied by it … */
  readonly factor?: number
  /** … until this share of the run's is left. */
  readonly minFactor?: number
}

/** What a compute worker needs to load one VNode. Bundles are `path`s of files whose SHA-256 is the key. */
export interface VNodeMachineDefinition {
  readonly v: typeof DEFINITION_VERSION
  readonly vnode: VNodeDefinition
  readonly target: Target
  readonly training: TrainingDefinition
  readonly bundles: { readonly [sha256: string]: string }
}

/** Id of the one VNode of an end-to-end network. */
export const END_TO_END = 'network'

/** The producer that is not a VNode: numbered batches. */
export const SOURCE = 'source'
