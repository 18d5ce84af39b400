/**
 * Adam as a WebAssembly function of our own, on the memory of tfjs's backend: four parameters at once, a quarter of the time that
 * JavaScript takes. Its arithmetic is IEEE float32 without fusing, which `Math.fround` reproduces bit for bit (optimizer-steps.ts), so
 * whether a machine can use it does not matter to the hash.
 */
import {
  type Code,
  F32,
  I32,
  V128,
  type WasmMemory,
  add,
  addF32,
  addV,
  assemble,
  divideV,
  get,
  i32,
  isLess,
  lane,
  loadVector,
  multiplyV,
  repeat,
  set,
  splat,
  sqrtV,
  storeVector,
  subtractV,
  tee,
} from './assembler.js'

/** Byte offsets of p, g, m, v; bytes to do (a multiple of 16); coefficients. Returns 0, or NaN if a parameter is not finite now. */
export type VectorAdam = (
  p: number,
  g: number,
  m: number,
  v: number,
  bytes: number,
  beta1: number,
  rest1: number,
  beta2: number,
  rest2: number,
  rate: number,
  scale: number,
  epsilon: number,
  keep: number,
) => number

/** Parameters of the function, then its locals. */
const [P, G, M, V, BYTES, BETA1] = [0, 1, 2, 3, 4, 5]
const INDEX = 13
/** The eight coefficients as vectors, in the order of the parameters. */
const VECTORS = 14
const COEFFICIENTS = [0, 1, 2, 3, 4, 5, 6, 7]
const [B1, R1, B2, R2, RATE, SCALE, EPSILON, KEEP] = COEFFICIENTS.map((i) => get(VECTORS + i))
const [GRADIENT, MEAN, SQUARE, VALUE, HEALTH] = [22, 23, 24, 25, 26]

const at = (pointer: number): Code => [...get(pointer), ...get(INDEX), ...add]
const load = (pointer: number): Code => [...at(pointer), ...loadVector()]
const store = (pointer: number, value: number): Code => [...at(pointer), ...get(value), ...storeVector()]

const body: readonly Code[] = [
  ...COEFFICIENTS.map((i): Code => [...get(BETA1 + i), ...splat, ...set(VECTORS + i)]),
  repeat(
    [
      [...load(G), ...set(GRADIENT)],
      [...B1, ...load(M), ...multiplyV, ...R1, ...get(GRADIENT), ...multiplyV, ...addV, ...set(MEAN)],
      [...B2, ...load(V), ...multiplyV, ...R2, ...get(GRADIENT), ...multiplyV, ...get(GRADIENT), ...multiplyV, ...addV, ...set(SQUARE)],
      [...load(P), ...KEEP, ...multiplyV, ...RATE, ...get(MEAN), ...multiplyV],
      [...get(SQUARE), ...sqrtV, ...SCALE, ...multiplyV, ...EPSILON, ...addV, ...divideV, ...subtractV, ...set(VALUE)],
      [...store(M, MEAN), ...store(V, SQUARE), ...store(P, VALUE)],
      [...get(HEALTH), ...get(VALUE), ...get(VALUE), ...subtractV, ...addV, ...set(HEALTH)],
    ],
    [...get(INDEX), ...i32(16), ...add, ...tee(INDEX), ...get(BYTES), ...isLess],
  ),
  [0, 1, 2, 3].flatMap((i) => [...get(HEALTH), ...lane(i), ...(i > 0 ? addF32 : [])]),
]

/** The function over a memory; `undefined` where there is no SIMD, or `memory` is none. */
export function assembleAdam(memory: unknown): { readonly memory: WasmMemory; readonly call: VectorAdam } | undefined {
  return assemble(memory, {
    name: 'adam',
    parameters: [I32, I32, I32, I32, I32, F32, F32, F32, F32, F32, F32, F32, F32],
    result: F32,
    locals: [I32, ...Array.from({ length: 13 }, () => V128)],
    body,
  }) as ReturnType<typeof assembleAdam>
}
