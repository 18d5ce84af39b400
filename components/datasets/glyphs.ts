/**
 * `glyphs`: ten shapes of strokes, each drawn bent, shifted, with one stray stroke and noise. It needs no file, is learned in
 * seconds and is not trivial: a linear classifier stays below 90 %, a small MLP passes 98 %.
 * Arithmetic is + − × ÷ √ only and samples are bytes: the same bits on every machine and Node version. An image depends on
 * (seed, split, index) alone.
 */
import { SwarmError } from '../../runtime/errors.js'
import { RandomStream } from '../../runtime/random.js'
import { makeDataset } from './dataset.js'
import type { Dataset, SplitContent } from './dataset.js'

type Stroke = readonly [fromX: number, fromY: number, toX: number, toY: number]

export const GLYPH_SIDE = 28

/** How glyphs vary; lengths in pixels unless said otherwise. */
const RECIPE = {
  rotation: 0.26, // radians, either way
  halfSize: 7.5,
  scale: [0.7, 1.15],
  shear: 0.25,
  shift: 3,
  jitter: 0.12, // of a control point, in half-sizes
  thickness: [0.7, 1.4], // half the width of a stroke
  distractor: 6, // length of the stray stroke
  noise: 0.15, // standard deviation, of full brightness
} as const

/** Mean and deviation of the pixels/255 of the default training set, rounded. */
const NORMALISATION = { mean: 0.17, deviation: 0.28 }

/** The most images of one split: 1.6 GB. */
const MAX_IMAGES = 2_000_000

/** Control points in half-sizes, y downwards; a list of polylines per glyph. */
const SKELETONS: readonly (readonly [name: string, lines: readonly (readonly number[])[]])[] = [
  ['plus', [[-1, 0, 1, 0], [0, -1, 0, 1]]],
  ['cross', [[-1, -1, 1, 1], [-1, 1, 1, -1]]],
  ['square', [[-1, -1, 1, -1, 1, 1, -1, 1, -1, -1]]],
  ['triangle', [[0, -1, 1, 1, -1, 1, 0, -1]]],
  ['T', [[-1, -1, 1, -1], [0, -1, 0, 1]]],
  ['L', [[-1, -1, -1, 1, 1, 1]]],
  ['Z', [[-1, -1, 1, -1, -1, 1, 1, 1]]],
  ['V', [[-1, -1, 0, 1, 1, -1]]],
  ['H', [[-1, -1, -1, 1], [1, -1, 1, 1], [-1, 0, 1, 0]]],
  ['N', [[-1, 1, -1, -1, 1, 1, 1, -1]]],
] // prettier-ignore

/** Draws the data set. @throws `dataset.invalid` */
export function drawGlyphs({ train, test, seed }: { readonly train: number; readonly test: number; readonly seed: number }): Dataset {
  const check = (name: string, value: number, least: number, most: number) => {
    if (Number.isSafeInteger(value) && value >= least && value <= most) return
    throw new SwarmError('dataset.invalid', {
      what: `option '${name}' of glyphs`,
      expected: `a whole number from ${least} to ${most}`,
      got: String(value),
    })
  }
  check('train', train, 1, MAX_IMAGES)
  check('test', test, 0, MAX_IMAGES)
  check('seed', seed, -Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER)
  return makeDataset(
    {
      id: 'glyphs',
      input: [GLYPH_SIDE, GLYPH_SIDE, 1],
      target: { kind: 'categorical', classes: SKELETONS.length },
      normalisation: NORMALISATION,
      classNames: SKELETONS.map(([name]) => name),
    },
    { train: drawSplit(seed, 'train', train), ...(test > 0 && { test: drawSplit(seed, 'test', test) }) },
  )
}

function drawSplit(seed: number, split: string, size: number): SplitContent {
  const pixels = GLYPH_SIDE * GLYPH_SIDE
  const samples = new Uint8Array(size * pixels)
  const labels = new Int32Array(size)
  const image = new Float64Array(pixels)
  for (let index = 0; index < size; index++) {
    const random = new RandomStream(seed, 'glyphs', split, index)
    const label = index % SKELETONS.length // in order of classes: an epoch's order is shuffled anyway
    image.fill(0)
    drawGlyph(image, SKELETONS[label][1], random)
    addNoise(image, random, samples.subarray(index * pixels, (index + 1) * pixels))
    labels[index] = label
  }
  return { samples, labels }
}

