/** Hosts that lie where segments are audited: each is found out, the run goes back before all that it has done unseen, and ends with the hash of an honest one. */
import test from 'ava'
import { openPools } from '../support/chaos-run.js'
import { ADVERSARIES, type AdversaryName, HARMLESS } from './adversaries.js'
import { type Arrangement, ended as endedBeside } from './beside-liars.js'

const pools = openPools()
test.after.always(() => pools.close())
const ended = (arrangement: Arrangement) => endedBeside(pools, { ...arrangement, options: { audits: 1, ...arrangement.options } })

let honest: string | undefined
test.before(async () => {
  honest = (await ended({ pnodes: 2, options: { audits: 0 } })).hash
})

test.serial('where nobody lies every segment is found to be right, by somebody else, and the hash is the same', async (t) => {
  const { hash, head, events, evidence } = await ended({ pnodes: 4 })
  t.is(hash, honest)
  t.is(head.excluded, undefined)
  t.is(head.audits, undefined)
  t.is(head.unverified, undefined)
  t.deepEqual(evidence, [])
  const audited = events.flatMap((event) => (event.type === 'audited' ? [event] : []))
  const checkpoints = events.filter(({ type }) => type === 'checkpoint').length
  t.is(new Set(audited.map(({ vnode, step }) => `${vnode} ${step}`)).size, audited.length)
  t.is(audited.length, checkpoints * new Set(audited.map(({ vnode }) => vnode)).size)
  for (const { pnode, by } of audited) t.false(by.length === 0 || by.includes(pnode))
})

for (const name of (Object.keys(ADVERSARIES) as AdversaryName[]).filter((each) => !HARMLESS.includes(each) && each !== 'nan-bomber')) {
  test.serial(`${name}: out by the word of an arbiter, and the same hash`, async (t) => {
    const { hash, head, events } = await ended({ pnodes: 5, liars: { 'pnode-2': name }, trusted: ['pnode-5'] })
    t.is(hash, honest)
    t.deepEqual(head.excluded, ['pnode-2'])
    t.true(events.some((event) => event.type === 'convicted' && event.pnode === 'pnode-2' && event.by === 'arbiter'))
  })
}
