/** Training images, changed at random before each step: the same ones whenever the step is made. */
import { SwarmError } from '../runtime/errors.js'
import type { RandomStream } from '../runtime/random.js'
import type { Shape } from './define.js'
import type { Augmentation } from './definition.js'
import { showShape } from './shapes.js'

/** Pixels. */
const MAX_CROP = 64

/** What `augmentation` must be, in words. */
export const AUGMENTATION_FORM = `{ crop: 1 to ${MAX_CROP} pixels }, { flip: true } or both`

/** Whether it is an augmentation as AUGMENTATION_FORM says. */
export function isAugmentation(value: unknown): value is Augmentation {
  if (typeof value !== 'object' || value === null) return false
  const { crop, flip, ...others } = value as Augmentation
  const isCrop = crop === undefined || (Number.isSafeInteger(crop) && crop >= 1 && crop <= MAX_CROP)
  const isFlip = flip === undefined || typeof flip === 'boolean'
  return isCrop && isFlip && (crop !== undefined || flip === true) && Object.keys(others).length === 0
}

/** @throws `definition.invalid` what the network reads are no images */
export function checkAugmentation(augmentation: Augmentation | undefined, input: Shape): void {
  if (!augmentation || input.length === 3) return
  const expected = 'images [height, width, channels]'
  throw new SwarmError('definition.invalid', { what: 'augmentation', expected, got: showShape(input), fix: 'Leave it out' })
}

/**
 * Changes a batch in place, image by image: moved by up to `crop` pixels in each direction, mirrored left to right or not.
 * @param images row-major [batch × height × width × channels]
 * @param blank what a pixel that comes into view has
 * @param random of the step
 */
export function augment(
  images: Float32Array,
  [height, width, channels]: Shape,
  { crop = 0, flip = false, blank, random }: Augmentation & { readonly blank: number; readonly random: RandomStream },
): void {
  const size = height * width * channels
  const before = new Float32Array(size)
  for (let first = 0; first < images.length; first += size) {
    const image = images.subarray(first, first + size)
    const down = crop > 0 ? random.below(2 * crop + 1) - crop : 0
    const right = crop > 0 ? random.below(2 * crop + 1) - crop : 0
    const isMirrored = flip && random.below(2) === 1
    before.set(image)
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        const [fromY, shifted] = [y + down, x + right]
        const fromX = isMirrored ? width - 1 - shifted : shifted
        const isInside = fromY >= 0 && fromY < height && fromX >= 0 && fromX < width
        const [to, from] = [(y * width + x) * channels, (fromY * width + fromX) * channels]
        for (let c = 0; c < channels; c++) image[to + c] = isInside ? before[from + c] : blank
      }
    }
  }
}