function drawGlyph(image: Float64Array, lines: readonly (readonly number[])[], random: RandomStream): void {
  const between = (low: number, high: number) => low + (high - low) * random.uniform()
  const angle = between(-RECIPE.rotation, RECIPE.rotation)
  const scaleX = RECIPE.halfSize * between(...RECIPE.scale)
  const scaleY = RECIPE.halfSize * between(...RECIPE.scale)
  const shear = between(-RECIPE.shear, RECIPE.shear)
  const centre = (GLYPH_SIDE - 1) / 2
  const shiftX = centre + between(-RECIPE.shift, RECIPE.shift)
  const shiftY = centre + between(-RECIPE.shift, RECIPE.shift)
  const thickness = between(...RECIPE.thickness)
  const cos = cosine(angle)
  const sin = sine(angle)
  for (const line of lines) {
    let previousX = 0
    let previousY = 0
    for (let k = 0; k < line.length; k += 2) {
      const y = scaleY * (line[k + 1] + between(-RECIPE.jitter, RECIPE.jitter))
      const x = scaleX * (line[k] + between(-RECIPE.jitter, RECIPE.jitter)) + shear * y
      const turnedX = cos * x - sin * y + shiftX
      const turnedY = sin * x + cos * y + shiftY
      if (k > 0) drawStroke(image, [previousX, previousY, turnedX, turnedY], thickness)
      previousX = turnedX
      previousY = turnedY
    }
  }
  drawStroke(image, strayStroke(random), thickness)
}

/** A stroke anywhere in the image, in any direction. */
function strayStroke(random: RandomStream): Stroke {
  let [dx, dy, square] = [1, 0, 1]
  for (let attempt = 0; attempt < 16; attempt++) {
    // a point of the unit disc, by rejection: four in five are accepted
    const u = 2 * random.uniform() - 1
    const v = 2 * random.uniform() - 1
    if (u * u + v * v > 1 || u * u + v * v < 0.01) continue
    ;[dx, dy, square] = [u, v, u * u + v * v]
    break
  }
  const half = RECIPE.distractor / 2 / Math.sqrt(square)
  const x = (GLYPH_SIDE - 1) * random.uniform()
  const y = (GLYPH_SIDE - 1) * random.uniform()
  return [x - half * dx, y - half * dy, x + half * dx, y + half * dy]
}

/** Brightens what lies within `thickness` of the stroke's line, with an edge one pixel wide. */
function drawStroke(image: Float64Array, [fromX, fromY, toX, toY]: Stroke, thickness: number): void {
  const reach = thickness + 0.5
  const left = Math.max(0, Math.ceil(Math.min(fromX, toX) - reach))
  const right = Math.min(GLYPH_SIDE - 1, Math.floor(Math.max(fromX, toX) + reach))
  const top = Math.max(0, Math.ceil(Math.min(fromY, toY) - reach))
  const bottom = Math.min(GLYPH_SIDE - 1, Math.floor(Math.max(fromY, toY) + reach))
  const dx = toX - fromX
  const dy = toY - fromY
  const square = Math.max(dx * dx + dy * dy, 1e-9)
  for (let y = top; y <= bottom; y++) {
    for (let x = left; x <= right; x++) {
      const along = Math.min(1, Math.max(0, ((x - fromX) * dx + (y - fromY) * dy) / square))
      const awayX = x - fromX - along * dx
      const awayY = y - fromY - along * dy
      const distance = awayX * awayX + awayY * awayY
      if (distance >= reach * reach) continue
      const brightness = Math.min(1, reach - Math.sqrt(distance))
      const at = y * GLYPH_SIDE + x
      if (brightness > image[at]) image[at] = brightness
    }
  }
}

/** Adds noise (the sum of two uniform bytes: a triangle) to every pixel and makes bytes of them. */
function addNoise(image: Float64Array, random: RandomStream, bytes: Uint8Array): void {
  const unit = RECIPE.noise / Math.sqrt((256 * 256 - 1) / 6)
  for (let k = 0; k < image.length; k += 2) {
    const bits = random.bits()
    const first = (bits & 255) + ((bits >>> 8) & 255) - 255
    const second = ((bits >>> 16) & 255) + (bits >>> 24) - 255
    bytes[k] = toByte(image[k] + unit * first)
    bytes[k + 1] = toByte(image[k + 1] + unit * second)
  }
}

function toByte(brightness: number): number {
  return Math.floor(255 * Math.min(1, Math.max(0, brightness)) + 0.5)
}

/** sin a for |a| ≤ 0.5, within 10⁻¹¹ (Taylor). Math.sin has other bits on other platforms. */
function sine(a: number): number {
  const s = a * a
  return a * (1 - (s / 6) * (1 - (s / 20) * (1 - (s / 42) * (1 - s / 72))))
}

/** cos a for |a| ≤ 0.5, within 10⁻⁹ (Taylor). */
function cosine(a: number): number {
  const s = a * a
  return 1 - (s / 2) * (1 - (s / 12) * (1 - (s / 30) * (1 - s / 56)))
}
