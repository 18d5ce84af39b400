/**
 * A matrix product as a WebAssembly function of our own, on the memory of tfjs's backend: any strides, so that nothing has to be transposed
 * first. Four rows by eight columns at once, both laid side by side first. Each number of c is the sum over k in
 * order, in IEEE float32 without fusing, which `Math.fround` reproduces bit for bit.
 */
import {
  type Code,
  I32,
  V128,
  add,
  addV,
  advance,
  and,
  assemble,
  f32Zero,
  get,
  i32,
  isEqual,
  isLess,
  isLessU,
  loadF32,
  loadSplat,
  loadVector,
  multiply,
  multiplyV,
  repeat,
  select,
  set,
  steps,
  storeF32,
  storeVector,
  subtract,
  tee,
  vectorZero,
  when,
} from './assembler.js'

/**
 * c [m, n] = a [m, k] · b [k, n]; m, n and k at least 1. Strides are in bytes: from row to row, from column to column; columns of c lie side by side.
 * @param scratch address of `scratchBytes(m, k)` bytes
 */
export type Product = (
  a: number,
  b: number,
  c: number,
  m: number,
  n: number,
  k: number,
  aRow: number,
  aColumn: number,
  bRow: number,
  bColumn: number,
  cRow: number,
  scratch: number,
) => void

const [ROWS, COLUMNS] = [4, 8]
const QUAD_BYTES = ROWS * 4
const PANEL_ROW_BYTES = COLUMNS * 4
const TILE_BYTES = ROWS * PANEL_ROW_BYTES

/** Room for all rows of a, four by four, for eight columns of b, and for a tile of c. */
export const scratchBytes = (m: number, k: number): number => k * (Math.ceil(m / ROWS) * QUAD_BYTES + PANEL_ROW_BYTES) + TILE_BYTES

const [A, B, C, M, N, K, A_ROW, A_COLUMN, B_ROW, B_COLUMN, C_ROW, SCRATCH] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]
const [I, J, P, WIDTH, HEIGHT, FROM, TO, END, TILE, X, Y] = [12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22]
/** Where eight columns of b begin, and where the next numbers of four rows of a lie. */
const [PANEL, QUAD] = [23, 24]
/** Addresses in four rows of a. */
const ROW = [25, 26, 27, 28]
/** Sums: four rows of two vectors; then two vectors of b, and one number of a. */
const sum = (row: number, half: number): number => 29 + 2 * row + half
const [LEFT, RIGHT, FACTOR] = [37, 38, 39]
const HALVES = [0, 1]
const EIGHT = [0, 1, 2, 3, 4, 5, 6, 7]

const smaller = (x: Code, y: Code): Code => [...x, ...y, ...x, ...y, ...isLess, ...select]
const isWhole: Code = [...get(WIDTH), ...i32(COLUMNS), ...isEqual]

/** Lays four rows of a at a time side by side, number by number: those past the last are the last again, and are not stored. */
const packRows: readonly Code[] = [
  [...get(SCRATCH), ...set(TO), ...i32(0), ...set(I)],
  repeat(
    [
      [...smaller(i32(ROWS), [...get(M), ...get(I), ...subtract]), ...set(HEIGHT)],
      [...get(A), ...get(I), ...get(A_ROW), ...multiply, ...add, ...set(ROW[0]), ...i32(0), ...set(P)],
      ...[1, 2, 3].map((row) => steps(get(ROW[row - 1]), get(A_ROW), i32(0), i32(row), get(HEIGHT), isLess, select, add, set(ROW[row]))),
      repeat(
        [
          when(
            [...get(A_ROW), ...i32(4), ...isEqual, ...get(HEIGHT), ...i32(ROWS), ...isEqual, ...and],
            [[...get(TO), ...get(ROW[0]), ...loadVector(), ...storeVector()], advance(ROW[0], get(A_COLUMN))],
            ROW.flatMap((address, row) => [
              [...get(TO), ...get(address), ...loadF32(), ...storeF32(4 * row)],
              advance(address, get(A_COLUMN)),
            ]),
          ),
          advance(TO, i32(QUAD_BYTES)),
        ],
        [...get(P), ...i32(1), ...add, ...tee(P), ...get(K), ...isLess],
      ),
    ],
    [...get(I), ...i32(ROWS), ...add, ...tee(I), ...get(M), ...isLess],
  ),
  [...get(TO), ...set(PANEL)],
]

