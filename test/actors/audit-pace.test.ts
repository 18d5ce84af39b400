/** How long somebody who audits a segment may take. */
import test from 'ava'
import { AuditPace } from '../../actors/checks/audit-pace.js'
import type { Manifest } from '../../runtime/head.js'

const PATIENCE_MS = 20_000
const at = (step: number) => ({ step }) as Manifest
const segment = { from: 200, to: 400 }

test('who audits may take four times as long as the run does at its best, within limits', (t) => {
  const pace = new AuditPace(PATIENCE_MS)
  // When the first segment began nobody knows.
  pace.opened(at(200), undefined, 100)
  t.is(pace.patienceMs(segment), PATIENCE_MS / 2)
  pace.opened(at(400), at(200), 10_100)
  t.is(pace.patienceMs(segment), 4 * 10_000)
  // The run stood still meanwhile.
  pace.opened(at(600), at(400), 70_100)
  t.is(pace.patienceMs(segment), 4 * 10_000)
  t.is(pace.patienceMs({ from: 200, to: 210 }), PATIENCE_MS / 2)
  t.is(pace.patienceMs({ from: 0, to: 400 }), 2.5 * PATIENCE_MS)
  pace.clear()
  t.is(pace.patienceMs(segment), PATIENCE_MS / 2)
})
