import test from 'ava'
import { augment, checkAugmentation, isAugmentation } from '../../components/augmentation.js'
import { isSwarmError } from '../../runtime/errors.js'
import { RandomStream } from '../../runtime/random.js'

const [HEIGHT, WIDTH, CHANNELS] = [4, 5, 2]
const SHAPE = [HEIGHT, WIDTH, CHANNELS]
const SIZE = HEIGHT * WIDTH * CHANNELS
const COUNT = 400
/** Each number once, so that it shows where it came from; 0 is none of them. */
const batch = (): Float32Array => Float32Array.from({ length: COUNT * SIZE }, (_, i) => (i % SIZE) + 1)

/** How an image was moved and mirrored; undefined if it is not one of the ways. */
function wayOf(image: Float32Array, crop: number): string | undefined {
  for (let down = -crop; down <= crop; down++) {
    for (let right = -crop; right <= crop; right++) {
      for (const mirrored of [false, true]) {
        const expected = Float32Array.from({ length: SIZE }, (_, i) => {
          const [c, x, y] = [i % CHANNELS, Math.floor(i / CHANNELS) % WIDTH, Math.floor(i / CHANNELS / WIDTH)]
          const [fromY, fromX] = [y + down, mirrored ? WIDTH - 1 - (x + right) : x + right]
          const isInside = fromY >= 0 && fromY < HEIGHT && fromX >= 0 && fromX < WIDTH
          return isInside ? (fromY * WIDTH + fromX) * CHANNELS + c + 1 : -7
        })
        if (expected.every((value, i) => value === image[i])) return `${down} ${right} ${mirrored}`
      }
    }
  }
  return undefined
}

const waysOf = (images: Float32Array, crop: number) =>
  Array.from({ length: COUNT }, (_, i) => wayOf(images.subarray(i * SIZE, (i + 1) * SIZE), crop))

test('images are moved by up to so many pixels and mirrored, every way as likely', (t) => {
  for (const [augmentation, ways] of [
    [{ crop: 1, flip: true }, 18],
    [{ crop: 2 }, 25],
    [{ flip: true }, 2],
  ] as const) {
    const images = batch()
    augment(images, SHAPE, { ...augmentation, blank: -7, random: new RandomStream(1, 'augmentation', 1) })
    const found = waysOf(images, 'crop' in augmentation ? augmentation.crop : 0)
    t.false(found.includes(undefined))
    t.is(new Set(found).size, ways)
    const counts = [...new Set(found)].map((way) => found.filter((other) => other === way).length)
    t.true(Math.min(...counts) > COUNT / ways / 3 && Math.max(...counts) < (3 * COUNT) / ways, counts.join())
  }
})

test('the same stream makes the same images, another one others', (t) => {
  const make = (step: number) => {
    const images = batch()
    augment(images, SHAPE, { crop: 2, flip: true, blank: -7, random: new RandomStream(1, 'augmentation', step) })
    return images
  }
  t.deepEqual(make(3), make(3))
  t.notDeepEqual(make(3), make(4))
})

test('what is no augmentation, and what is no image, is refused', (t) => {
  for (const wrong of [{}, { crop: 0 }, { crop: 65 }, { crop: 1.5 }, { flip: false }, { flip: 1 }, { crop: 2, turn: 90 }, null, 4]) {
    t.false(isAugmentation(wrong), JSON.stringify(wrong))
  }
  for (const right of [{ crop: 4 }, { flip: true }, { crop: 64, flip: false }]) t.true(isAugmentation(right))
  const error = t.throws(() => checkAugmentation({ crop: 2 }, [784]))
  t.true(isSwarmError(error, 'definition.invalid'))
  t.regex(error.message, /augmentation: expected images.*got \[784\]/)
  t.notThrows(() => checkAugmentation({ crop: 2 }, [28, 28, 1]))
})