/** Lays the columns J … J + WIDTH − 1 of b side by side behind them, and zeros where there are fewer than eight. */
const packColumns: readonly Code[] = [
  [...get(B), ...get(J), ...get(B_COLUMN), ...multiply, ...add, ...set(FROM), ...get(PANEL), ...set(TO), ...i32(0), ...set(P)],
  repeat(
    [
      when(
        [...isWhole, ...get(B_COLUMN), ...i32(4), ...isEqual, ...and],
        HALVES.map((half) => [...get(TO), ...get(FROM), ...loadVector(16 * half), ...storeVector(16 * half)]),
        [
          [...get(FROM), ...set(X)],
          ...EIGHT.map((column) =>
            when(
              [...i32(column), ...get(WIDTH), ...isLess],
              [[...get(TO), ...get(X), ...loadF32(), ...storeF32(4 * column)], advance(X, get(B_COLUMN))],
              [[...get(TO), ...f32Zero, ...storeF32(4 * column)]],
            ),
          ),
        ],
      ),
      advance(FROM, get(B_ROW)),
      advance(TO, i32(PANEL_ROW_BYTES)),
    ],
    [...get(P), ...i32(1), ...add, ...tee(P), ...get(K), ...isLess],
  ),
  [...get(TO), ...set(END)],
]

/** The next four rows by the eight columns. */
const compute: readonly Code[] = [
  ...ROW.flatMap((_, row) => HALVES.map((half): Code => [...vectorZero, ...set(sum(row, half))])),
  [...get(PANEL), ...set(FROM)],
  repeat(
    [
      [...get(FROM), ...loadVector(), ...set(LEFT), ...get(FROM), ...loadVector(16), ...set(RIGHT)],
      ...ROW.flatMap((_, row) => [
        [...get(QUAD), ...loadSplat(4 * row), ...set(FACTOR)],
        ...HALVES.map((half) =>
          steps(get(sum(row, half)), get(FACTOR), get(half === 0 ? LEFT : RIGHT), multiplyV, addV, set(sum(row, half))),
        ),
      ]),
      advance(QUAD, i32(QUAD_BYTES)),
    ],
    [...get(FROM), ...i32(PANEL_ROW_BYTES), ...add, ...tee(FROM), ...get(END), ...isLessU],
  ),
]

const storeTile = (first: number, stride: Code): readonly Code[] => [
  [...get(first), ...set(TO)],
  ...ROW.flatMap((_, row) => [
    ...HALVES.map((half): Code => [...get(TO), ...get(sum(row, half)), ...storeVector(16 * half)]),
    advance(TO, stride),
  ]),
]

/** Where a tile sticks out of c, it is stored apart, and what belongs to c is copied. */
const copyPart: readonly Code[] = [
  ...storeTile(END, i32(PANEL_ROW_BYTES)),
  [...get(END), ...set(FROM), ...i32(0), ...set(Y)],
  repeat(
    [
      [...i32(0), ...set(X)],
      repeat(
        [
          [...get(TILE), ...get(X), ...add],
          [...get(FROM), ...get(X), ...add, ...loadF32(), ...storeF32()],
        ],
        [...get(X), ...i32(4), ...add, ...tee(X), ...get(WIDTH), ...i32(4), ...multiply, ...isLess],
      ),
      advance(TILE, get(C_ROW)),
      advance(FROM, i32(PANEL_ROW_BYTES)),
    ],
    [...get(Y), ...i32(1), ...add, ...tee(Y), ...get(HEIGHT), ...isLess],
  ),
]

const body: readonly Code[] = [
  ...packRows,
  repeat(
    [
      [...smaller(i32(COLUMNS), [...get(N), ...get(J), ...subtract]), ...set(WIDTH)],
      ...packColumns,
      [...i32(0), ...set(I), ...get(SCRATCH), ...set(QUAD)],
      repeat(
        [
          [...smaller(i32(ROWS), [...get(M), ...get(I), ...subtract]), ...set(HEIGHT)],
          ...compute,
          [...get(C), ...get(I), ...get(C_ROW), ...multiply, ...add, ...get(J), ...i32(4), ...multiply, ...add, ...set(TILE)],
          when([...isWhole, ...get(HEIGHT), ...i32(ROWS), ...isEqual, ...and], storeTile(TILE, get(C_ROW)), copyPart),
        ],
        [...get(I), ...i32(ROWS), ...add, ...tee(I), ...get(M), ...isLess],
      ),
    ],
    [...get(J), ...i32(COLUMNS), ...add, ...tee(J), ...get(N), ...isLess],
  ),
]

/** The function over a memory; `undefined` where there is no SIMD, or `memory` is none. */
export function assembleProduct(memory: unknown): Product | undefined {
  const assembled = assemble(memory, {
    name: 'product',
    parameters: Array.from({ length: 12 }, () => I32),
    locals: [...Array.from({ length: 17 }, () => I32), ...Array.from({ length: 11 }, () => V128)],
    body,
  })
  return assembled?.call as Product | undefined
}
