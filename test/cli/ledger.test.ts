/** The ledger on the command line. */
import { createPublicKey } from 'node:crypto'
import { readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import test from 'ava'
import { fingerprint } from '../../actors/trust/ledger-entry.js'
import { storedLedgerKey } from '../../actors/trust/ledger-key.js'
import { clusterKeys, controlKeyOf, historyOf, hostToken, rotateControlKey } from '../../actors/control/cluster-keys.js'
import { clusterStore } from '../../actors/cluster.js'
import { systemClock } from '../../runtime/clock.js'
import { publicKeyFrom } from '../../runtime/identity.js'
import { fileStore } from '../../runtime/object-store/file-store.js'
import { forfeit, ledgerKey, openLedger, work } from '../support/ledgers.js'
import { memoryCluster } from '../support/memory-cluster.js'
import { folderOf, swarmgrad } from './command.js'
import { on } from './on-cluster.js'

const BOOKINGS = [
  work(),
  work({ vnode: 'dense-2', host: 'bob', owner: 'Ann', multiplyAdds: 1_234_567_000_000 }),
  work({ vnode: 'dense-3', host: 'cyd', owner: 'Cyd' }),
  forfeit({ host: 'cyd', owner: 'Cyd', micropoints: 'all' }),
]

test.serial('points by host and by owner; verified, until one byte is another', async (t) => {
  const folder = await folderOf(t)
  const run = (...words: readonly string[]) => swarmgrad(t, folder, ['ledger', ...words])
  const [none, nothing] = await Promise.all([run('show'), run('verify', '--json')])
  t.deepEqual([none.status, none.stdout], [0, ''])
  t.regex(none.stderr, /nothing was ever booked in \.\/runs/)
  t.like(nothing.lines[0], { type: 'ledgerVerified', entries: 0, publicKey: null })

  const store = fileStore({ root: join(folder, 'runs') })
  await openLedger({ store, key: await storedLedgerKey(store) }).append(BOOKINGS)
  const [shown, lines, verified, record] = await Promise.all([run('show'), run('show', '--json'), run('verify'), run('verify', '--json')])
  t.is(shown.status, 0, shown.stderr)
  t.regex(
    shown.stdout,
    /^owner +host +steps +earned +forfeited +points\n\n?Ann +ann +10 +2\.5 +0 +2\.5\n\n?Ann +bob +10 +1\.234567 +0 +1\.234567\n\n?Cyd +cyd +10 +2\.5 +2\.5 +0\n\nowner +hosts[^]*Ann +2 +20 +3\.734567 +0 +3\.734567\n/,
  )
  t.deepEqual(
    lines.lines.map(({ type, owner, host, hosts, micropoints }) => [type, owner, host ?? hosts, micropoints]),
    [
      ['ledgerHost', 'Ann', 'ann', 2_500_000],
      ['ledgerHost', 'Ann', 'bob', 1_234_567],
      ['ledgerHost', 'Cyd', 'cyd', 0],
      ['ledgerOwner', 'Ann', 2, 3_734_567],
      ['ledgerOwner', 'Cyd', 1, 0],
    ],
  )
  t.regex(verified.stdout, /^✔ 4 entries, the last one [0-9a-f]{64}\nsigned by [0-9a-f]{16}, the key that it names itself/)
  t.like(record.lines[0], { type: 'ledgerVerified', entries: 4, unsealed: 0, isKeyGiven: false })
  const { hash, publicKey } = record.lines[0] as unknown as { hash: string; publicKey: string }
  await writeFile(join(folder, 'own.pem'), publicKey)
  await writeFile(join(folder, 'other.pem'), ledgerKey().publicKey.export({ type: 'spki', format: 'pem' }))
  const [own, other, missing, gone] = await Promise.all([
    run('verify', '--key', 'own.pem', '--contains', hash),
    run('show', '--key', 'other.pem'),
    run('verify', '--key', 'tiny.yaml'),
    run('verify', '--contains', 'f'.repeat(12)),
  ])
  t.is(own.status, 0, own.stderr)
  t.regex(own.stdout, /the key that you gave/)
  t.is(other.status, 1)
  t.regex(other.stderr, /the ledger is signed by another key.*\[ledger\.key\]/)
  t.is(missing.status, 2)
  t.regex(missing.stderr, /not a public key \(tiny\.yaml\)/)
  t.is(gone.status, 1)
  t.regex(gone.stderr, /does not have the entry that was noted.*\[ledger\.cut\]/)

  const page = join(folder, 'runs', 'ledger', 'pages', '00000001')
  const whole = await readFile(page, 'utf8')
  await writeFile(page, whole.replace('"host":"bob"', '"host":"eve"'))
  const [edited, json, looked] = await Promise.all([run('verify'), run('verify', '--json'), run('show')])
  t.is(edited.status, 1)
  t.regex(edited.stderr, /^error: an entry that was edited.*entry 2, in ledger\/pages\/00000001[^\n]*\[ledger\.edited\]\n$/)
  t.deepEqual([edited.stdout, json.status], ['', 1])
  t.like(json.lines.at(-1), { type: 'error', code: 'ledger.edited' })
  t.is(looked.status, 1)
  await rm(page)
  t.regex((await run('verify')).stderr, /the ledger is cut.*expected 4 entries that the head counts, got 0/)
  const wrong = await run('burn')
  t.is(wrong.status, 2)
  t.regex(wrong.stderr, /unknown action 'burn': expected show, verify/)
})

test.serial('on a cluster a trainer reads the ledger and cannot write it; a host can neither', async (t) => {
  const folder = await folderOf(t)
  const cluster = await memoryCluster(t, { pnodes: [] })
  const { store, keys, url } = cluster
  await openLedger({ store, key: controlKeyOf(keys) }).append(BOOKINGS)
  const pem = controlKeyOf(keys).publicKey.export({ type: 'spki', format: 'pem' }) as string
  await writeFile(join(folder, 'control.pem'), pem)
  const there = on(cluster)
  const verified = await there.run(t, folder, ['ledger', 'verify', '--key', 'control.pem', '--json'])
  t.is(verified.status, 0, verified.stdout + verified.stderr)
  t.like(verified.lines[0], { entries: 4, publicKey: pem, isKeyGiven: true })
  t.is((await there.run(t, folder, ['ledger', 'show', '--json'])).lines.length, 5)
  const { key, former } = await rotateControlKey(store, systemClock, 0)
  const changed = await clusterKeys(store)
  await openLedger({ store, key: { ...controlKeyOf(changed), history: historyOf(changed) } }).append([work({ cut: 2 })])
  const [followed, names] = await Promise.all([
    there.run(t, folder, ['ledger', 'verify', '--key', 'control.pem']),
    there.run(t, folder, ['ledger', 'verify', '--json']),
  ])
  t.regex(
    followed.stdout,
    /^✔ 6 entries[^\n]*\nsigned by [0-9a-f]{16}, which the key that you gave, [0-9a-f]{16}, has let follow\nbefore that by [0-9a-f]{16}:/,
  )
  t.is(fingerprint(createPublicKey(String(names.lines[0].publicKey))), fingerprint(publicKeyFrom(key)))
  t.deepEqual(names.lines[0].formerKeys, [fingerprint(publicKeyFrom(former))])

  const trainer = clusterStore({ url, token: keys.trainerToken })
  const host = clusterStore({ url, token: hostToken(keys, 'ann') })
  const before = await trainer.get('ledger/head')
  for (const key of ['ledger/head', 'ledger/pages/00000001', 'ledger/pages/00000002', 'control/ledger-key']) {
    for (const refused of [
      trainer.put(key, before.bytes),
      trainer.delete(key),
      host.put(key, before.bytes),
      host.delete(key),
      host.get(key),
    ])
      await t.throwsAsync(refused, { code: 'store.denied' }, key)
  }
  await t.throwsAsync(trainer.get('control/ledger-key'), { code: 'store.denied' })
  await t.throwsAsync(
    (async () => {
      for await (const { key } of host.list('ledger/')) t.fail(key)
    })(),
    { code: 'store.denied' },
  )
  t.deepEqual((await store.get('ledger/head')).bytes, before.bytes)
})
