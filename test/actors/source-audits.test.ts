/** Whoever has the data makes what a source has sent; and who is convicted if that is not what was read. */
import test from 'ava'
import { SourceAudit } from '../../actors/pnode/source-audit.js'
import { SourceDriver } from '../../actors/pnode/source.js'
import type { Claim } from '../../actors/reports.js'
import { runSettings } from '../../actors/run/run-settings.js'
import { valueOf } from '../../actors/checks/review.js'
import { SourceAudits } from '../../actors/checks/source-audits.js'
import type { Seams } from '../../actors/pnode/seams.js'
import { poisonedSource } from '../../adversaries/poisoned-source.js'
import { SOURCE } from '../../components/definition.js'
import type { ActorContext, Json } from '../../runtime/actor-system/actor-system.js'
import { systemClock } from '../../runtime/clock.js'
import { firstHead, type Place } from '../../runtime/head.js'
import { memoryBroker } from '../../runtime/tensor-bus/memory-bus.js'
import { Timetable } from '../../runtime/timetable.js'
import { within } from '../conformance/within.js'
import { chainRun } from '../simulation/simulated-run.js'

const { definition: plain, dataset, settings } = chainRun(1, { epochs: 2, stepsPerEpoch: 20 }, (made) => runSettings(made, { window: 4 }))
const definition = { ...plain, timetable: { ...plain.timetable, evaluationBatches: 2 } }
const timetable = new Timetable(definition.timetable)
const unheard = ({ error }: { readonly error: { readonly message: string } }) => {
  throw new Error(error.message)
}
const place = { v: 1, run: 'r', generation: 1, term: 1, pnode: 'here', inputs: [], outputs: [] } as const
const pointAt = (step: number) => ({ step, position: timetable.positionOf(step) })

/** What it comes to behind a checkpoint, up to and with a step. @param output what it was there; undefined: the seed */
function audited(from: number, to: number, output?: string, data = dataset): Promise<Claim> {
  const checkpoint = { generation: 1, ...pointAt(from), blob: '', ...(output && { roots: { output, inputs: {} } }) }
  const grant = { ...place, vnode: `${SOURCE}~8`, until: pointAt(to), ...(from > 0 && { checkpoint }) }
  const claim = new Promise<Claim>((onClaim) => {
    new SourceAudit({ clock: systemClock, definition, dataset: data, onClaim, onFailure: unheard }, grant).start()
  })
  return within(10_000, `what was sent up to step ${to}`, claim)
}

test('who makes again what was sent, in one go or from checkpoint to checkpoint, comes to what the source says of itself', async (t) => {
  const bus = await memoryBroker().connect('here')
  const cuts = { ...settings.cuts, maxAhead: 1_000 }
  const options = { bus, clock: systemClock, window: 4, cuts, definition, dataset, isReviewed: true, onFailure: unheard }
  const source = new SourceDriver(options, { ...place, vnode: SOURCE })
  source.start()
  const sent = (step: number) => source.rootsAt(timetable.positionOf(step))
  const first = await audited(0, 7)
  t.deepEqual(first.roots, sent(7))
  t.is(first.position, timetable.positionOf(7))
  // There are evaluations behind step 20.
  t.true(timetable.evaluationsAfter(20) > 0)
  t.deepEqual((await audited(7, 31, first.roots!.output)).roots, sent(31))
  t.deepEqual((await audited(0, 31)).roots, sent(31))
  t.notDeepEqual(sent(7), sent(31))
  const { dataset: poisoned } = poisonedSource({ dataset: () => dataset } as unknown as Seams)
  t.not((await audited(0, 7, undefined, await poisoned!('r'))).roots?.output, first.roots?.output)
  source.manifest(timetable.positionOf(7))
  t.is(sent(6), undefined, 'nobody asks about what is before a checkpoint')
  t.truthy(sent(7))
  await source.stop()
})

test('a source that nobody compares has nothing to say', async (t) => {
  const bus = await memoryBroker().connect('here')
  const source = new SourceDriver(
    { bus, clock: systemClock, window: 4, cuts: settings.cuts, definition, dataset, onFailure: unheard },
    { ...place, vnode: SOURCE },
  )
  source.start()
  t.is(source.rootsAt(0), undefined)
  await source.stop()
})

