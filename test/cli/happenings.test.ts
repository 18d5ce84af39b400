/** What a person who watches a run is told, and what only once. */
import test from 'ava'
import type { RunEvent } from '../../actors/events.js'
import { News } from '../../cli/view/happenings.js'

const event = (body: object) => ({ v: 1, run: 'r', atMs: 0, ...body }) as RunEvent
const unaudited = (pnode: string, step: number, reason = 'nobody is there') =>
  event({ type: 'unaudited', vnode: 'dense-1', pnode, step, reason })
const audited = event({ type: 'audited', vnode: 'dense-1', pnode: 'ann', step: 10, by: ['bob'] })
const joined = event({ type: 'joined', pnode: 'ann', gflops: 10 })
const started = event({ type: 'started', step: 0, totalSteps: 10, batchSize: 1, epochs: 1 })

test('that nobody can audit a PNode is told once', (t) => {
  const news = new News(false)
  t.regex(news.sentenceOf(unaudited('ann', 10))!, /nobody could audit dense-1 of ann up to step 10/)
  t.is(news.sentenceOf(unaudited('ann', 20)), undefined)
  t.truthy(news.sentenceOf(unaudited('bob', 20)))
  t.truthy(news.sentenceOf(unaudited('ann', 30, 'no arbiter')), 'for another reason')
  t.is(news.sentenceOf(unaudited('ann', 40, 'no arbiter')), undefined)
  news.sentenceOf(audited)
  t.truthy(news.sentenceOf(unaudited('ann', 50, 'no arbiter')), 'after somebody could')
})

test('that all is well is no news, and neither is who is there when it begins', (t) => {
  const news = new News(false)
  t.is(news.sentenceOf(audited), undefined)
  t.is(news.sentenceOf(joined), undefined)
  t.truthy(news.sentenceOf(started))
  t.truthy(news.sentenceOf(joined))
})

test('who wants to know everything is told everything', (t) => {
  const news = new News(true)
  for (const each of [joined, audited, unaudited('ann', 10), unaudited('ann', 20)]) t.truthy(news.sentenceOf(each))
})
