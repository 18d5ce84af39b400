/**
 * Adam as a WebAssembly module of our own, on the memory of tfjs's backend: four parameters at once, a quarter of the time that
 * JavaScript takes. Assembled here, so that nobody has to trust bytes. Its arithmetic is IEEE float32 without fusing, which
 * `Math.fround` reproduces bit for bit (optimizer-steps.ts), so whether a machine can use it does not matter to the hash.
 */

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

export interface WasmMemory {
  readonly buffer: ArrayBufferLike
}

/** The part of WebAssembly that is used here: the standard library without DOM does not declare it. */
interface WasmApi {
  validate(bytes: Uint8Array): boolean
  readonly Memory: new (limits: { initial: number }) => WasmMemory
  readonly Module: new (bytes: Uint8Array) => object
  readonly Instance: new (module: object, imports: { env: { memory: WasmMemory } }) => { readonly exports: { readonly adam: VectorAdam } }
}
const wasm = (globalThis as unknown as { WebAssembly: WasmApi }).WebAssembly

type Code = readonly number[]

const I32 = 0x7f
const F32 = 0x7d
const V128 = 0x7b
const get = (local: number): Code => [0x20, local]
const set = (local: number): Code => [0x21, local]
const simd = (opcode: number): Code => (opcode < 0x80 ? [0xfd, opcode] : [0xfd, (opcode & 0x7f) | 0x80, opcode >> 7])
const load = (pointer: number): Code => [...get(pointer), ...get(INDEX), 0x6a, ...simd(0x00), 2, 0]
const store = (pointer: number, value: number): Code => [...get(pointer), ...get(INDEX), 0x6a, ...get(value), ...simd(0x0b), 2, 0]
const splat = (from: number, to: number): Code => [...get(from), ...simd(0x13), ...set(to)]
const lane = (from: number, index: number): Code => [...get(from), ...simd(0x1f), index]
const [SQRT, ADD, SUB, MUL, DIV] = [0xe3, 0xe4, 0xe5, 0xe6, 0xe7].map(simd)
const F32_ADD = 0x92

/** Parameters of the function, then its locals. */
const [P, G, M, V, BYTES, BETA1] = [0, 1, 2, 3, 4, 5]
const INDEX = 13
/** The eight coefficients as vectors, in the order of the parameters. */
const VECTORS = 14
const COEFFICIENTS = [0, 1, 2, 3, 4, 5, 6, 7]
const [B1, R1, B2, R2, RATE, SCALE, EPSILON, KEEP] = COEFFICIENTS.map((i) => get(VECTORS + i))
const [GRADIENT, MEAN, SQUARE, VALUE, HEALTH] = [22, 23, 24, 25, 26]

const instructions: readonly Code[] = [
  ...COEFFICIENTS.map((i) => splat(BETA1 + i, VECTORS + i)),
  [0x03, 0x40], // loop
  [...load(G), ...set(GRADIENT)],
  [...B1, ...load(M), ...MUL, ...R1, ...get(GRADIENT), ...MUL, ...ADD, ...set(MEAN)],
  [...B2, ...load(V), ...MUL, ...R2, ...get(GRADIENT), ...MUL, ...get(GRADIENT), ...MUL, ...ADD, ...set(SQUARE)],
  [...load(P), ...KEEP, ...MUL, ...RATE, ...get(MEAN), ...MUL],
  [...get(SQUARE), ...SQRT, ...SCALE, ...MUL, ...EPSILON, ...ADD, ...DIV, ...SUB, ...set(VALUE)],
  [...store(M, MEAN), ...store(V, SQUARE), ...store(P, VALUE)],
  [...get(HEALTH), ...get(VALUE), ...get(VALUE), ...SUB, ...ADD, ...set(HEALTH)],
  [...get(INDEX), 0x41, 16, 0x6a, 0x22, INDEX], // index += 16
  [...get(BYTES), 0x49, 0x0d, 0, 0x0b], // again while index < bytes
  [...lane(HEALTH, 0), ...lane(HEALTH, 1), F32_ADD, ...lane(HEALTH, 2), F32_ADD, ...lane(HEALTH, 3), F32_ADD, 0x0b],
]

const unsigned = (n: number): Code => (n < 0x80 ? [n] : [(n & 0x7f) | 0x80, ...unsigned(n >> 7)])
const section = (id: number, content: Code): Code => [id, ...unsigned(content.length), ...content]
const text = (value: string): Code => [value.length, ...new TextEncoder().encode(value)]

function assemble(): Uint8Array<ArrayBuffer> {
  const locals = [2, 1, I32, 13, V128]
  const parameters = [I32, I32, I32, I32, I32, F32, F32, F32, F32, F32, F32, F32, F32]
  const code = [...locals, ...instructions.flat()]
  return Uint8Array.of(
    0x00,
    0x61,
    0x73,
    0x6d,
    1,
    0,
    0,
    0,
    ...section(1, [1, 0x60, parameters.length, ...parameters, 1, F32]),
    ...section(2, [1, ...text('env'), ...text('memory'), 0x02, 0x00, 1]),
    ...section(3, [1, 0]),
    ...section(7, [1, ...text('adam'), 0x00, 0]),
    ...section(10, [1, ...unsigned(code.length), ...code]),
  )
}

/** The function over a memory; `undefined` where there is no SIMD, or `memory` is none. */
export function assembleAdam(memory: unknown): { readonly memory: WasmMemory; readonly adam: VectorAdam } | undefined {
  const bytes = assemble()
  if (!(memory instanceof wasm.Memory) || !wasm.validate(bytes)) return undefined
  return { memory, adam: new wasm.Instance(new wasm.Module(bytes), { env: { memory } }).exports.adam }
}
