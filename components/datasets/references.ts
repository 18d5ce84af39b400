/** Data sets by name, as plain data that a run's definition can hold. Opening one is `openDataset`'s. */
import type { Call, Shape, Target } from '../define.js'

/** Where samples come from: the name of a built-in data set, or a definition in a user's module. */
export type DatasetReference = Call<'dataset'>

export interface CsvOptions {
  /** The label's column; several for a continuous target of several numbers. */
  readonly label: string | readonly string[]
  /** Default `'categorical'`: each different cell is a class. `'continuous'`: the cells are numbers. */
  readonly target?: 'categorical' | 'continuous'
  /** The classes in the order of their numbers. Default: those in the training file, numbers by size, else by code unit. */
  readonly classes?: readonly string[]
  /** A second file, or the fraction of the first one's rows to set apart. Default: no test samples. */
  readonly test?: string | number
  /** Which rows a fraction takes. Default 0. */
  readonly seed?: number
  /** The input columns. Default: all that are not labels. */
  readonly features?: readonly string[]
  /** Default true: each column becomes (x − mean)/deviation, by the training rows. */
  readonly standardise?: boolean
  /** Default `,`. */
  readonly delimiter?: string
}

export interface GlyphsOptions {
  /** Training images. Default 20,000: with 10,000 a network of local learners stays four points below. */
  readonly train?: number
  /** Test images. Default 2,000. */
  readonly test?: number
  /** Default 0. */
  readonly seed?: number
}

/** How a text becomes samples: windows of characters, of which each next one is to be told. */
export interface TextOptions {
  /** Characters of a sample: the network's input is [context]. Default 64. */
  readonly context?: number
  /** Characters from the start of a training sample to that of the next. Default: `context`, so that each character is told once in an epoch. */
  readonly stride?: number
  /** Fraction of the text, its end, that is set apart as test samples. Default 0.1; 0: none. */
  readonly test?: number
  /** The characters, in the order of their numbers. Default: those of the text, by code point. */
  readonly vocabulary?: string
}

/** What a network learns from and what it learns: known before the data set is opened. */
export interface Task {
  readonly input: Shape
  readonly target: Target
}

/** The names of the data sets that swarmgrad brings along. */
export const DATASET_NAMES = ['fashion-mnist', 'mnist', 'glyphs', 'tiny-shakespeare', 'text', 'csv'] as const

/** The data sets that swarmgrad brings along. */
export const datasets = {
  /** Zalando's articles of clothing (2017): 60,000 + 10,000 grey images, 28×28, 10 classes. */
  fashionMnist: (): DatasetReference => reference('fashion-mnist', {}),
  /** The handwritten digits of LeCun, Cortes and Burges: 60,000 + 10,000 grey images, 28×28, 10 classes. */
  mnist: (): DatasetReference => reference('mnist', {}),
  /** Drawn on the spot, the same bits everywhere: ten shapes, bent and noisy, grey, 28×28. Needs no file. */
  glyphs: ({ train = 20_000, test = 2_000, seed = 0 }: GlyphsOptions = {}): DatasetReference => reference('glyphs', { train, test, seed }),
  /** 1.1 million characters of Shakespeare's plays (Karpathy 2015), 65 different ones: what language models of characters are tried on. */
  tinyShakespeare: (options: TextOptions = {}): DatasetReference => reference('tiny-shakespeare', { ...options }),
  /** A file of text in UTF-8, character by character. */
  text: (file: string, options: TextOptions = {}): DatasetReference => reference('text', { file, ...options }),
  /** A table in a file, with a line of column names. */
  csv: (file: string, options: CsvOptions): DatasetReference => reference('csv', { file, ...options }),
}

function reference(name: (typeof DATASET_NAMES)[number], options: DatasetReference['options']): DatasetReference {
  return { kind: 'dataset', name, options }
}
