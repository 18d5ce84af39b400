/** Arithmetic with shapes; nothing here needs tfjs. */
import { SwarmError } from '../runtime/errors.js'
import type { Shape } from './define.js'

/** Number of elements. */
export function sizeOf(shape: Shape): number {
  return shape.reduce((a, b) => a * b, 1)
}

/** A shape as people read it. */
export const showShape = (shape: Shape): string => `[${shape.join(', ')}]`

/** True if two shapes are equal. */
export const sameShape = (a: Shape, b: Shape): boolean => a.length === b.length && a.every((size, i) => size === b[i])

/** Asserts the rank of a layer's input. @throws `graph.shape` */
export function expectRank(layer: string, input: Shape, rank: 1 | 3, fix: string): void {
  if (input.length === rank) return
  const kind = rank === 1 ? 'a flat input' : 'images [height, width, channels]'
  throw new SwarmError('graph.shape', { what: `${layer} needs ${kind}`, got: showShape(input), fix })
}

/** Height and width after a window of `size` slid over an image. @throws `graph.shape` if it does not fit */
export function slidingShape(
  layer: string,
  [height, width]: Shape,
  size: number,
  strides: number,
  padding: 'same' | 'valid',
): [number, number] {
  const positions = (length: number): number =>
    padding === 'same' ? Math.ceil(length / strides) : Math.floor((length - size) / strides) + 1
  if (padding === 'valid' && (height < size || width < size)) {
    throw new SwarmError('graph.shape', {
      what: `${layer} with a window of ${size}×${size} needs a larger image`,
      got: `${height}×${width}`,
    })
  }
  return [positions(height), positions(width)]
}
