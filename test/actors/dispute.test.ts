/** Who is convicted, rule by rule; and ten thousand disputes among liars, on lines that lose, delay and double. */
import test, { type ExecutionContext } from 'ava'
import * as fc from 'fast-check'
import {
  afterDisputeEvent,
  type Claim,
  type Dispute,
  type DisputeAction,
  type DisputeEvent,
  nextAction,
  openDispute,
} from '../../actors/trust/dispute.js'
import { majorityOf, panelWorth } from '../../actors/trust/panel.js'
import { carryOutDispute, type Ending, type Lie, type World, worldOf } from '../support/disputes.js'
import { readClassDifferences } from '../support/measured-noise.js'

const differences = await readClassDifferences()
const SEGMENT = { vnode: 'dense', from: 10, to: 20 }
const POPULATION = { hosts: 16, liars: 7 }
const WASM = '4.22.0 | wasm | simd | 0'
const NATIVE = '4.22.0 | native | tensorflow 2.18.0 | 0'

const claim = (host: string, root: string, more: Partial<Claim> = {}): Claim => ({
  host,
  owner: `of ${host}`,
  computeClass: WASM,
  inputs: 'i',
  root,
  ...more,
})
const open = (hasArbiter: boolean, owners = claim('p1', 'true'), others: readonly Claim[] = []): Dispute =>
  openDispute({ segment: SEGMENT, hasArbiter, population: POPULATION, owners, others })
const tell = (dispute: Dispute, ...events: DisputeEvent[]): Dispute => events.reduce(afterDisputeEvent, dispute)
const asked = (host: string, isArbiter = false): DisputeEvent => ({ type: 'asked', host, owner: `of ${host}`, isArbiter })
const claimed = (host: string, root: string, more?: Partial<Claim>): DisputeEvent => ({ type: 'claimed', claim: claim(host, root, more) })
const answer = (host: string, root: string, more?: Partial<Claim>): DisputeEvent[] => [asked(host), claimed(host, root, more)]
const rule = (host: string, root: string, more?: Partial<Claim>): DisputeEvent[] => [asked(host, true), claimed(host, root, more)]
/** Roots that begin alike are the same within tolerance. */
const alike = (a: Claim, b: Claim): boolean => a.root[0] === b.root[0]
const next = (dispute: Dispute): DisputeAction => nextAction(dispute, alike)
function settled(t: ExecutionContext, dispute: Dispute) {
  const action = next(dispute)
  if (action.type !== 'settled') throw t.fail(`expected an end, got ${JSON.stringify(action)}`)
  return { right: action.right.host, convicted: action.convicted, by: action.by, wrongWith: action.wrongWith }
}

test('a segment is applied by another host first, of another owner, of the same class if there is one', (t) => {
  t.deepEqual(next(open(true)), { type: 'ask another host', excluded: { hosts: ['p1'], owners: ['of p1'] }, preferredClass: WASM })
  const waiting = tell(open(true), asked('p2'))
  t.deepEqual(next(waiting), { type: 'wait', for: 'p2' })
  t.throws(() => tell(waiting, asked('p3')), { code: 'internal' })
  t.throws(() => tell(open(true), asked('p1')), { code: 'internal' })
  t.throws(() => tell(open(true), { ...asked('p9'), owner: 'of p1' } as DisputeEvent), { code: 'internal' })
})

test('two that agree settle it', (t) => {
  for (const hasArbiter of [true, false])
    t.deepEqual(settled(t, tell(open(hasArbiter), ...answer('p2', 'true'))), { right: 'p1', convicted: [], by: 'agreement', wrongWith: 0 })
})

test('the arbiter convicts an owner that lies', (t) => {
  const dispute = tell(open(true, claim('p1', 'false')), ...answer('p2', 'true'))
  t.deepEqual(next(dispute), {
    type: 'ask arbiter',
    excluded: { hosts: ['p1', 'p2'], owners: ['of p1', 'of p2'] },
    preferredClass: WASM,
  })
  const convicted = [{ host: 'p1', for: 'claim' }]
  t.deepEqual(settled(t, tell(dispute, ...rule('control', 'true'))), { right: 'control', convicted, by: 'arbiter', wrongWith: 0 })
})

