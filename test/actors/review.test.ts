/** Opinions on a cut: who is doubted, who was only fed something wrong, and when all agree. */
import test from 'ava'
import { OpenCuts } from '../../actors/run/open-cuts.js'
import { type Opinion, Review } from '../../actors/checks/review.js'
import type { Commit } from '../../actors/reports.js'
import { type NetworkDefinition, SOURCE } from '../../components/definition.js'

/** a, then b and c beside each other, then d, which reads both. */
const NETWORK = {
  vnodes: [
    { id: 'a', inputs: [SOURCE] },
    { id: 'b', inputs: ['a'] },
    { id: 'c', inputs: ['a'] },
    { id: 'd', inputs: ['b', 'c'] },
  ],
} as unknown as NetworkDefinition
const STEP = 10

/** What is right: the state and the outputs are called as the VNode, inputs as the producer. */
function opinion(id: string, pnode: string, { hash, output, inputs }: { hash?: string; output?: string; inputs?: object } = {}): Opinion {
  const vnode = id.split('~')[0]
  const read = NETWORK.vnodes.find((one) => one.id === vnode)!.inputs
  const right = Object.fromEntries(read.map((input) => [input, `from ${input}`]))
  return {
    vnode,
    id,
    pnode,
    position: STEP,
    hash: hash ?? `state of ${vnode}`,
    roots: { output: output ?? `from ${vnode}`, inputs: { ...right, ...inputs } },
  }
}

const ALL = ['a', 'b', 'c', 'd'].flatMap((vnode) => [opinion(vnode, `p-${vnode}`), opinion(`${vnode}~1`, `q-${vnode}`)])

/** All of them say what is right, but for these. */
function reviewed(redundancy: number, ...others: readonly Opinion[]): Review {
  const review = new Review(NETWORK, redundancy)
  const isReplaced = ({ id }: Opinion) => others.some((other) => other.id === id)
  for (const one of [...ALL.filter((each) => !isReplaced(each)), ...others]) review.add(STEP, one)
  return review
}

test('all who are to agree do; one too few is open', (t) => {
  t.deepEqual(reviewed(2).finding(STEP), { type: 'agreed' })
  t.deepEqual(reviewed(3).finding(STEP), { type: 'open' })
  const third = ['a', 'b', 'c', 'd'].map((vnode) => opinion(`${vnode}~2`, 'r'))
  t.deepEqual(reviewed(3, ...third).finding(STEP), { type: 'agreed' })
})

test('without the word of the owner, or with two of the same PNode, nothing is agreed', (t) => {
  const review = new Review(NETWORK, 2)
  for (const one of ALL) if (one.id !== 'c') review.add(STEP, one)
  t.deepEqual(review.finding(STEP), { type: 'open' })
  t.deepEqual(reviewed(2, opinion('b~1', 'p-b')).finding(STEP), { type: 'open' })
})

for (const lie of [{ hash: 'another state' }, { output: 'another output' }]) {
  test(`who has read the same and says ${Object.keys(lie)[0]} otherwise is in a dispute, whoever it is`, (t) => {
    for (const id of ['b', 'b~1']) {
      const liar = opinion(id, 'liar', lie)
      const found = reviewed(2, liar).finding(STEP)
      t.true(found.type === 'dispute' && found.vnode === 'b' && found.opinions.includes(liar) && found.opinions.length === 2)
    }
  })
}

test('what follows from a lie is nobody else’s: the first in graph order is in dispute', (t) => {
  const lie = { output: 'a lie' }
  const misled = [
    opinion('c', 'p-c', { hash: 'of a lie', inputs: { a: 'a lie' } }),
    opinion('c~1', 'q-c', { hash: 'of a lie', inputs: { a: 'a lie' } }),
  ]
  const found = reviewed(2, opinion('a', 'p-a', lie), ...misled).finding(STEP)
  t.true(found.type === 'dispute' && found.vnode === 'a')
})

