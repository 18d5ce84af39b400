/** Weights outside of a run: named tensors, and where they come from. What every format of a file is read into. */
import { SwarmError } from '../../runtime/errors.js'
import type { StateTensor } from '../../runtime/state.js'

/** Of the names of tensors and of what a file says of itself, in all formats. */
export const WEIGHTS_VERSION = 1

/** What our own files say of themselves. */
export interface WeightsOrigin {
  /** Of swarmgrad. */
  readonly version: string
  readonly run: string
  readonly step: number
  /** `definitionHash` of the compiled network. */
  readonly network: string
  /** Name of the learning rule, whose parameters are the heads. */
  readonly rule: string
}

/** A file of weights, read. */
export interface Weights {
  /** By name: `<vnode>/layers/<layer>/<name>`, `<vnode>/state/<layer>/<name>`, `<vnode>/head/<name>`. */
  readonly tensors: ReadonlyMap<string, StateTensor>
  /** Undefined: the file was not written by swarmgrad, or by somebody who left that out. */
  readonly origin?: WeightsOrigin
  /** True: of the heads there is only that of the VNode that answers, without what only learning needs. */
  readonly isAnswerOnly: boolean
}

/** Checks the version that a file gives; undefined is no version of ours. @throws `weights.version` */
export function checkVersion(found: unknown, where: string, writtenBy: unknown): void {
  if (String(found) === String(WEIGHTS_VERSION)) return
  const by = typeof writtenBy === 'string' ? ` (swarmgrad ${writtenBy})` : ''
  const fix = `Export it again with this version of swarmgrad, or read it with the one that wrote it${by}`
  throw new SwarmError('weights.version', {
    what: 'weights of another format version',
    where,
    expected: WEIGHTS_VERSION,
    got: String(found),
    fix,
  })
}

/** @param what is wrong with it, behind "damaged file of weights: " */
export function damaged(where: string, what: string, cause?: unknown): SwarmError {
  const fix = 'Export it again, or copy it again'
  return new SwarmError('weights.damaged', { what: `damaged file of weights: ${what}`, where, fix, cause })
}