test('the arbiter convicts an accuser that lies, of slander', (t) => {
  const dispute = tell(open(true), ...answer('p2', 'false'), ...rule('control', 'true'))
  t.deepEqual(settled(t, dispute), { right: 'p1', convicted: [{ host: 'p2', for: 'slander' }], by: 'arbiter', wrongWith: 0 })
})

test('the arbiter convicts both where both lie', (t) => {
  const { right, convicted } = settled(t, tell(open(true, claim('p1', 'f1')), ...answer('p2', 'f2'), ...rule('control', 'true')))
  t.deepEqual([right, convicted.map((one) => one.host)], ['control', ['p1', 'p2']])
})

test('in one class nothing but equal bits are the same, across classes what is within tolerance', (t) => {
  t.is(next(tell(open(true), ...answer('p2', 'true enough'))).type, 'ask arbiter')
  t.is(settled(t, tell(open(true), ...answer('p2', 'true enough', { computeClass: NATIVE }))).by, 'agreement')
  const gpu = { computeClass: '4.22.0 | gpu | tensorflow 2.18.0 | 0' }
  t.is(settled(t, tell(open(true, claim('p1', 'true', gpu)), ...answer('p2', 'true enough', gpu))).by, 'agreement')
})

test('an arbiter of another class that cannot tell two claims apart convicts nobody', (t) => {
  const dispute = tell(open(true), ...answer('p2', 'true enough'), ...rule('control', 't', { computeClass: NATIVE }))
  t.deepEqual(next(dispute), { type: 'undecided', why: 'within tolerance', wrongWith: 0 })
})

test('where no other host is left, the arbiter looks at the segment itself', (t) => {
  const alone = tell(open(true), { type: 'exhausted', of: 'hosts' })
  t.is(next(alone).type, 'ask arbiter')
  t.deepEqual(settled(t, tell(alone, ...rule('control', 'true'))), { right: 'p1', convicted: [], by: 'arbiter', wrongWith: 0 })
  t.deepEqual(settled(t, tell(alone, ...rule('control', 'false'))).convicted, [{ host: 'p1', for: 'claim' }])
  t.deepEqual(next(tell(open(false), { type: 'exhausted', of: 'hosts' })), { type: 'undecided', why: 'nobody left', wrongWith: 0.4375 })
})

test('a run that has an arbiter waits for it, and no panel convicts in its stead', (t) => {
  let dispute = tell(open(true), ...answer('p2', 'false'))
  for (let i = 0; i < 5; i++) {
    t.is(next(dispute).type, 'ask arbiter')
    dispute = tell(dispute, asked(`control-${i}`, true), { type: 'silent', host: `control-${i}` })
  }
  t.deepEqual(next(dispute), { type: 'undecided', why: 'no arbiter', wrongWith: 0 })
})

test('without an arbiter two of three convict, and it is said what that is worth', (t) => {
  const dispute = tell(open(false, claim('p1', 'false')), ...answer('p2', 'true'))
  t.is(next(dispute).type, 'ask another host')
  const ended = tell(dispute, ...answer('p3', 'true'))
  t.deepEqual(settled(t, ended), { right: 'p2', convicted: [{ host: 'p1', for: 'claim' }], by: 'panel', wrongWith: panelWorth(7, 16, 3) })
  t.deepEqual(settled(t, tell(dispute, ...answer('p3', 'false'))).convicted, [{ host: 'p2', for: 'slander' }])
  const without = tell(dispute, asked('p9'), { type: 'silent', host: 'p9' }, ...answer('p3', 'true'))
  t.is(settled(t, without).wrongWith, panelWorth(7, 15, 3), 'who was silent may have been honest')
})

