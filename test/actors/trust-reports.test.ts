/** What runs tell of hosts, and what becomes of it while nobody hears it. */
import test from 'ava'
import type { Told } from '../../actors/calls.js'
import { TrustReports } from '../../actors/trust/trust-reports.js'
import { type ErrorCode, SwarmError } from '../../runtime/errors.js'

const told = (key: string): Told => ({ key, run: 'r', events: [] })

/** What is heard, and what it fails with just now. */
function listener() {
  const heard: string[] = []
  const errors: ErrorCode[] = []
  const state: { fails?: ErrorCode } = {}
  const context = {
    signal: new AbortController().signal,
    call: async (_target: unknown, _method: string, argument?: unknown) => {
      if (state.fails) throw new SwarmError(state.fails, { what: 'on purpose', retryable: state.fails === 'actor.timeout' })
      heard.push((argument as Told).key)
      return null
    },
  }
  return { heard, errors, state, reports: new TrustReports(context, ({ code }) => errors.push(code)) }
}
/** Everything that is ready has run. */
const settled = () => new Promise((resolve) => setImmediate(resolve))

test('what was verified and nobody heard is told with what comes next; of too much, the oldest is lost', async (t) => {
  const { heard, errors, state, reports } = listener()
  state.fails = 'actor.timeout'
  for (let i = 0; i < 100; i++) {
    reports.verified(told(String(i)))
    await settled()
  }
  t.deepEqual(heard, [])
  state.fails = undefined
  reports.verified(told('last'))
  await settled()
  t.deepEqual(heard, [...Array.from({ length: 64 }, (_, i) => String(36 + i)), 'last'])
  t.deepEqual(errors, [])
})

test('a conviction that is not heard, and may be, is an error; one that never will be is reported, and the run goes on', async (t) => {
  const { heard, errors, state, reports } = listener()
  for (const code of ['actor.timeout', 'actor.not-found'] as const) {
    state.fails = code
    await t.throwsAsync(reports.convicted(told('k')), { code })
  }
  state.fails = 'reputation.version'
  await reports.convicted(told('k'))
  reports.verified(told('v'))
  await settled()
  t.deepEqual(errors, ['reputation.version', 'reputation.version'])
  state.fails = undefined
  await reports.convicted(told('k'))
  t.deepEqual(heard, ['k'])
})
