/** Who gets nothing more where two contradict each other about what went from one to the other, and when one of them is convicted. */
import test from 'ava'
import { Contradictions } from '../../actors/checks/contradictions.js'
import { Feeding, type Misfed } from '../../actors/checks/feeding.js'
import type { Opinion } from '../../actors/checks/review.js'
import { SOURCE } from '../../components/definition.js'

test('of two that contradict each other who says so gets nothing; then whoever is contradicted by most', (t) => {
  const contradictions = new Contradictions()
  t.deepEqual(contradictions.suspects, [])
  t.true(contradictions.add('ann', 'eve'))
  t.deepEqual(contradictions.suspects, ['ann'])
  t.false(contradictions.add('eve', 'ann'), 'that is known')
  t.true(contradictions.add('bob', 'eve'))
  t.deepEqual(contradictions.suspects, ['eve'])
  contradictions.add('cyd', 'dan')
  t.deepEqual(contradictions.suspects, ['cyd', 'eve'])
})

test('whatever liars say, so many rollbacks are the most that there are pairs with one of them', (t) => {
  const [honest, liars] = [
    ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i'],
    ['r', 's', 't', 'u', 'v', 'w', 'x'],
  ]
  const contradictions = new Contradictions()
  let rollbacks = 0
  for (let isOver = false; !isOver;) {
    const active = [...honest, ...liars].filter((pnode) => !contradictions.suspects.includes(pnode))
    const liar = active.find((pnode) => liars.includes(pnode))
    const other = active.find((pnode) => pnode !== liar)
    isOver = liar === undefined || other === undefined
    if (!isOver) t.true(contradictions.add(liar!, other!), 'two that have contradicted each other do not meet again')
    if (!isOver) rollbacks++
  }
  t.true(rollbacks <= liars.length * (honest.length + liars.length), `${rollbacks}`)
})

const DIRECTORY = {
  [SOURCE]: { pnode: 'source’s', term: 1 },
  a: { pnode: 'ann', term: 2 },
  b: { pnode: 'bob', term: 3 },
  'b~1': { pnode: 'cyd', term: 4 },
}
const said = (id: string, pnode: string, more: Partial<Opinion> = {}): Opinion => ({
  vnode: id.split('~')[0],
  id,
  pnode,
  position: 10,
  hash: '',
  roots: { output: '', inputs: {} },
  ...more,
})
const misfed = (opinion: Opinion, producer: string, otherwise: readonly Opinion[] = []): Misfed => ({
  type: 'misfed',
  opinion,
  producer,
  otherwise,
})
const NOBODY = { convicted: [], left: [], isBeginningEnough: false }

function feeding(): Feeding {
  const made = new Feeding()
  made.begin()
  return made
}

test('of a follower that was misfed it is enough that it begins anew elsewhere; of an owner it is not', (t) => {
  const judged = feeding()
  t.deepEqual(judged.judge(misfed(said('b~1', 'cyd'), 'a'), { directory: DIRECTORY }), { ...NOBODY, isBeginningEnough: true })
  t.deepEqual(judged.suspects, ['cyd'])
  t.deepEqual(judged.judge(misfed(said('b~1', 'cyd'), 'a'), { directory: DIRECTORY }), NOBODY, 'the second time it is not')
  t.deepEqual(judged.judge(misfed(said('b', 'bob'), 'a'), { directory: DIRECTORY }), NOBODY)
  t.deepEqual(judged.suspects, ['ann'])
})

test('who contradicts somebody who is trusted, or itself, is convicted, whichever end it is', (t) => {
  const trusted = { ...DIRECTORY, a: { pnode: 'ann', term: 2, isTrusted: true as const } }
  t.deepEqual(feeding().judge(misfed(said('b', 'bob'), 'a'), { directory: trusted }), { ...NOBODY, convicted: ['bob'] })
  const reader = said('b', 'bob', { isTrusted: true })
  t.deepEqual(feeding().judge(misfed(reader, 'a'), { directory: DIRECTORY }), { ...NOBODY, convicted: ['ann'] })
  t.deepEqual(feeding().judge(misfed(said('b', 'ann'), 'a'), { directory: DIRECTORY }), { ...NOBODY, convicted: ['ann'] })
  const both = feeding()
  t.deepEqual(both.judge(misfed(reader, 'a'), { directory: trusted }), NOBODY)
  t.deepEqual(both.suspects, [])
})

test('what was read from an owner that has left since nobody else is suspected of', (t) => {
  const judged = feeding()
  judged.moved('a', 'eve')
  t.deepEqual(judged.judge(misfed(said('b', 'bob', { isTrusted: true }), 'a'), { directory: DIRECTORY }), { ...NOBODY, left: ['eve'] })
  t.deepEqual(judged.suspects, [])
  judged.begin()
  t.deepEqual(judged.judge(misfed(said('b', 'bob', { isTrusted: true }), 'a'), { directory: DIRECTORY }), { ...NOBODY, convicted: ['ann'] })
  t.deepEqual(new Feeding().judge(misfed(said('b', 'bob', { isTrusted: true }), 'a'), { directory: DIRECTORY }), NOBODY, 'who knows?')
})

test('of what the source has sent its readers contradict each other; it proves something only where the source is trusted', (t) => {
  const found = misfed(said('a', 'ann'), SOURCE, [said('a~1', 'bob'), said('b~1', 'cyd', { isTrusted: true })])
  const judged = feeding()
  t.deepEqual(judged.judge(found, { directory: DIRECTORY }), NOBODY)
  t.deepEqual(judged.suspects, ['ann'])
  const directory = { ...DIRECTORY, [SOURCE]: { pnode: 'source’s', term: 1, isTrusted: true as const } }
  t.deepEqual(feeding().judge(found, { directory }), { ...NOBODY, convicted: ['ann'] })
})