test('who was sent something else than what its producer says it has put out is misfed, not a liar', (t) => {
  const misfed = opinion('d', 'p-d', { hash: 'of a lie', inputs: { c: 'a lie' } })
  t.deepEqual(reviewed(2, misfed).finding(STEP), { type: 'misfed', opinion: misfed, producer: 'c', otherwise: [] })
  const follower = opinion('d~1', 'q-d', { hash: 'of a lie', inputs: { c: 'a lie' } })
  t.deepEqual(reviewed(2, follower).finding(STEP), { type: 'misfed', opinion: follower, producer: 'c', otherwise: [] })
  const review = reviewed(2, follower)
  review.discard(follower)
  review.add(STEP, opinion('d~1', 'q-d'))
  t.deepEqual(review.finding(STEP), { type: 'agreed' })
})

test('both have read the same lie of an owner that is gone: neither agrees with whoever has the VNode now', (t) => {
  const lie = { inputs: { a: 'a lie' }, hash: 'of a lie' }
  const found = reviewed(2, opinion('b', 'p-b', lie), opinion('b~1', 'q-b', lie)).finding(STEP)
  t.true(found.type === 'misfed' && found.opinion.id === 'b')
})

test('who got other feedback than its giver says it has given is misfed; nobody is in a dispute before the giver has spoken', (t) => {
  const [a, d] = [
    { id: 'a', inputs: [SOURCE], feedback: { from: ['d'], to: [] } },
    { id: 'd', inputs: ['a'], feedback: { from: [], to: ['a'] } },
  ]
  const network = { vnodes: [a, d] } as unknown as NetworkDefinition
  const got = (id: string, feedback: string, hash = `state after ${feedback}`): Opinion => {
    const { roots, ...own } = opinion(id, `p-${id}`, { hash })
    return { ...own, roots: { ...roots, feedback: { d: feedback } } }
  }
  const gave = (id: string, due: string): Opinion => {
    const { roots, ...own } = opinion(id, `p-${id}`)
    return { ...own, roots: { output: roots.output, inputs: { a: 'from a' }, given: 'all', due } }
  }
  const finding = (...opinions: readonly Opinion[]) => {
    const review = new Review(network, 2)
    for (const one of opinions) review.add(STEP, one)
    return review.finding(STEP)
  }
  const [owner, follower, misled] = [got('a', 'right'), got('a~1', 'right'), got('a~1', 'wrong')]
  t.deepEqual(finding(owner, misled), { type: 'open' })
  t.deepEqual(finding(owner, misled, gave('d~1', 'right')), { type: 'open' }, 'what a follower gives is sent to nobody')
  t.like(finding(owner, misled, gave('d', 'right'), gave('d~1', 'right')), { type: 'misfed', opinion: misled, producer: 'd' })
  t.like(finding(owner, follower, gave('d', 'wrong')), { type: 'misfed', opinion: owner, producer: 'd' })
  t.like(
    finding(owner, follower, gave('d', 'wrong'), gave('d~1', 'right')),
    { type: 'dispute', vnode: 'd' },
    'it is not clear what it has given',
  )
  const { due: _due, ...silent } = gave('d', 'right').roots
  t.like(finding(owner, misled, { ...gave('d', 'right'), roots: silent }), { type: 'misfed', producer: 'd' }, 'it has spoken')
  const liar = got('a~1', 'right', 'another state')
  t.like(finding(owner, liar), { type: 'dispute', vnode: 'a', opinions: [owner, liar] })
  t.like(finding(owner, follower, gave('d', 'right'), gave('d~1', 'wrong')), { type: 'dispute', vnode: 'd' })
  t.deepEqual(finding(owner, follower, gave('d', 'right'), gave('d~1', 'right')), { type: 'agreed' })
})

test('who reads from the source has read what most others have', (t) => {
  const misfed = opinion('a~1', 'q-a', { inputs: { [SOURCE]: 'another batch' }, hash: 'of another batch' })
  const review = reviewed(2, misfed)
  review.add(STEP, opinion('a~2', 'r'))
  const otherwise = [opinion('a', 'p-a'), opinion('a~2', 'r')]
  t.deepEqual(review.finding(STEP), { type: 'misfed', opinion: misfed, producer: SOURCE, otherwise })
})

