import test from 'ava'
import { local } from '../../actors/train.js'
import type { RunDefinition } from '../../actors/run/run-definition.js'
import { clusterSettings, type RunSettings, runSettings } from '../../actors/run/run-settings.js'

const VALUES = 1_024
const BATCH = 1_024
const MB = 2 ** 20
const WINDOW = 4
/** Evaluations, what is in flight, and the step itself. */
const LEAST = 1 + 2 * WINDOW + 2

/** VNodes whose outputs have 4 MB, by what they read. */
function definitionOf(inputs: { readonly [id: string]: readonly string[] }): RunDefinition {
  const vnodes = Object.entries(inputs).map(([id, reads]) => ({ id, inputs: reads, outputShape: [VALUES] }))
  const definition = { network: { vnodes }, training: { batchSize: BATCH }, timetable: { evaluationBatches: 1, finalBatches: 1 } }
  return definition as unknown as RunDefinition
}

const chain = (length: number): RunDefinition =>
  definitionOf(Object.fromEntries(Array.from({ length }, (_, i) => [`v${i + 1}`, [i === 0 ? 'source' : `v${i}`]])))

const aheadOf = (definition: RunDefinition, retentionBytes?: number): number =>
  runSettings(definition, { window: WINDOW, ...(retentionBytes !== undefined && { checkpoint: { retentionBytes } }) }).cuts.maxAhead

test('a run keeps as many outputs as 128 MiB hold', (t) => {
  t.is(aheadOf(chain(3)), (128 * MB) / (4 * VALUES * BATCH))
})

test('where many VNodes stand in a row it keeps twice as many outputs as there are, or the first ones would wait for the last at every checkpoint', (t) => {
  t.is(aheadOf(chain(64)), 2 * 64 + LEAST)
  // Branches work at the same time: the longest counts.
  const branches = { a: ['source'], b: ['a'], c: ['b'], d: ['source'], e: ['d', 'c'] }
  t.is(aheadOf(definitionOf({ ...branches })), 32)
  t.is(aheadOf(definitionOf({ ...Object.fromEntries(Array.from({ length: 100 }, (_, i) => [`w${i}`, ['source']])), ...branches })), 32)
})

test('whoever says how much may be kept is taken at their word, but for what a run cannot do without', (t) => {
  t.is(aheadOf(chain(64), 40 * 4 * MB), 40)
  t.is(aheadOf(chain(64), 0), LEAST)
})

test('derivatives that go back are kept as well, and a step ends behind its drains', (t) => {
  const { network, training, timetable } = chain(3)
  const relayed = network.vnodes.map((vnode, i) => {
    const to = i === 0 ? [] : [`v${i}`]
    return { ...vnode, inputShapes: [[VALUES]], feedback: { of: 'gradients' as const, from: [], to, lag: 1, window: 1 } }
  })
  const definition = {
    network: { ...network, vnodes: relayed },
    training,
    timetable: { ...timetable, drains: 2 },
  } as unknown as RunDefinition
  t.is(aheadOf(definition, 40 * 4 * MB), 20)
  t.is(aheadOf(definition, 0), LEAST + 2)
})

test('an option that is undefined is one that is left out', (t) => {
  const absent = { pnodes: undefined, backend: undefined, window: undefined, threads: undefined }
  t.deepEqual(local(absent), local())
  const checkpoint = { everySteps: undefined, everySeconds: undefined, retentionBytes: undefined }
  t.deepEqual(runSettings(chain(3), { window: WINDOW, checkpoint }), runSettings(chain(3), { window: WINDOW }))
})

test('on a cluster runs are audited unless somebody says otherwise; what was said once stays until it is said again', (t) => {
  const settings = (options: Parameters<typeof clusterSettings>[1], before?: RunSettings) => {
    const { audits = 0, areAuditsDefault = false } = clusterSettings(chain(3), options, before)
    return { audits, areAuditsDefault }
  }
  const [byDefault, asked] = [{ audits: 0.03, areAuditsDefault: true }, (audits: number) => ({ audits, areAuditsDefault: false })]
  const made = (options: Parameters<typeof clusterSettings>[1]) => clusterSettings(chain(3), options, undefined)
  const window = WINDOW
  t.deepEqual(settings({ window }), byDefault)
  t.deepEqual(settings({ window, audits: 0 }), asked(0))
  t.deepEqual(settings({ window, audits: 0.5, redundancy: 2 }), asked(0.5))
  t.deepEqual(settings({ window, replicas: 8 }), { audits: 0, areAuditsDefault: false }, 'who audits would be one too many')
  t.throws(() => settings({ window, audits: 0.03, replicas: 8 }), { code: 'usage' })
  t.deepEqual(settings({ window }, made({ window })), byDefault)
  t.deepEqual(settings({ window }, made({ window, audits: 0.5 })), asked(0.5))
  t.deepEqual(settings({ window }, made({ window, audits: 0 })), asked(0))
  t.deepEqual(settings({ window, audits: 0.2 }, made({ window })), asked(0.2))
  t.is(runSettings(chain(3), { window }).audits, undefined)
})
