/** Language models of characters: they learn through the actors, whatever is killed, and write. */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import type { LocalSwarm } from '../../actors/local-swarm.js'
import { openModel } from '../../actors/model.js'
import { train, type Internals } from '../../actors/train.js'
import type { Call } from '../../components/define.js'
import { verifyRun } from '../../actors/verify.js'
import charLm from '../../examples/char-lm.js'
import {
  backprop,
  block,
  categorical,
  datasets,
  dense,
  embedding,
  flatten,
  local,
  network,
  positionEmbedding,
  pred,
  predsim,
  tokens,
  transformerBlock,
} from '../../index.js'
import { isSwarmError } from '../../runtime/errors.js'
import { memoryStore } from '../../runtime/object-store/memory-store.js'
import { temporaryFolder } from '../support/idx-files.js'
import { until } from '../support/until.js'

const VERSE = 'the quick brown fox jumps over the lazy dog.\n'
const CHARACTERS = new Set(VERSE).size

async function verse(repeats: number): Promise<string> {
  const file = join(await temporaryFolder(), 'verse.txt')
  await writeFile(file, VERSE.repeat(repeats))
  return file
}

const [context, width] = [16, 32]
const first = () =>
  block(embedding(CHARACTERS, width, { deviation: 0.3 }), positionEmbedding({ deviation: 0.3 }), transformerBlock({ heads: 2 }))
const model = network({ input: [context], target: tokens(CHARACTERS) }, [first(), transformerBlock({ heads: 2 })])

async function learn(rule: Call<'rule'>, epochs: number, internals: Internals = {}, pnodes = 2) {
  const store = memoryStore()
  const data = datasets.text(await verse(60), { context, stride: 8 })
  const options = { on: local({ pnodes }), store, checkpoint: { everySteps: 10 } }
  const { result } = train(model, { data, rule, epochs, batchSize: 16, learningRate: 5e-3 }, options, { id: 'r', ...internals })
  return { store, result }
}

test.serial('a transformer learns a verse block by block, to the same bits when a PNode is killed, and writes it', async (t) => {
  t.timeout(180_000)
  const { store, result } = await learn(pred(), 12)
  const whole = await result
  t.true(whole.metrics.accuracy > 0.95, JSON.stringify(whole.metrics))
  // An answer for each character, not for each sample.
  t.is(whole.metrics.count, Math.floor(60 * VERSE.length * 0.1 / context - 1e-9) * context) // prettier-ignore

  let swarm: LocalSwarm | undefined
  const killed = await learn(pred(), 12, { onSwarm: (made) => (swarm = made) }, 3)
  await until('some steps', () => (swarm?.monitor.step ?? 0) >= 30)
  await swarm!.killPNode(swarm!.computingPNodes[0])
  const broken = await killed.result
  t.is(broken.hash, whole.hash)
  t.true(broken.moves > 0)
  t.is((await verifyRun(store, 'r')).difference, undefined)

  const opened = await openModel(store, 'r')
  t.teardown(() => opened.close())
  const write = async (prompt: string, options: Parameters<typeof opened.generate>[1]) => {
    let text = ''
    for await (const character of opened.generate(prompt, options)) text += character
    return text
  }
  t.is(await write('the quick', { length: 40, temperature: 0 }), VERSE.repeat(2).slice(9, 49))
  t.is(await write('', { length: 9, temperature: 0 }), 'the quick', 'after a new line')
  const [one, again, other] = [
    await write('the ', { temperature: 20 }),
    await write('the ', { temperature: 20 }),
    await write('the ', { temperature: 20, seed: 1 }),
  ]
  t.is(one.length, 200)
  t.is(again, one)
  t.not(other, one)
  t.is(await write('the', { length: 0 }), '')
  await refused(t, write('THE', {}), 'dataset.invalid', /line 1, column 1.*"T"/)
  await refused(t, write('the', { length: -1 }), 'usage', /length.*got -1/)
  await refused(t, write('the', { temperature: Number.NaN }), 'usage', /temperature.*got NaN/)
  await refused(t, write('the', { signal: AbortSignal.abort() }), 'aborted', /generating/)
  const { labels, probabilities } = await opened.predict(Array.from({ length: 2 * context }, (_, i) => i % CHARACTERS))
  t.is(labels.length, 2 * context)
  t.is(probabilities.length, 2 * context * CHARACTERS)
})

test.serial('its twin learns end to end', async (t) => {
  t.timeout(120_000)
  const { result } = await learn(backprop(), 8)
  const { metrics } = await result
  t.true(metrics.accuracy > 0.95, JSON.stringify(metrics))
})

test('what cannot be learned from a text is refused before it begins', async (t) => {
  const task = { input: [context], target: tokens(CHARACTERS) } as const
  const data = datasets.text(await verse(10), { context })
  const failing = (net: Parameters<typeof train>[0], rule: Call<'rule'> = pred()) =>
    train(net, { data, rule, epochs: 1 }, { on: local({ pnodes: 1, threads: false }), store: memoryStore() }).result
  await refused(
    t,
    failing(network(task, [first(), flatten()])),
    'graph.shape',
    /a head for tokens.*expected outputs \[tokens, width\], got \[512\]/,
  )
  await refused(t, failing(model, predsim()), 'definition.invalid', /predsim.*classes.*got tokens/)
  await refused(t, failing(network({ ...task, target: tokens(99) }, [first()])), 'dataset.invalid', /target.*99/)
  await refused(t, failing(network({ ...task, input: [8] }, [first()])), 'dataset.invalid', /input shape.*\[8\]/)
  const few = network(task, [block(embedding(5, width), transformerBlock({ heads: 2 }))])
  await refused(t, failing(few), 'dataset.invalid', /number of a token.*0 to 4/)
  const shape = t.throws(() => network({ input: [4, 4], target: tokens(3) }, [flatten()]))
  t.regex(shape.message, /'input' for tokens/)
  const one = t.throws(() => tokens(1))
  t.regex(one.message, /tokens\(n\).*≥ 2/)
  const images = network({ input: [28, 28, 1], target: categorical(10) }, [flatten(), dense(10)])
  const store = memoryStore()
  await train(images, { data: datasets.glyphs({ train: 100, test: 10 }), epochs: 1 }, { on: local({ pnodes: 1 }), store }, { id: 'i' })
    .result
  const opened = await openModel(store, 'i')
  t.teardown(() => opened.close())
  await refused(t, opened.generate('a').next(), 'usage', /is no text/)
})

test.serial('the network of examples/char-lm.ts learns any text of as many characters', async (t) => {
  t.timeout(120_000)
  const file = join(await temporaryFolder(), 'alphabet.txt')
  const alphabet = Array.from({ length: 65 }, (_, i) => String.fromCodePoint(48 + i)).join('')
  await writeFile(file, alphabet.repeat(30))
  const data = datasets.text(file, { context: 64, stride: 8 })
  const on = local({ pnodes: 2 })
  const { metrics } = await train(
    charLm,
    { data, rule: pred(), batchSize: 16, epochs: 3, learningRate: 2e-3 },
    { on, store: memoryStore() },
  ).result
  t.true(metrics.loss < 2, JSON.stringify(metrics))
})

async function refused(t: ExecutionContext, promise: Promise<unknown>, code: Parameters<typeof isSwarmError>[1], pattern: RegExp) {
  const error = await t.throwsAsync(promise)
  t.true(isSwarmError(error, code), String(error))
  t.regex(error.message, pattern)
}
