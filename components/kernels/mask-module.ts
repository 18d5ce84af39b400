/**
 * The mask of dropout as a WebAssembly function of our own, on the memory of tfjs's backend: draws the numbers of a seeded stream and applies them
 * in one pass, four at once. The same bits as `numberAt` (runtime/random.ts), number by number.
 */
import { RANDOM_CONSTANTS } from '../../runtime/random.js'
import {
  type Code,
  F32,
  I32,
  V128,
  add,
  addI,
  andNot,
  assemble,
  get,
  i32,
  isLess,
  isLessI,
  lanesI,
  loadVector,
  multiplyI,
  multiplyV,
  repeat,
  set,
  shiftI,
  splat,
  splatI,
  steps,
  storeVector,
  tee,
  xor,
} from './assembler.js'

/**
 * out = x·scale where the numbers start, start + 1 … of a stream are at least `below`, 0 elsewhere.
 * @param x address of so many bytes, a multiple of 16 above 0
 */
export type VectorMask = (
  x: number,
  out: number,
  bytes: number,
  key: number,
  tweak: number,
  start: number,
  below: number,
  scale: number,
) => void

const [X, OUT, BYTES, KEY, TWEAK, START, BELOW, SCALE] = [0, 1, 2, 3, 4, 5, 6, 7]
const INDEX = 8
/** Numbers of the elements, what is drawn for them, and the arguments as vectors. */
const [NUMBER, DRAWN, KEYS, TWEAKS, LIMIT, FACTOR] = [9, 10, 11, 12, 13, 14]
const { increment, first, second } = RANDOM_CONSTANTS

const spread = (from: number, to: number): Code => steps(get(from), splatI, set(to))
const xorShifted = (by: number): Code => steps(get(DRAWN), get(DRAWN), i32(by), shiftI, xor, set(DRAWN))
const times = (constant: number): Code => steps(get(DRAWN), i32(constant), splatI, multiplyI, set(DRAWN))
/** As `mix` there. */
const mix: Code = steps(xorShifted(16), times(first), xorShifted(15), times(second), xorShifted(16))

const body: readonly Code[] = [
  steps(get(START), splatI, lanesI(0, 1, 2, 3), addI, set(NUMBER)),
  steps(spread(KEY, KEYS), spread(TWEAK, TWEAKS), spread(BELOW, LIMIT), get(SCALE), splat, set(FACTOR)),
  repeat(
    [
      steps(get(NUMBER), get(KEYS), addI, set(DRAWN), mix),
      steps(get(DRAWN), get(TWEAKS), get(NUMBER), i32(increment), splatI, multiplyI, addI, xor, set(DRAWN), mix),
      steps(get(OUT), get(INDEX), add),
      steps(get(X), get(INDEX), add, loadVector(), get(FACTOR), multiplyV, get(DRAWN), get(LIMIT), isLessI, andNot, storeVector()),
      steps(get(NUMBER), i32(4), splatI, addI, set(NUMBER)),
    ],
    steps(get(INDEX), i32(16), add, tee(INDEX), get(BYTES), isLess),
  ),
]

/** The function over a memory; `undefined` where there is no SIMD, or `memory` is none. */
export function assembleMask(memory: unknown): VectorMask | undefined {
  const assembled = assemble(memory, {
    name: 'mask',
    parameters: [I32, I32, I32, I32, I32, I32, I32, F32],
    locals: [I32, ...Array.from({ length: 6 }, () => V128)],
    body,
  })
  return assembled?.call as VectorMask | undefined
}
