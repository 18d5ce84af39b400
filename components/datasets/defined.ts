/** Data sets that a user's module defines sample by sample. */
import { SwarmError, isSwarmError } from '../../runtime/errors.js'
import type { DatasetSpec, Options } from '../define.js'
import { isOfClasses, labelSizeOf } from '../targets.js'
import { makeDataset, sampleSizeOf } from './dataset.js'
import type { Dataset, SplitContent } from './dataset.js'
import type { Task } from './references.js'

export interface CollectOptions {
  readonly signal?: AbortSignal
  /** Called with samples, after every PROGRESS_EVERY and at the end. */
  readonly onProgress?: (done: number, total: number) => void
}

const PROGRESS_EVERY = 1_000
type Sample = Awaited<ReturnType<DatasetSpec<Options>['at']>>

/**
 * Asks a definition for all its samples and keeps them in memory, as float32.
 * @throws `dataset.invalid` naming split and index of a sample of the wrong shape or with a wrong label; `definition.threw`; `aborted`
 */
export async function collectSamples(spec: DatasetSpec<Options>, raw: Options, task: Task, run: CollectOptions = {}): Promise<Dataset> {
  const options = spec.options ? ask(spec.name, 'its options', () => spec.options?.(raw) ?? raw) : raw
  const sizes = await ask(spec.name, 'size', () => spec.size(options))
  const train = checkSize(spec.name, 'train', sizes.train)
  const test = sizes.test === undefined ? 0 : checkSize(spec.name, 'test', sizes.test)
  const total = train + test
  const collect = async (split: 'train' | 'test', size: number, before: number): Promise<SplitContent> => {
    const content = makeRoom(spec.name, task, size)
    for (let index = 0; index < size; index++) {
      if (index % PROGRESS_EVERY === 0) {
        if (run.signal?.aborted)
          throw new SwarmError('aborted', { what: 'opening a data set was aborted', where: spec.name, cause: run.signal.reason })
        run.onProgress?.(before + index, total)
      }
      const answer = ask(spec.name, `${split} sample ${index}`, () => spec.at(index, split, options))
      keep(spec.name, `${split} sample ${index}`, task, content, index, isPromise(answer) ? await answer : answer)
    }
    return content
  }
  const splits = { train: await collect('train', train, 0), ...(test > 0 && { test: await collect('test', test, train) }) }
  run.onProgress?.(total, total)
  return makeDataset({ id: spec.name, ...task }, splits)
}

/** Calls user code; its errors become `definition.threw`, whether it throws or rejects. */
function ask<T>(name: string, what: string, call: () => T): T {
  const threw = (error: unknown): never => {
    if (isSwarmError(error)) throw error
    const message = error instanceof Error ? error.message : String(error)
    throw new SwarmError('definition.threw', { what: `the data set '${name}' threw for ${what}: ${message}`, cause: error })
  }
  try {
    const answer = call()
    return isPromise(answer) ? (Promise.resolve(answer).catch(threw) as T) : answer
  } catch (error) {
    return threw(error)
  }
}

/** A sample that is there already is not waited for: that would take longer than most samples do. */
function isPromise(answer: unknown): answer is PromiseLike<unknown> {
  return typeof (answer as PromiseLike<unknown> | undefined)?.then === 'function'
}

function checkSize(name: string, split: string, size: number): number {
  if (Number.isSafeInteger(size) && size >= (split === 'train' ? 1 : 0)) return size
  throw new SwarmError('dataset.invalid', {
    what: `the size of the ${split} split`,
    where: name,
    expected: 'a whole number',
    got: String(size),
  })
}

function makeRoom(name: string, task: Task, size: number): { samples: Float32Array; labels: Int32Array | Float32Array } {
  try {
    return {
      samples: new Float32Array(size * sampleSizeOf(task)),
      labels: isOfClasses(task.target) ? new Int32Array(size * labelSizeOf(task)) : new Float32Array(size * labelSizeOf(task)),
    }
  } catch (error) {
    throw new SwarmError('dataset.invalid', {
      what: `${size} samples of ${sampleSizeOf(task)} numbers do not fit into memory`,
      where: name,
      cause: error,
    })
  }
}

function keep(name: string, where: string, { input, target }: Task, content: SplitContent, index: number, sample: Sample): void {
  const refuse = (what: string, expected: string | number, got: string | number) => {
    throw new SwarmError('dataset.invalid', { what, where: `${name}, ${where}`, expected, got })
  }
  const { x, label } = sample ?? {}
  const size = sampleSizeOf({ input })
  if (typeof x?.length !== 'number') refuse('x is not an array', `${size} numbers`, typeof x)
  if (x.length !== size) refuse('x has the wrong size', `${size} numbers ([${input.join(', ')}], flat)`, x.length)
  content.samples.set(x, index * size)
  const labels = typeof label === 'number' ? [label] : label
  const labelSize = labelSizeOf({ input, target })
  if (labels?.length !== labelSize) refuse('wrong label', `${labelSize} number${labelSize > 1 ? 's' : ''}`, labels?.length ?? typeof label)
  for (let k = 0; k < labelSize; k++) {
    const valid = isOfClasses(target)
      ? Number.isInteger(labels[k]) && labels[k] >= 0 && labels[k] < target.classes
      : Number.isFinite(labels[k])
    if (!valid) refuse('wrong label', isOfClasses(target) ? `a class from 0 to ${target.classes - 1}` : 'a finite number', labels[k])
    content.labels[index * labelSize + k] = labels[k]
  }
}
