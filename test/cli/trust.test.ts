/** `swarmgrad trust` against a control host. */
import test from 'ava'
import { adminToken, hostToken } from '../../actors/control/cluster-keys.js'
import { fingerprint } from '../../runtime/identity.js'
import { publicKeyOf } from '../support/identities.js'
import { memoryCluster } from '../support/memory-cluster.js'
import { folderOf, swarmgrad } from './command.js'

test('those who run a cluster vouch for a host, see it, and take it back; nobody else may', async (t) => {
  const { url, keys, host } = await memoryCluster(t, { pnodes: ['ann', 'bob'] })
  const folder = await folderOf(t)
  const as = (token: string, ...words: string[]) =>
    swarmgrad(t, folder, ['trust', ...words], { env: { SWARMGRAD_CLUSTER: url, SWARMGRAD_TOKEN: token } })
  const admin = (...words: string[]) => as(adminToken(keys), ...words)
  const isTrusted = () => host.members.filter(({ isTrusted }) => isTrusted).map(({ pnode }) => pnode)

  t.deepEqual((await admin('list', '--json')).lines, [])
  const granted = await admin('grant', 'ann', '--for', '12h', '--json')
  t.is(granted.status, 0, granted.stdout)
  const key = fingerprint(publicKeyOf('ann'))
  const [line] = granted.lines
  t.like(line, { v: 1, type: 'trust', host: 'ann', state: 'trusted', number: 1, key, code: null })
  t.is(Number(line.untilMs) - Number(line.fromMs), 12 * 3_600_000)
  t.deepEqual(isTrusted(), ['ann'])
  const listed = await admin('list')
  t.regex(listed.stdout, /ann +yes .*SHA256:/)
  const revoked = await admin('revoke', 'ann')
  t.is(revoked.stdout, 'control does not vouch for ann any more: it is a host like any other\n')
  t.deepEqual(isTrusted(), [])
  t.like((await admin('list', '--json')).lines[0], { host: 'ann', state: 'revoked', number: 2 })

  for (const token of [keys.trainerToken, keys.joinToken, hostToken(keys, 'ann')])
    for (const words of [['grant', 'ann'], ['revoke', 'ann'], ['list']]) {
      const refused = await as(token, ...words)
      t.is(refused.status, 1)
      t.regex(refused.stderr, /this is for those who run the cluster\. Use the admin token \[cluster\.token\]/)
    }
  t.deepEqual(isTrusted(), [])
  t.regex((await admin('grant', 'nobody')).stderr, /nobody is known as nobody\. Have it join first \[host\.unknown\]/)
  t.regex((await admin('grant')).stderr, /whom to grant\. swarmgrad trust grant HOST \[usage\]/)
  t.regex((await admin('grand', 'ann')).stderr, /unknown action 'grand'.*Did you mean 'grant'/)
  t.regex((await admin('grant', 'ann', '--for', '2y')).stderr, /--for: expected a time such as 30d, 12h or 90min.*got '2y'/)
})
