import test from 'ava'
import { DEFAULT_MEMBERSHIP, placementActor } from '../../actors/placement/placement.js'

for (const times of [{ lostMs: 2_000 }, { heartbeatMs: 3_000 }, { heartbeatMs: 0 }, { standstillMs: 0 }, { suspectMs: Number.NaN }])
  test(`times that do not fit together are refused: ${JSON.stringify(times)}`, (t) => {
    t.throws(() => placementActor({ ...DEFAULT_MEMBERSHIP, ...times }), { code: 'usage', message: /heartbeat < suspect ≤ lost/ })
  })
