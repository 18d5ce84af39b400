/** Which token comes next, drawn by its probability. */
import type { RandomStream } from '../runtime/random.js'
import { largest } from './losses.js'
import { tf } from './tf.js'

/** @param probabilities of the tokens; they sum to 1 @param temperature 0: the likeliest; else p^(1/temperature), made to sum to 1 again */
export function sampleToken(probabilities: Float32Array, temperature: number, random: RandomStream): number {
  if (temperature === 0) return largest(probabilities, 0, probabilities.length)
  const weights = tf.tidy(() => tf.softmax(tf.div(tf.log(tf.maximum(tf.tensor1d(probabilities), TINY)), temperature)).dataSync())
  let rest = random.uniform()
  for (let token = 0; token < weights.length; token++) {
    rest -= weights[token]
    if (rest < 0) return token
  }
  return largest(probabilities, 0, probabilities.length)
}

/** Keeps the logarithm of what cannot be finite. */
const TINY = 1e-30
