/** How long somebody who audits a segment may take. */
import test from 'ava'
import { AuditPace } from '../../actors/checks/audit-pace.js'
import type { Manifest } from '../../runtime/head.js'

const PATIENCE_MS = 20_000
const at = (step: number) => ({ step }) as Manifest
const segment = { from: 200, to: 400 }

test('who audits may take six times as long as the run does at its best, whatever else it does', (t) => {
  const pace = new AuditPace(PATIENCE_MS)
  pace.clear(1_000)
  t.is(pace.patienceMs(segment), PATIENCE_MS / 2, 'nothing is known yet')
  // The first segment is known from the beginning of the run: 100 ms for a step.
  pace.opened(at(200), undefined, 21_000)
  t.is(pace.patienceMs(segment), 6 * 20_000)
  pace.opened(at(400), at(200), 31_000)
  t.is(pace.patienceMs(segment), 6 * 10_000)
  // The run stood still meanwhile.
  pace.opened(at(600), at(400), 91_000)
  t.is(pace.patienceMs(segment), 6 * 10_000)
  t.is(pace.patienceMs({ from: 200, to: 210 }), PATIENCE_MS / 2, 'a little more than none for the shortest')
})

test('an owner that has begun in the middle of a segment knows nothing from it; segments of 30 s are waited for, and longer ones no longer', (t) => {
  const pace = new AuditPace(PATIENCE_MS)
  pace.clear(undefined)
  pace.opened(at(200), undefined, 100)
  t.is(pace.patienceMs(segment), PATIENCE_MS / 2)
  pace.opened(at(400), at(200), 30_100)
  t.is(pace.patienceMs(segment), 180_000)
  t.is(pace.patienceMs({ from: 0, to: 400 }), 180_000)
})
