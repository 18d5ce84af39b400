/**
 * Optimizer updates in one pass over the memory, in place, with only + − × ÷ √: the same bits everywhere (PROTOCOL.md rule 19).
 * Each returns 0, or NaN if an updated parameter is not finite.
 */
import { assembleAdam } from './adam-module.js'

export interface AdamCoefficients {
  readonly learningRate: number
  readonly beta1: number
  readonly beta2: number
  readonly epsilon: number
  /** β₁ᵗ and β₂ᵗ of this step. */
  readonly beta1Power: number
  readonly beta2Power: number
  /** λ of decoupled weight decay: p −= η·λ·p before the update (Loshchilov & Hutter 2019). Default 0. */
  readonly weightDecay?: number
}

let vector: ReturnType<typeof assembleAdam>

/** Lets `adamStep` use vectors on arrays that lie in this WebAssembly memory. */
export function useVectors(memory: unknown): void {
  vector = assembleAdam(memory)
}

/**
 * Adam (Kingma & Ba 2015) in float32: p = (1 − η·λ)·p − η·m̂/(√v̂ + ε), m̂ = m/(1 − β₁ᵗ), v̂ = v/(1 − β₂ᵗ). The arrays do not overlap.
 */
export function adamStep(p: Float32Array, g: Float32Array, m: Float32Array, v: Float32Array, c: AdamCoefficients): number {
  const round = Math.fround
  const [beta1, rest1, beta2, rest2] = [round(c.beta1), round(1 - c.beta1), round(c.beta2), round(1 - c.beta2)]
  const rate = round(c.learningRate / (1 - c.beta1Power))
  const scale = round(1 / Math.sqrt(1 - c.beta2Power))
  const epsilon = round(c.epsilon)
  const keep = round(1 - c.learningRate * (c.weightDecay ?? 0))
  let health = 0
  let start = 0
  if (vector && p.buffer === vector.memory.buffer && p.length >= 4) {
    start = p.length - (p.length % 4)
    health = vector.call(
      ...([p.byteOffset, g.byteOffset, m.byteOffset, v.byteOffset, 4 * start] as const),
      ...([beta1, rest1, beta2, rest2, rate, scale, epsilon, keep] as const),
    )
  }
  for (let i = start; i < p.length; i++) {
    const gi = g[i]
    const mi = round(round(beta1 * m[i]) + round(rest1 * gi))
    const vi = round(round(beta2 * v[i]) + round(round(rest2 * gi) * gi))
    const pi = round(round(p[i] * keep) - round(round(rate * mi) / round(round(round(Math.sqrt(vi)) * scale) + epsilon)))
    m[i] = mi
    v[i] = vi
    p[i] = pi
    health += pi - pi
  }
  return health
}

/** Gradient descent with weight decay: p −= η·(g + λ·p). */
export function sgdStep(p: Float32Array, g: Float32Array, learningRate: number, weightDecay: number): number {
  let health = 0
  for (let i = 0; i < p.length; i++) {
    const pi = p[i] - learningRate * (g[i] + weightDecay * p[i])
    p[i] = pi
    health += pi - pi
  }
  return health
}

/** Gradient descent with momentum: u = μ·u + g + λ·p; p −= η·u. */
export function momentumStep(
  p: Float32Array,
  g: Float32Array,
  u: Float32Array,
  learningRate: number,
  momentum: number,
  weightDecay: number,
): number {
  let health = 0
  for (let i = 0; i < p.length; i++) {
    const ui = momentum * u[i] + g[i] + weightDecay * p[i]
    const pi = p[i] - learningRate * ui
    u[i] = ui
    p[i] = pi
    health += pi - pi
  }
  return health
}