test('three that all differ are followed by two more, of whom three of five convict', (t) => {
  const three = tell(open(false, claim('p1', 'a')), ...answer('p2', 'b'), ...answer('p3', 'c'))
  t.is(next(three).type, 'ask another host')
  const four = tell(three, ...answer('p4', 'a'))
  t.is(next(four).type, 'ask another host', 'two of four are no majority, and four are no panel')
  const { convicted, by, wrongWith } = settled(t, tell(four, ...answer('p5', 'a')))
  t.deepEqual(
    convicted.map(({ host }) => host),
    ['p2', 'p3'],
  )
  t.deepEqual([by, wrongWith], ['panel', panelWorth(7, 16, 5)])
  t.deepEqual(next(tell(four, ...answer('p5', 'b'))), { type: 'undecided', why: 'no majority', wrongWith: panelWorth(7, 16, 5) })
})

test('a panel that cannot be filled convicts nobody', (t) => {
  const two = tell(open(false), ...answer('p2', 'false'), { type: 'exhausted', of: 'hosts' })
  t.is(next(two).type, 'undecided')
  const four = tell(open(false), ...answer('p2', 'false'), ...answer('p3', 'b'), ...answer('p4', 'true'), {
    type: 'exhausted',
    of: 'hosts',
  })
  t.deepEqual(next(four), { type: 'undecided', why: 'nobody left', wrongWith: panelWorth(7, 16, 3) })
})

test('what is near to a part of the majority is not convicted', (t) => {
  // p3 is of another class: near to p1 and p2, which differ from one another. Nobody knows which of them lies.
  const three = tell(open(false, claim('p1', 'x1')), ...answer('p2', 'x2'), ...answer('p3', 'x', { computeClass: NATIVE }))
  t.is(next(three).type, 'ask another host')
  const five = tell(three, ...answer('p4', 'x2'), ...answer('p5', 'y'))
  const { convicted } = settled(t, five)
  t.deepEqual(convicted, [{ host: 'p5', for: 'slander' }], 'p1 is near to p3, which is in the majority')
})

test('who is silent is convicted of nothing, and somebody else is asked', (t) => {
  const dispute = tell(open(false), asked('p2'), { type: 'silent', host: 'p2' })
  const action = next(dispute)
  t.deepEqual(action.type === 'ask another host' && action.excluded, { hosts: ['p1', 'p2'], owners: ['of p1'] })
  const late = tell(dispute, asked('p3'), claimed('p2', 'false'))
  t.deepEqual(next(late), { type: 'wait', for: 'p3' })
  t.deepEqual(late.claims.length, 1)
  t.is(settled(t, tell(late, claimed('p3', 'true'))).convicted.length, 0)
  let quiet = open(false)
  for (let i = 0; i < 16; i++) quiet = tell(quiet, asked(`q${i}`), { type: 'silent', host: `q${i}` })
  t.deepEqual(next(quiet).type, 'undecided')
})

test('what nobody asked for changes nothing: claims of others, second claims, and silence of others', (t) => {
  const dispute = tell(open(false), ...answer('p2', 'false'))
  const noise: DisputeEvent[] = [claimed('p2', 'true'), claimed('p9', 'false'), claimed('p1', 'false'), { type: 'silent', host: 'p2' }]
  t.deepEqual(tell(dispute, ...noise), dispute)
  const waiting = tell(dispute, asked('p3'))
  t.deepEqual(tell(waiting, ...noise, { type: 'exhausted', of: 'hosts' }), waiting)
})

test('a claim about other inputs is no answer', (t) => {
  const dispute = tell(open(true), ...answer('p2', 'false', { inputs: 'others' }))
  t.is(dispute.claims.length, 1)
  const action = next(dispute)
  t.deepEqual(action.type === 'ask another host' && action.excluded.hosts, ['p1', 'p2'])
})

test('whose a host is was known when it was asked', (t) => {
  const dispute = tell(open(false), ...answer('p2', 'false', { owner: 'somebody else' }))
  t.deepEqual(
    dispute.claims.map(({ owner }) => owner),
    ['of p1', 'of p2'],
  )
})

