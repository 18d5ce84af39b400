import { z } from 'zod'
import type { BuiltIn, Call } from '../define.js'
import { adamStep } from '../kernels/optimizer-steps.js'
import { checkOptions } from '../options.js'
import type { OptimizerSpec } from './optimizer.js'

const schema = z.strictObject({
  learningRate: z.number().positive().optional(),
  beta1: z.number().min(0).lt(1).default(0.9),
  beta2: z.number().min(0).lt(1).default(0.999),
  // 1e-8 amplifies honest float differences: 0.7 % of an update after one step between reduction orders, against 1e-4.
  epsilon: z.number().positive().default(1e-6),
  /** Decoupled (AdamW), of all parameters. Default 0. */
  weightDecay: z.number().min(0).optional(),
  /** Most of the norm of a VNode's gradients; longer ones are shortened to it. Default: any. */
  clipNorm: z.number().positive().optional(),
})
type AdamOptions = z.infer<typeof schema>

/** Adam (Kingma & Ba 2015), with decoupled weight decay (Loshchilov & Hutter 2019). Slots m and v; β₁ᵗ and β₂ᵗ as running products. */
export const adamSpec: BuiltIn<OptimizerSpec<AdamOptions>> = {
  name: 'adam',
  positional: 'learningRate',
  options: (raw) => checkOptions("optimizer 'adam'", schema, raw),
  slots: () => ['m', 'v'],
  clipNorm: ({ clipNorm }) => clipNorm,
  products: ({ beta1, beta2 }) => ({ beta1Power: beta1, beta2Power: beta2 }),
  update: (
    { parameters, gradient, slots: [m, v], learningRate, products: { beta1Power, beta2Power } },
    { beta1, beta2, epsilon, weightDecay },
  ) => adamStep(parameters, gradient, m, v, { learningRate, beta1, beta2, epsilon, beta1Power, beta2Power, weightDecay }),
  // TensorFlow adds its epsilon before it corrects v: √v̂ + ε = (√v + ε·√(1 − β₂ᵗ))/√(1 − β₂ᵗ).
  operation: ({ learningRate, products: { beta1Power, beta2Power } }, { beta1, beta2, epsilon, weightDecay = 0 }) =>
    weightDecay > 0
      ? undefined
      : {
          name: 'ResourceApplyAdam',
          before: [beta1Power, beta2Power, learningRate, beta1, beta2, epsilon * Math.sqrt(1 - beta2Power)],
          flags: ['use_nesterov'],
        },
}

/** Adam. Without `learningRate` the run chooses it by its length (schedule.ts). @throws `graph.unknown` */
export function adam(options: z.input<typeof schema> = {}): Call<'optimizer'> {
  return { kind: 'optimizer', name: 'adam', options: adamSpec.options(options) }
}
