/**
 * `npm run adversaries -- [--data fashion-mnist|glyphs] [--checks redundancy|audits] [--attack NAME] [--json]`: runs on sixteen PNodes of which seven attack, one run for each attack, with
 * followers on a PNode that is trusted (`slanderer` and `copier`, who have to follow: anywhere, and the trusted one settles what is disputed), or with all segments audited, and the same one for an
 * arbiter. A line for each, then a summary. Exit status 1 if one got through: another hash than that of an honest run, an honest PNode convicted, or no liar at all convicted
 * or refused.
 */
import { parseArgs } from 'node:util'
import { datasets } from '../../components/datasets/index.js'
import type { TrainingOptions } from '../../actors/prepare.js'
import { local, train } from '../../actors/train.js'
import { evidencePrefix, type Evidence } from '../../actors/checks/evidence.js'
import { batchNorm, dense, flatten, leakyRelu } from '../../components/layers/index.js'
import { block, categorical, network } from '../../components/network.js'
import { pred } from '../../components/rules/index.js'
import { readHead } from '../../runtime/head-store.js'
import { openPools, renamed } from '../support/chaos-run.js'
import { openObjects, TRAINING } from '../support/small-runs.js'
import { ADVERSARIES, type AdversaryName, HARMLESS } from '../../adversaries/adversaries.js'
import { measuredAlike } from './measured-alike.js'

const [PNODES, LIARS, BLOCKS, UNITS, EVERY_STEPS] = [16, 7, 8, 32, 40]
/** The first one gets the source: who lies as that has to be it. */
const trustedAmong = (attack: AdversaryName | undefined): string => (attack === 'poisoned-source' ? 'pnode-3' : 'pnode-1')
const liarsOf = (attack: AdversaryName): string[] =>
  Array.from({ length: LIARS }, (_, i) => (attack === 'poisoned-source' && i === 0 ? 'pnode-1' : `pnode-${2 * i + 2}`))
/** They lie as followers alone. */
const FOLLOWING: readonly AdversaryName[] = ['slanderer', 'copier']
/** Who says nothing, or what others have said, need not be convicted. */
const MAY_STAY: readonly AdversaryName[] = [...HARMLESS, 'copier']
const DATA: { readonly [name: string]: TrainingOptions } = {
  'fashion-mnist': { data: datasets.fashionMnist(), batchSize: 256, epochs: 1, rule: pred() },
  glyphs: TRAINING,
}

interface Outcome {
  readonly attack: AdversaryName
  /** Steps of the segment in which the first liar was convicted; absent: nobody was. */
  readonly detectedAfter?: number
  readonly convicted: number
  /** Liars that sent what no honest host sends: refused, frame by frame, until they had to leave what they had. */
  readonly refused: number
  readonly honestPunished: number
  readonly hashEqual: boolean
}

const names = Object.keys(ADVERSARIES) as AdversaryName[]
const { values } = parseArgs({
  options: {
    data: { type: 'string', default: 'fashion-mnist' },
    checks: { type: 'string', default: 'redundancy' },
    attack: { type: 'string' },
    json: { type: 'boolean', default: false },
  },
})
const training = Object.hasOwn(DATA, values.data) ? DATA[values.data] : undefined
const attacks = names.filter((name) => values.attack === undefined || name === values.attack)
const areAudits = values.checks === 'audits'
if (!training || attacks.length === 0 || (!areAudits && values.checks !== 'redundancy')) {
  process.stderr.write(`expected --data ${Object.keys(DATA).join('|')}, --checks redundancy|audits, --attack ${names.join('|')}\n`)
  process.exit(2)
}

const pools = openPools()
const net = network({ input: [28, 28, 1], target: categorical(10) }, [
  flatten(),
  ...Array.from({ length: BLOCKS }, () => block(dense(UNITS), batchNorm(), leakyRelu())),
])

async function attacked(attack: AdversaryName | undefined) {
  const { store } = openObjects()
  const id = `attacked-by-${attack ?? 'nobody'}`
  const liars = new Set(attack === undefined ? [] : liarsOf(attack))
  const on = local({
    pnodes: attack === undefined ? 2 : PNODES,
    membership: { rateMs: 1e9, isTrusted: (pnode) => pnode === trustedAmong(attack) },
  })
  // With redundancy alone the source is believed: that segments are audited, however few, is what has it looked at.
  const redundant = {
    ...(attack === 'poisoned-source' && { audits: 0.001 }),
    redundancy: 2,
    constraints: { areFollowersTrusted: attack === undefined || !FOLLOWING.includes(attack) },
  }
  const checks = attack === undefined ? {} : areAudits ? { audits: 1 } : redundant
  const run = train(
    net,
    training!,
    { on, store, checkpoint: { everySteps: EVERY_STEPS }, ...checks },
    {
      id,
      pool: renamed(pools.inline, `${id}-`),
      disguise: (pnode, honest) => {
        const alike = measuredAlike(honest)
        return attack !== undefined && liars.has(pnode) ? ADVERSARIES[attack](alike) : alike
      },
    },
  )
  const refused = new Set<string>()
  const story = (async () => {
    for await (const event of run.events())
      if (event.type === 'suspected' && event.reason !== 'norm' && event.reason !== 'batch') refused.add(event.pnode)
  })()
  const { hash } = await run.result
  await story
  const { excluded = [] } = (await readHead(store, id)).head
  const steps: number[] = []
  for await (const { key } of store.list(evidencePrefix(id)))
    steps.push((JSON.parse(new TextDecoder().decode((await store.get(key)).bytes)) as Evidence).step)
  return { hash, excluded, liars, steps, refused: [...refused].filter((pnode) => liars.has(pnode)).length }
}

const honest = await attacked(undefined)
let through = 0
for (const attack of attacks) {
  const { hash, excluded, liars, steps, refused } = await attacked(attack)
  const punished = excluded.filter((pnode) => !liars.has(pnode)).length
  const outcome: Outcome = {
    attack,
    ...(steps.length > 0 && { detectedAfter: Math.min(...steps) }),
    convicted: excluded.length - punished,
    refused,
    honestPunished: punished,
    hashEqual: hash === honest.hash,
  }
  const isThrough = !outcome.hashEqual || punished > 0 || (outcome.convicted + refused === 0 && !MAY_STAY.includes(attack))
  if (isThrough) through++
  process.stdout.write(values.json ? `${JSON.stringify(outcome)}\n` : `${isThrough ? '✘' : '✔'} ${sentence(outcome)}\n`)
}
await pools.close()
const summary = { attacks: attacks.length, through, hash: honest.hash }
process.stdout.write(values.json ? `${JSON.stringify(summary)}\n` : `${attacks.length} attacks, ${through} got through\n`)
process.exitCode = through > 0 ? 1 : 0

function sentence({ attack, detectedAfter, convicted, refused, honestPunished, hashEqual }: Outcome): string {
  const found = detectedAfter === undefined ? 'nobody convicted' : `${convicted} convicted, the first after step ${detectedAfter}`
  return `${attack}: ${found}, ${refused} refused; ${honestPunished} honest punished; ${hashEqual ? 'the hash of an honest run' : 'another hash'}`
}