test('followers vote at once, one for each owner', (t) => {
  const others = [claim('p2', 'true'), claim('p3', 'false'), claim('p4', 'false', { owner: 'of p3' }), claim('p2', 'false')]
  const dispute = open(false, claim('p1', 'true'), others)
  t.deepEqual(
    dispute.claims.map(({ host }) => host),
    ['p1', 'p2', 'p3'],
  )
  t.deepEqual(settled(t, dispute).convicted, [{ host: 'p3', for: 'slander' }])
})

test('a panel is worth what chance says', (t) => {
  t.is(panelWorth(7, 16, 5).toFixed(5), (1_596 / 4_368).toFixed(5))
  t.is(panelWorth(7, 16, 3), 0.4)
  t.is(panelWorth(1, 16, 3), 0)
  t.is(panelWorth(16, 16, 5), 1)
  t.is(panelWorth(0, 3, 3), 0)
  t.is(panelWorth(3, 9, 1).toFixed(12), (1 / 3).toFixed(12))
  t.is(panelWorth(40_000, 100_000, 5).toFixed(3), '0.317')
  const wrong = [
    [17, 16, 5],
    [7, 16, 4],
    [1, 4, 5],
    [-1, 16, 3],
    [1.5, 16, 3],
  ]
  for (const [liars, hosts, size] of wrong) t.throws(() => panelWorth(liars, hosts, size), { code: 'internal' })
})

test('the worth of a panel is what counting all panels gives', (t) => {
  const hosts = fc.integer({ min: 5, max: 11 })
  fc.assert(
    fc.property(hosts, fc.integer({ min: 0, max: 11 }), fc.constantFrom(1, 3, 5), (count, some, size) => {
      const liars = Math.min(some, count)
      let [panels, lying] = [0, 0]
      for (let chosen = 0; chosen < 1 << count; chosen++) {
        const members = Array.from({ length: count }, (_, i) => i).filter((i) => (chosen >> i) % 2 === 1)
        if (members.length !== size) continue
        panels++
        if (members.filter((i) => i < liars).length * 2 > size) lying++
      }
      t.true(Math.abs(panelWorth(liars, count, size) - lying / panels) < 1e-12)
    }),
  )
})

test('a majority is the only one, and its members agree with each other', (t) => {
  const near = (a: number, b: number): boolean => Math.abs(a - b) <= 1
  t.deepEqual(majorityOf([1, 1, 7], 3, near), [1, 1])
  t.is(majorityOf([0, 1, 2], 3, near), undefined, '0 and 1, or 1 and 2')
  t.is(majorityOf([1, 1], 5, near), undefined)
  t.deepEqual(majorityOf([0, 1, 1, 2, 1], 5, near), undefined, '0 or 2')
  t.deepEqual(majorityOf([9, 1, 1, 2, 1], 5, near), [1, 1, 2, 1])
})

const LIES: readonly Lie[] = ['plot', 'random', 'slander', 'idle', 'subtle', 'edge']
const DISPUTES = 10_000
const mixed = (count: number, from: number): Lie[] => Array.from({ length: count }, (_, i) => LIES[(from + i) % LIES.length])

/** So many disputes, each in a world of its own. */
function carryOut(
  t: ExecutionContext,
  worldAt: (seed: number) => World,
): { readonly [what: string]: number } & { readonly endings: Ending[] } {
  const endings = Array.from({ length: DISPUTES }, (_, i) => carryOutDispute(worldAt(i + 1), i + 1, differences))
  const count = (is: (ending: Ending) => boolean): number => endings.filter(is).length
  const counts = {
    wronged: count(({ wronged }) => wronged.length > 0),
    convicting: count(({ action }) => action.type === 'settled' && action.convicted.length > 0),
    agreed: count(({ action }) => action.type === 'settled' && action.by === 'agreement'),
    undecided: count(({ action }) => action.type === 'undecided'),
    silences: count(({ dispute }) => dispute.silent.length > 0),
    disturbed: count(({ strays }) => strays > 0),
  }
  t.log(counts)
  return { ...counts, endings } as unknown as { readonly [what: string]: number } & { readonly endings: Ending[] }
}