const [RIGHT, READ, OTHER] = ['a', 'b', 'c'].map((digit) => digit.repeat(64))
const POSITION = 5
const AUDIT = { vnode: SOURCE, pnode: 's', from: 0, to: 5 }
const SOURCE_LIES = { host: 's', for: 'claim' } as const
const AUDITOR_LIES = { host: 'x', for: 'slander' } as const

/** @param says what the source says of itself; absent: nothing */
function auditing({ says, places = {} }: { readonly says?: string; readonly places?: { readonly [vnode: string]: Partial<Place> } } = {}) {
  const directory: { [vnode: string]: Place } = {
    [SOURCE]: { pnode: 's', term: 1 },
    a: { pnode: 'p', term: 2 },
    b: { pnode: 'q', term: 3 },
  }
  for (const [vnode, change] of Object.entries(places)) directory[vnode] = { ...directory[vnode], ...change }
  const call = async (): Promise<Json> => [says === undefined ? null : { output: says, inputs: {} }]
  const contradictions: string[] = []
  const shunned: string[] = []
  const audits = new SourceAudits({
    context: { call } as unknown as ActorContext,
    head: () => ({ ...firstHead('run'), directory }),
    readers: ['a', 'b'],
    contradict: (one, others) => contradictions.push(`${one}: ${others.join(', ')}`),
    shun: (pnode) => shunned.push(pnode),
  })
  const roots = { output: RIGHT, inputs: {} }
  const right = { root: valueOf({ vnode: SOURCE, id: SOURCE, pnode: 'x', position: POSITION, hash: RIGHT, roots }) }
  const proven = (convicted: readonly (typeof SOURCE_LIES | typeof AUDITOR_LIES)[] = [SOURCE_LIES], moved: readonly string[] = []) =>
    audits.proven(AUDIT, { convicted, right }, { position: POSITION, moved: new Set(moved) })
  return { audits, proven, contradictions, shunned }
}

test('who says itself that it has sent what is wrong is convicted', async (t) => {
  for (const says of [READ, OTHER]) {
    const { proven, contradictions } = auditing({ says })
    t.deepEqual(await proven(), [SOURCE_LIES])
    t.deepEqual(contradictions, [])
  }
})

test('who says that it has sent what is right, or nothing, contradicts those who have read something else: nobody is convicted for that', async (t) => {
  for (const says of [RIGHT, undefined]) {
    const { proven, contradictions, shunned } = auditing({ says })
    t.deepEqual(await proven(), [])
    t.deepEqual(contradictions, ['s: p, q'])
    t.deepEqual(shunned, [])
  }
})

test('whatever it says: what a trusted PNode has read is proof, and so is what it has read itself', async (t) => {
  const proofs: { readonly [vnode: string]: Partial<Place> }[] = [{ b: { isTrusted: true } }, { a: { pnode: 's' } }]
  for (const places of proofs) t.deepEqual(await auditing({ says: RIGHT, places }).proven(), [SOURCE_LIES])
})

test('who has just begun to read has not said what was read', async (t) => {
  const { proven, contradictions } = auditing({ says: RIGHT, places: { a: { pnode: 's' } } })
  t.deepEqual(await proven([SOURCE_LIES], ['a']), [])
  t.deepEqual(contradictions, ['s: q'])
})

test('of a source that was elsewhere before nobody knows who has sent it: who has left gets nothing for a while', async (t) => {
  const { audits, proven, contradictions, shunned } = auditing({ says: READ })
  audits.moved('before')
  t.deepEqual(await proven([SOURCE_LIES], [SOURCE]), [])
  t.deepEqual(shunned, ['before'])
  t.deepEqual(contradictions, [])
  audits.clear()
  t.deepEqual(await proven(), [SOURCE_LIES], 'a generation later it is known')
  t.deepEqual(shunned, ['before'])
})

test('who says that an honest source lies is convicted whatever the source says', async (t) => {
  t.deepEqual(await auditing().proven([AUDITOR_LIES]), [AUDITOR_LIES])
  t.deepEqual(await auditing().proven([SOURCE_LIES, AUDITOR_LIES]), [AUDITOR_LIES])
})
