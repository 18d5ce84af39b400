/** WebAssembly of our own, assembled here so that nobody has to trust bytes: the few instructions that the kernels need, and a module around them. */

export interface WasmMemory {
  readonly buffer: ArrayBufferLike
}

/** The part of WebAssembly that is used here: the standard library without DOM does not declare it. */
interface WasmApi {
  validate(bytes: Uint8Array): boolean
  readonly Memory: new (limits: { initial: number }) => WasmMemory
  readonly Module: new (bytes: Uint8Array) => object
  readonly Instance: new (
    module: object,
    imports: { env: { memory: WasmMemory } },
  ) => { readonly exports: { readonly [name: string]: unknown } }
}
const wasm = (globalThis as unknown as { WebAssembly: WasmApi }).WebAssembly

export type Code = readonly number[]

export const I32 = 0x7f
export const F32 = 0x7d
export const V128 = 0x7b
/** Without a result, of a block. */
const NOTHING = 0x40

export const get = (local: number): Code => [0x20, ...unsigned(local)]
export const set = (local: number): Code => [0x21, ...unsigned(local)]
export const tee = (local: number): Code => [0x22, ...unsigned(local)]
export const i32 = (value: number): Code => [0x41, ...signed(value)]
export const [add, subtract, multiply, isLess, isEqual, and] = [0x6a, 0x6b, 0x6c, 0x48, 0x46, 0x71].map((opcode): Code => [opcode])
/** Of unsigned numbers: addresses may lie beyond 2 GiB. */
export const isLessU: Code = [0x49]
/** The first value if the condition on top is true, else the second. */
export const select: Code = [0x1b]
export const loadF32 = (offset = 0): Code => [0x2a, 2, ...unsigned(offset)]
export const storeF32 = (offset = 0): Code => [0x38, 2, ...unsigned(offset)]
export const f32Zero: Code = [0x43, 0, 0, 0, 0]
export const addF32: Code = [0x92]

const simd = (opcode: number): Code => [0xfd, ...unsigned(opcode)]
export const loadVector = (offset = 0): Code => [...simd(0x00), 2, ...unsigned(offset)]
/** One number four times. */
export const loadSplat = (offset = 0): Code => [...simd(0x09), 2, ...unsigned(offset)]
export const storeVector = (offset = 0): Code => [...simd(0x0b), 2, ...unsigned(offset)]
export const lanesI = (...values: readonly [number, number, number, number]): Code => [
  ...simd(0x0c),
  ...new Uint8Array(Int32Array.from(values).buffer),
]
export const vectorZero: Code = [...simd(0x0c), ...Array.from({ length: 16 }, () => 0)]
export const splat: Code = simd(0x13)
export const lane = (index: number): Code => [...simd(0x1f), index]
/** Of four integers: as floats those of the same name without I; `isLessI` is of unsigned ones, and leaves all bits or none. */
export const [splatI, isLessI, shiftI, addI, multiplyI] = [0x11, 0x3a, 0xad, 0xae, 0xb5].map(simd)
/** a and not b; a or b but not both. */
export const [andNot, xor] = [0x4f, 0x51].map(simd)
export const [sqrtV, addV, subtractV, multiplyV, divideV] = [0xe3, 0xe4, 0xe5, 0xe6, 0xe7].map(simd)

/** One after another. */
export const steps = (...parts: readonly Code[]): Code => parts.flat()
/** `body`, and again while `condition` leaves something other than 0. */
export const repeat = (body: readonly Code[], condition: Code): Code => [0x03, NOTHING, ...body.flat(), ...condition, 0x0d, 0, 0x0b]
export const when = (condition: Code, then: readonly Code[], otherwise: readonly Code[] = []): Code => [
  ...condition,
  0x04,
  NOTHING,
  ...then.flat(),
  ...(otherwise.length > 0 ? [0x05, ...otherwise.flat()] : []),
  0x0b,
]
/** Adds to a local. */
export const advance = (local: number, by: Code): Code => [...get(local), ...by, ...add, ...set(local)]

export interface WasmFunction {
  readonly name: string
  /** Types. */
  readonly parameters: Code
  readonly result?: number
  /** Types of its locals, which follow the parameters. */
  readonly locals: Code
  readonly body: readonly Code[]
}

function unsigned(n: number): Code {
  return n < 0x80 ? [n] : [(n & 0x7f) | 0x80, ...unsigned(n >>> 7)]
}

function signed(n: number): Code {
  return n >= -64 && n < 64 ? [n & 0x7f] : [(n & 0x7f) | 0x80, ...signed(n >> 7)]
}

const section = (id: number, content: Code): Code => [id, ...unsigned(content.length), ...content]
const text = (value: string): Code => [value.length, ...new TextEncoder().encode(value)]

/** `\0asm`, version 1. */
const HEADER: Code = [0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0]

/** A module of one function that works on a memory that it is given. */
function moduleOf({ name, parameters, result, locals, body }: WasmFunction): Uint8Array {
  const code = [...unsigned(locals.length), ...locals.flatMap((type) => [1, type]), ...body.flat(), 0x0b]
  return Uint8Array.of(
    ...HEADER,
    ...section(1, [1, 0x60, parameters.length, ...parameters, ...(result === undefined ? [0] : [1, result])]),
    ...section(2, [1, ...text('env'), ...text('memory'), 0x02, 0x00, 1]),
    ...section(3, [1, 0]),
    ...section(7, [1, ...text(name), 0x00, 0]),
    ...section(10, [1, ...unsigned(code.length), ...code]),
  )
}

/** The function over a memory; `undefined` where there is no SIMD, or `memory` is none. */
export function assemble(memory: unknown, definition: WasmFunction): { readonly memory: WasmMemory; readonly call: unknown } | undefined {
  const bytes = moduleOf(definition)
  if (!(memory instanceof wasm.Memory) || !wasm.validate(bytes)) return undefined
  const { exports } = new wasm.Instance(new wasm.Module(bytes), { env: { memory } })
  return { memory, call: exports[definition.name] }
}