test('10,000 disputes with an arbiter: no honest host is ever convicted, and no liar that was looked at escapes', (t) => {
  const optimizers = ['adam', 'sgd'] as const
  const { endings, wronged, convicting, silences, disturbed } = carryOut(t, (seed) =>
    worldOf({ hosts: 16, lies: mixed(1 + (seed % 15), seed), arbiters: 3, silence: 0.2, optimizer: optimizers[seed % 2] }),
  )
  t.is(wronged, 0, `seed ${endings.findIndex((ending) => ending.wronged.length > 0) + 1}`)
  const judged = endings.filter(({ action }) => action.type === 'settled' && action.by === 'arbiter')
  t.deepEqual(judged.filter(({ escaped }) => escaped.length > 0).length, 0)
  t.true(convicting > 5_000 && silences > 1_000 && disturbed > 5_000)
})

test('10,000 disputes beside one liar, without an arbiter: no honest host is ever convicted', (t) => {
  const { endings, wronged, convicting } = carryOut(t, (seed) => worldOf({ hosts: 7, lies: mixed(1, seed), arbiters: 0 }))
  t.is(wronged, 0, `seed ${endings.findIndex((ending) => ending.wronged.length > 0) + 1}`)
  t.true(convicting > 1_000)
})

test('10,000 disputes among 7 liars in 16 that plot, without an arbiter: honest hosts are convicted no more often than panels are said to be wrong', (t) => {
  const plot = (['plot', 'slander', 'plot', 'plot', 'plot', 'slander', 'plot'] as const).slice()
  const { endings, wronged } = carryOut(t, () => worldOf({ hosts: 16, lies: plot, arbiters: 0 }))
  const said = endings.reduce((sum, { dispute }) => sum + panelWorth(7, 16 - dispute.silent.length, 3), 0)
  t.log(`honest hosts convicted in ${wronged}; said: at most ${Math.round(said)}`)
  t.true(wronged <= said)
  t.true(wronged > said / 3, 'or nothing would be measured')
  const byPanel = endings.flatMap(({ action, wronged }) =>
    action.type === 'settled' && action.by === 'panel' ? [{ action, wronged }] : [],
  )
  t.true(byPanel.every(({ action }) => action.wrongWith >= 0.4))
})

test('10,000 disputes among 7 liars of all kinds, of two owners, without an arbiter: a panel hears each owner once', (t) => {
  const { endings, wronged } = carryOut(t, (seed) => worldOf({ hosts: 16, lies: mixed(7, seed), arbiters: 0, ownersOfLiars: 2 }))
  const alone = carryOut(t, (seed) => worldOf({ hosts: 16, lies: mixed(7, seed), arbiters: 0 })).wronged
  t.true(wronged < alone, `${wronged} with two owners, ${alone} where each is of another`)
  for (const { dispute } of endings) t.is(new Set(dispute.claims.map(({ owner }) => owner)).size, dispute.claims.length)
})

test('no end depends on what nobody asked for', (t) => {
  const events = fc.array(
    fc.oneof(
      fc.record({ type: fc.constant('silent' as const), host: fc.constantFrom('p1', 'p2', 'p8', 'p9') }),
      fc.record({ type: fc.constant('claimed' as const), claim: fc.constantFrom(claim('p1', 'a'), claim('p2', 'z'), claim('p9', 'true')) }),
    ),
    { maxLength: 8 },
  )
  const steps = [...answer('p2', 'false'), ...answer('p3', 'b'), ...answer('p4', 'true'), ...answer('p5', 'true')]
  const expected = next(tell(open(false), ...steps))
  t.is(expected.type, 'settled')
  fc.assert(
    fc.property(fc.array(events, { minLength: steps.length, maxLength: steps.length }), (noise) => {
      // Between the question to p2 and its answer its own silence would count.
      const told = steps.reduce((dispute, step, i) => tell(dispute, step, ...(i === 0 ? [] : noise[i])), open(false))
      t.deepEqual(next(told), expected)
    }),
  )
})
