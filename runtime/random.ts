/**
 * Seeded randomness: counter-based, so that the k-th number of a stream does not depend on how many were drawn before.
 * Integer arithmetic and + − × only: the same bits on every machine and Node version (PROTOCOL.md rule 19).
 */

/** A stream of numbers named by a seed and labels: (seed, 'init', vnode, tensor), (seed, 'dropout', vnode, step) … */
export class RandomStream {
  readonly #key: number
  readonly #tweak: number
  #counter = 0

  /** @param seed any safe integer; @param labels what the stream is for: other labels, other numbers */
  constructor(seed: number, ...labels: readonly (string | number)[]) {
    let a = mix((seed | 0) ^ 0x9e3779b9)
    let b = mix((Math.floor(seed / 4294967296) | 0) ^ 0x85ebca6b)
    for (const label of labels) {
      const text = `${typeof label}:${label}`
      for (let i = 0; i < text.length; i++) {
        a = mix(a ^ text.charCodeAt(i))
        b = mix((b + Math.imul(text.charCodeAt(i) + 1, 0x01000193)) | 0)
      }
      a = mix(a ^ 0x27d4eb2f)
      b = mix(b ^ a)
    }
    this.#key = a
    this.#tweak = b
  }

  /** The next 32 bits, as an unsigned integer. */
  bits(): number {
    return numberAt(this.#key, this.#tweak, this.#counter++)
  }

  /** The next `count` numbers, for whoever computes them elsewhere. */
  take(count: number): Numbers {
    const start = this.#counter
    this.#counter += count
    return { key: this.#key, tweak: this.#tweak, start }
  }

  /** Uniform in [0, 1), a multiple of 2⁻²⁴. */
  uniform(): number {
    return (this.bits() >>> 8) * 5.9604644775390625e-8
  }

  /** Uniform integer in [0, n), n from 1 to 2³². */
  below(n: number): number {
    return Math.floor(((this.bits() >>> 0) * n) / 4294967296)
  }

  /** Mean 0, variance 1, within ±6: the sum of twelve uniforms (Irwin–Hall); it needs no logarithm, whose bits differ by platform. */
  normal(): number {
    let sum = -6
    for (let i = 0; i < 12; i++) sum += this.uniform()
    return sum
  }

  /** A permutation of 0 … n−1 (Fisher–Yates). */
  permutation(n: number): Uint32Array {
    const order = Uint32Array.from({ length: n }, (_, i) => i)
    for (let i = n - 1; i > 0; i--) {
      const j = this.below(i + 1)
      const t = order[i]
      order[i] = order[j]
      order[j] = t
    }
    return order
  }
}

/** Numbers of a stream that follow one another: `numberAt(key, tweak, start)`, `numberAt(key, tweak, start + 1)` … */
export interface Numbers {
  readonly key: number
  readonly tweak: number
  readonly start: number
}

/** What the numbers are made with; the two factors are those of `lowbias32`. */
export const RANDOM_CONSTANTS = { increment: 0x9e3779b9, first: 0x7feb352d, second: 0x846ca68b } as const

/** Number `n` of a stream: 32 bits, as an unsigned integer. */
export function numberAt(key: number, tweak: number, n: number): number {
  return mix(mix((n + key) | 0) ^ (tweak + Math.imul(n, RANDOM_CONSTANTS.increment))) >>> 0
}

/** A bijection of 32-bit integers with full avalanche (the finaliser `lowbias32` of C. Wellons, 2018, with its constants). */
function mix(x: number): number {
  x = Math.imul(x ^ (x >>> 16), RANDOM_CONSTANTS.first)
  x = Math.imul(x ^ (x >>> 15), RANDOM_CONSTANTS.second)
  return x ^ (x >>> 16)
}