test('where as many have read something else from the source nobody knows who is right: a follower begins anew', (t) => {
  for (const root of ['a batch', 'z batch']) {
    const follower = opinion('a~1', 'q-a', { inputs: { [SOURCE]: root }, hash: 'of another batch' })
    const found = reviewed(2, follower).finding(STEP)
    t.deepEqual(found, { type: 'misfed', opinion: follower, producer: SOURCE, otherwise: [opinion('a', 'p-a')] })
  }
})

test('a PNode that reads from the source twice is one voice', (t) => {
  const lie = { inputs: { [SOURCE]: 'another batch' }, hash: 'of another batch' }
  const review = reviewed(2, opinion('a~1', 'liar', lie))
  for (const id of ['a~2', 'a~3']) review.add(STEP, opinion(id, 'liar', lie))
  review.add(STEP, opinion('a~4', 'r'))
  const found = review.finding(STEP)
  t.true(found.type === 'misfed' && found.opinion.pnode === 'liar')
})

test('what somebody who is trusted has read from the source is right, however many say something else', (t) => {
  const lie = { inputs: { [SOURCE]: 'another batch' }, hash: 'of another batch' }
  const review = reviewed(2, opinion('a', 'p-a', lie), opinion('a~1', 'q-a', lie))
  review.add(STEP, { ...opinion('a~2', 'r'), isTrusted: true })
  const found = review.finding(STEP)
  t.true(found.type === 'misfed' && found.opinion.id === 'a')
})

test('nobody takes his word back, about an open cut or about one that all have committed', (t) => {
  const review = reviewed(2)
  review.add(STEP, opinion('b', 'p-b', { hash: 'another state' }))
  t.deepEqual(review.finding(STEP), { type: 'agreed' })
  const cuts = new OpenCuts(['a', 'b'])
  const commit = { step: STEP, position: STEP, term: 1, generation: 1 }
  cuts.add({ ...commit, vnode: 'a', hash: 'first' } as Commit)
  cuts.add({ ...commit, vnode: 'a', hash: 'second' } as Commit)
  const all = cuts.add({ ...commit, vnode: 'b', hash: 'b' } as Commit)
  t.deepEqual(
    all?.map(({ hash }) => hash),
    ['first', 'b'],
  )
})

test('a new owner says for itself what it has; what it said as a follower is not a second opinion', (t) => {
  const review = reviewed(2)
  review.forget('b')
  t.deepEqual(review.finding(STEP), { type: 'open' })
  review.add(STEP, opinion('b', 'q-b'))
  t.deepEqual(review.finding(STEP), { type: 'open' })
  review.add(STEP, opinion('b~2', 'r'))
  t.deepEqual(review.finding(STEP), { type: 'agreed' })
  review.close(STEP)
  t.deepEqual(review.steps, [])
})

test('who was trusted and is not any more needs somebody to agree, from that moment on', (t) => {
  let isTrusted = true
  const review = new Review(NETWORK, 2, { isStillTrusted: () => isTrusted })
  for (const one of ALL) if (one.vnode !== 'b') review.add(STEP, one)
  review.add(STEP, { ...opinion('b', 'p-b'), isTrusted: true })
  t.deepEqual(review.finding(STEP), { type: 'agreed' })
  isTrusted = false
  t.deepEqual(review.finding(STEP), { type: 'open' })
  review.add(STEP, opinion('b~1', 'somebody'))
  t.deepEqual(review.finding(STEP), { type: 'agreed' })
})

test('whoever is trusted needs nobody to agree, and is disputed all the same', (t) => {
  const trusted = { ...opinion('b', 'p-b'), isTrusted: true as const }
  const review = new Review(NETWORK, 2)
  for (const one of ALL) if (one.vnode !== 'b') review.add(STEP, one)
  review.add(STEP, trusted)
  t.deepEqual(review.finding(STEP), { type: 'agreed' })
  review.add(STEP, opinion('b~1', 'liar', { hash: 'slander' }))
  t.is(review.finding(STEP).type, 'dispute')
})
