/** Arithmetic on CRC-32 sums, after zlib's `crc32_combine` (Mark Adler): a CRC is linear over bits, so parts can be taken out of a whole. */

const POLYNOMIAL = 0xedb88320
const BITS = 32
/** Operators by length: one for each size of payload, of which a network has a handful. */
const MAX_OPERATORS = 64

/** What appending zeros does to each bit of a CRC. */
type Operator = Uint32Array

const operators = new Map<number, Operator>()

/**
 * CRC-32 of the end of a sequence of bytes.
 * @param whole of all of it
 * @param start of the part before the end
 * @param endBytes length of the end, in bytes
 */
export function crc32OfEnd(whole: number, start: number, endBytes: number): number {
  return (whole ^ times(zeros(endBytes), start)) >>> 0
}

/** The operator that appends `count` zero bytes. */
function zeros(count: number): Operator {
  const known = operators.get(count)
  if (known) return known
  let power = oneZeroByte()
  let operator = identity()
  for (let rest = count; rest > 0; rest = Math.floor(rest / 2)) {
    if (rest % 2 === 1) operator = after(operator, power)
    power = after(power, power)
  }
  if (operators.size >= MAX_OPERATORS) operators.clear()
  operators.set(count, operator)
  return operator
}

function identity(): Operator {
  return Uint32Array.from({ length: BITS }, (_, bit) => (1 << bit) >>> 0)
}

function oneZeroByte(): Operator {
  const bit = Uint32Array.from({ length: BITS }, (_, n) => (n === 0 ? POLYNOMIAL : (1 << (n - 1)) >>> 0))
  const two = after(bit, bit)
  const four = after(two, two)
  return after(four, four)
}

/** `first`, then `second`. */
function after(first: Operator, second: Operator): Operator {
  return first.map((column) => times(second, column))
}

function times(operator: Operator, crc: number): number {
  let sum = 0
  for (let bit = 0, rest = crc; rest !== 0; bit++, rest >>>= 1) if (rest & 1) sum ^= operator[bit]
  return sum >>> 0
}
