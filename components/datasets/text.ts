/** Texts, character by character: windows of `context` characters, and for each of them the one that follows. */
import { readFile } from 'node:fs/promises'
import { basename, resolve } from 'node:path'
import { SwarmError, isSwarmError, toSwarmError } from '../../runtime/errors.js'
import { ITSELF, makeDataset } from './dataset.js'
import type { Dataset, DatasetDescription, SplitContent } from './dataset.js'
import { findPublished } from './published.js'
import type { FindOptions, PublishedSet } from './published.js'
import type { TextOptions } from './references.js'

const DEFAULTS = { context: 64, test: 0.1 } as const
/** Bytes of windows and labels in memory. */
const MAX_BYTES = 2 ** 31
/** Numbers of so few characters are kept as bytes. */
const MAX_BYTE_VOCABULARY = 256

export const TINY_SHAKESPEARE: PublishedSet = {
  id: 'tiny-shakespeare',
  origins: ['https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/'],
  files: [{ name: 'input.txt', sizeBytes: 1_115_394, sha256: '86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed' }],
}

/** @throws `dataset.missing`, `dataset.damaged`, `dataset.invalid`, `aborted` */
export async function openTinyShakespeare(options: TextOptions, find: FindOptions = {}): Promise<Dataset> {
  const [file] = await findPublished(TINY_SHAKESPEARE, find)
  return textDataset(TINY_SHAKESPEARE.id, await readText(file, find.signal), options)
}

/**
 * Opens a file of text in UTF-8 as a data set.
 * @throws `dataset.missing` no such file; `dataset.invalid` naming the file, and the line and column of a character; `aborted`
 */
export async function openText(
  { file, ...options }: TextOptions & { readonly file: string },
  { signal }: Pick<FindOptions, 'signal'> = {},
): Promise<Dataset> {
  return textDataset(basename(file), await readText(resolve(file), signal), options)
}

/** The characters of a text by their numbers. @throws `dataset.invalid` a character that the vocabulary lacks */
export function encodeText({ id, classNames = [] }: Pick<DatasetDescription, 'id' | 'classNames'>, text: string): Int32Array {
  return numbersOf(text, classNames, id)
}

/** The text of numbers. */
export function decodeText({ classNames = [] }: Pick<DatasetDescription, 'classNames'>, numbers: Iterable<number>): string {
  return Array.from(numbers, (number) => classNames[number] ?? '\ufffd').join('')
}

function textDataset(id: string, text: string, options: TextOptions): Dataset {
  const { context, test, stride } = checked(id, options)
  const characters = options.vocabulary === undefined ? undefined : Array.from(options.vocabulary)
  if (characters && new Set(characters).size !== characters.length) {
    throw new SwarmError('dataset.invalid', { what: 'a character is twice in the vocabulary', where: id, got: doubleOf(characters) })
  }
  const classNames = characters ?? Array.from(new Set(text)).toSorted((a, b) => a.codePointAt(0)! - b.codePointAt(0)!)
  const numbers = numbersOf(text, classNames, id)
  const end = numbers.length - Math.floor(test * numbers.length)
  const isSmall = classNames.length <= MAX_BYTE_VOCABULARY
  const cut = (name: string, part: Int32Array, every: number) => windows(`${id}, ${name}`, part, { context, every, isSmall })
  const description = { id, input: [context], target: { kind: 'tokens', classes: classNames.length }, classNames } as const
  return makeDataset(
    { ...description, ...(isSmall && { normalisation: ITSELF }) },
    {
      train: cut('training text', numbers.subarray(0, end), stride),
      ...(test > 0 && { test: cut('test text', numbers.subarray(end), context) }),
    },
  )
}

function checked(id: string, options: TextOptions) {
  const { context = DEFAULTS.context, test = DEFAULTS.test } = options
  const stride = options.stride ?? context
  const refuse = (what: string, expected: string, got: number) => new SwarmError('dataset.invalid', { what, where: id, expected, got })
  if (!Number.isSafeInteger(context) || context < 1) throw refuse('context', 'a whole number from 1', context)
  if (!Number.isSafeInteger(stride) || stride < 1) throw refuse('stride', 'a whole number from 1', stride)
  if (!(test >= 0 && test < 1)) throw refuse('test', 'a fraction from 0 to below 1', test)
  return { context, test, stride }
}

/** @param every from the start of a window to that of the next */
function windows(
  where: string,
  numbers: Int32Array,
  { context, every, isSmall }: { readonly context: number; readonly every: number; readonly isSmall: boolean },
): SplitContent {
  if (numbers.length <= context) {
    const fix = 'Choose a shorter context, or a longer text'
    throw new SwarmError('dataset.invalid', {
      what: 'too short',
      where,
      expected: `${context + 1} characters or more`,
      got: numbers.length,
      fix,
    })
  }
  const count = Math.floor((numbers.length - 1 - context) / every) + 1
  const bytes = count * context * (isSmall ? 5 : 8)
  if (bytes > MAX_BYTES) {
    const [expected, got] = [`at most ${MAX_BYTES} bytes`, `${count} windows, ${bytes} bytes`]
    throw new SwarmError('dataset.invalid', { what: 'too many windows', where, expected, got, fix: 'Choose a larger stride' })
  }
  const samples = isSmall ? new Uint8Array(count * context) : new Float32Array(count * context)
  const labels = new Int32Array(count * context)
  for (let i = 0; i < count; i++) {
    samples.set(numbers.subarray(i * every, i * every + context), i * context)
    labels.set(numbers.subarray(i * every + 1, i * every + 1 + context), i * context)
  }
  return { samples, labels }
}

/** One number for each code point. */
function numbersOf(text: string, vocabulary: readonly string[], where: string): Int32Array {
  const numberOf = new Map(vocabulary.map((character, i) => [character, i]))
  const numbers = new Int32Array(text.length)
  let size = 0
  for (const character of text) {
    const number = numberOf.get(character)
    if (number === undefined) throw unknownCharacter(text, vocabulary, where, character)
    numbers[size++] = number
  }
  return numbers.subarray(0, size)
}

function unknownCharacter(text: string, vocabulary: readonly string[], where: string, character: string): SwarmError {
  const lines = text.slice(0, text.indexOf(character)).split('\n')
  const known = vocabulary.length > 100 ? `${vocabulary.slice(0, 100).join('')}…` : vocabulary.join('')
  return new SwarmError('dataset.invalid', {
    what: `a character that the vocabulary lacks, line ${lines.length}, column ${Array.from(lines[lines.length - 1]).length + 1}`,
    where,
    expected: `one of ${JSON.stringify(known)}`,
    got: `${JSON.stringify(character)} (U+${character.codePointAt(0)!.toString(16).toUpperCase().padStart(4, '0')})`,
    fix: 'Leave it out, or start a run whose text has it',
  })
}

function doubleOf(characters: readonly string[]): string {
  return JSON.stringify(characters.find((character, i) => characters.indexOf(character) !== i))
}

async function readText(file: string, signal?: AbortSignal): Promise<string> {
  let bytes: Uint8Array
  try {
    bytes = await readFile(file, { signal })
  } catch (error) {
    if (signal?.aborted) throw new SwarmError('aborted', { what: `reading ${file} was aborted`, cause: signal.reason })
    const cause = toSwarmError(error, 'dataset.missing', `cannot read ${file}`)
    throw isSwarmError(cause, 'dataset.missing') ? cause : new SwarmError('dataset.missing', { what: `cannot read ${file}`, cause })
  }
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch (error) {
    throw new SwarmError('dataset.invalid', { what: 'the file is no text in UTF-8', where: file, cause: error })
  }
}
