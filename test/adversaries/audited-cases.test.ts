/** Where audits meet something else: followers, losses, arbiters that have work of their own, damaged checkpoints, control that is lost, steps that are given up. */
import { writeFileSync } from 'node:fs'
import test from 'ava'
import type { RunEvent } from '../../actors/events.js'
import type { LocalSwarm } from '../../actors/local-swarm.js'
import { local, resume } from '../../actors/train.js'
import type { Adversary } from '../../adversaries/adversaries.js'
import { changedCompute } from '../../runtime/compute/changed-compute.js'
import { SwarmError } from '../../runtime/errors.js'
import { followed } from '../../runtime/followers.js'
import { baseOf, decodeHead, decodeManifest, type Head, keys } from '../../runtime/head.js'
import type { MemoryObjects } from '../../runtime/object-store/memory-store.js'
import type { ObjectStore } from '../../runtime/object-store/object-store.js'
import { openPools, renamed } from '../support/chaos-run.js'
import { POISONED, poisonedNetwork, poisonFile } from '../support/poisoned-runs.js'
import { copyObjects, openObjects, watchedStore } from '../support/small-runs.js'
import { type Arrangement, ended as endedBeside, EVERY_STEPS } from './beside-liars.js'
import { measuredAlike } from './measured-alike.js'

const pools = openPools()
test.after.always(() => pools.close())
const LIAR = 'pnode-2'
const ended = (arrangement: Arrangement) => endedBeside(pools, { ...arrangement, options: { audits: 1, ...arrangement.options } })
const ofType = <T extends RunEvent['type']>(events: readonly RunEvent[], type: T) =>
  events.filter((event): event is RunEvent & { readonly type: T } => event.type === type)
const named = (count: number) => Array.from({ length: count }, (_, i) => `pnode-${i + 1}`)

let honest: string | undefined
test.before(async () => {
  honest = (await ended({ pnodes: 2, options: { audits: 0 } })).hash
})

/** Hosts that are honest, and whose word as auditors comes only when the gate is open. */
function gate(pnodes: readonly string[]) {
  let open = (): void => undefined
  const opened = new Promise<void>((resolve) => (open = resolve))
  const patient: Adversary = (seams) => {
    const { compute } = seams
    const snapshot = async (id: string) => {
      const blob = await compute.snapshot(id)
      if (followed(id.split('/')[1]) !== undefined) await opened
      return blob
    }
    return { ...seams, compute: changedCompute(compute, { snapshot }) }
  }
  return { open, disguised: Object.fromEntries(pnodes.map((pnode) => [pnode, patient])) }
}

for (const [who, options] of Object.entries({ 'a standby': { replicas: 1 }, 'a follower': { redundancy: 2 } })) {
  test.serial(`${who} of what is audited, honest beside an owner that lies, is not convicted with it`, async (t) => {
    const { hash, head, events } = await ended({ pnodes: 6, liars: { [LIAR]: 'forger' }, trusted: ['pnode-6'], options })
    t.is(hash, honest)
    t.deepEqual(head.excluded, [LIAR])
    for (const { pnode } of ofType(events, 'convicted')) t.is(pnode, LIAR)
    t.true(ofType(events, 'audited').length > 0)
  })
}

for (const [judge, trusted] of Object.entries({ 'an arbiter': ['pnode-6'], 'a panel': [] })) {
  test.serial(
    `who has forged a checkpoint and is gone before ${judge} looks at it has a successor that is not convicted for it`,
    async (t) => {
      const { open, disguised } = gate(named(6).filter((pnode) => pnode !== LIAR))
      const { hash, head, events } = await ended({
        pnodes: 6,
        liars: { [LIAR]: 'forger' },
        disguised,
        trusted,
        isForGood: true,
        onEvent: (event, swarm) => {
          if (event.type === 'checkpoint' && event.step === EVERY_STEPS) void swarm.killPNode(LIAR)
          // Whoever has it now is at work by then, or has been.
          if (event.type === 'relocated' && event.from === LIAR) open()
        },
      })
      t.is(hash, honest)
      for (const pnode of head.excluded ?? []) t.is(pnode, LIAR)
      const lost = events.findIndex((event) => event.type === 'lost' && event.pnode === LIAR)
      const back = events.findIndex(({ type }) => type === 'rolledBack')
      t.true(lost !== -1 && lost < back, 'it was found when the one who had done it was gone')
    },
  )
}

test.serial('an owner that becomes an arbiter while others look at what it has done: its own word settles what they say', async (t) => {
  const trusted: string[] = []
  const { hash, head, events } = await ended({
    pnodes: 2,
    liars: { [LIAR]: 'slanderer' },
    trusted,
    onEvent: (event) => {
      // Of one that is trusted less would be audited.
      if (event.type === 'checkpoint' && trusted.length === 0) trusted.push('pnode-1')
    },
  })
  t.is(hash, honest)
  t.deepEqual(head.excluded, [LIAR])
  const convicted = ofType(events, 'convicted')
  t.true(convicted.length > 0 && convicted.every((one) => one.for === 'slander' && one.by === 'arbiter'))
})

test.serial('an arbiter that is asked first, since there is nobody else: nobody has to be asked after it', async (t) => {
  const { hash, head, events, evidence } = await ended({ pnodes: 2, liars: { [LIAR]: 'sign-flip' }, trusted: ['pnode-1'] })
  t.is(hash, honest)
  t.deepEqual(head.excluded, [LIAR])
  t.true(ofType(events, 'convicted').every(({ by }) => by === 'arbiter'))
  const unaudited = ofType(events, 'unaudited').filter(({ pnode }) => pnode === LIAR)
  t.deepEqual(unaudited, [], 'it is known at once who lies')
  t.true(
    evidence.every(({ opinions }) => opinions.length === 2),
    'what the owner says, and what the arbiter says',
  )
})

for (const [what, damage] of Object.entries({
  damaged: (objects: MemoryObjects, key: string) => {
    const { bytes, etag } = objects.entries.get(key)!
    // The last byte is one of a weight: the state can be read all the same.
    objects.entries.set(key, { bytes: bytes.map((byte, i) => (i === bytes.length - 1 ? byte ^ 1 : byte)), etag })
  },
  gone: (objects: MemoryObjects, key: string) => objects.entries.delete(key),
})) {
  test.serial(`a state that an auditor has to begin with is ${what}: nobody is convicted of that, and the same hash`, async (t) => {
    let isDone = false
    const { hash, head, events } = await ended({
      pnodes: 5,
      onEvent: (event, _swarm, objects) => {
        if (event.type !== 'checkpoint' || event.step !== EVERY_STEPS || isDone) return
        const { run, generation, vnodes } = decodeManifest(new Uint8Array(objects.entries.get(event.key)!.bytes), event.key)
        damage(objects, keys.blob(run, generation, vnodes[1].hash))
        isDone = true
      },
    })
    t.true(isDone)
    t.is(hash, honest)
    t.is(head.excluded, undefined)
    t.deepEqual(ofType(events, 'convicted'), [])
    const followed = [...ofType(events, 'unaudited'), ...ofType(events, 'rolledBack')]
    t.true(followed.length > 0, 'somebody has met it')
  })
}

/** Whether an owner has excluded somebody, and not gone back yet. */
const isBetween = ({ excluded = [], audits = [] }: Head): boolean => audits.some(({ pnode }) => excluded.includes(pnode))

/** Told of each head that is written: before, and after. */
const headsOf = (inner: ObjectStore, look: (head: Head, when: 'before' | 'after') => void): ObjectStore => {
  const put: ObjectStore['put'] = async (key, bytes, options) => {
    const head = key.endsWith('/head') ? decodeHead(bytes, key) : undefined
    if (head) look(head, 'before')
    const result = await inner.put(key, bytes, options)
    if (head) look(head, 'after')
    return result
  }
  return Object.assign(
    watchedStore(inner, () => undefined),
    { put },
  )
}

test.serial('control that is lost between excluding somebody and going back: whoever follows it goes back first', async (t) => {
  let swarm: LocalSwarm | undefined
  let [isExcluded, isStruck] = [false, false]
  const { hash, head, events } = await ended({
    pnodes: 5,
    liars: { [LIAR]: 'forger' },
    trusted: ['pnode-5'],
    onEvent: (_event, its) => (swarm = its),
    store: (inner) =>
      headsOf(inner, (written, when) => {
        if (when === 'after') isExcluded ||= isBetween(written)
        if (when === 'after' || !isExcluded || isStruck) return
        isStruck = true
        void swarm!.restartControl()
        throw new SwarmError('store.unavailable', { what: 'control is lost here', retryable: true })
      }),
  })
  t.true(isStruck)
  t.is(hash, honest)
  t.deepEqual(head.excluded, [LIAR])
  t.is(ofType(events, 'convicted').length, 1, 'nobody had to find it out again')
  t.true(ofType(events, 'rolledBack').some(({ reason }) => reason === `${LIAR} gave something else than its log does`))
})

test.serial(
  'a process that ends between excluding somebody and going back: the one after it goes back before all that was not verified',
  async (t) => {
    // Who is found out in his first segment has left nothing behind: of so many tries that is always so but once in a million.
    for (let tries = 1; tries <= 20; tries++) {
      let left: MemoryObjects | undefined
      const { run } = await ended({
        pnodes: 5,
        liars: { [LIAR]: 'skips-optimizer' },
        trusted: ['pnode-5'],
        proven: named(5),
        options: { audits: 0.6, checkpoint: { everySteps: 5 } },
        store: (inner, objects) =>
          headsOf(inner, (written, when) => {
            if (when === 'after' && isBetween(written)) left ??= copyObjects(objects)
          }),
      })
      if (!left) continue
      const found = decodeHead(new Uint8Array(left.entries.get(keys.head(run))!.bytes), run)
      if ((found.unverified?.[LIAR] ?? Infinity) >= baseOf(found)) continue
      const { store } = openObjects(left)
      const id = `${run}-again-`
      const again = resume(
        run,
        { on: local({ pnodes: 5, membership: { rateMs: 1e9, standstillMs: 2_000 } }), store },
        { pool: renamed(pools.inline, id), disguise: (_pnode, seams) => measuredAlike(seams) },
      )
      const { hash } = await again.result
      t.is(hash, honest, `it was to go back to step ${found.unverified![LIAR]}, and everybody could begin at ${baseOf(found)}`)
      return
    }
    t.fail('it was never found out behind its first segment')
  },
)

test.serial(
  'a step that is given up between where everybody can begin and the newest checkpoint: it is skipped by all, and nobody is convicted',
  async (t) => {
    const at = EVERY_STEPS - 3
    const poison = await poisonFile()
    t.teardown(() => poison.remove())
    const net = poisonedNetwork({ at: [at], file: poison.file })
    const alone = await ended({ net, pnodes: 3, options: { audits: 0 } })
    await poison.remove()
    const { open, disguised } = gate(named(6))
    const { hash, head, events, deadLetters } = await ended({
      net,
      pnodes: 6,
      disguised,
      onEvent: (event, swarm) => {
        if (event.type === 'deadLettered') open()
        if (event.type !== 'checkpoint' || event.step !== EVERY_STEPS || event.generation > 1) return
        writeFileSync(poison.file, '')
        void swarm.killPNode(swarm.monitor.vnodes().find(({ vnode }) => vnode === POISONED.poisoned)!.pnode)
      },
    })
    t.is(alone.deadLetters, 1)
    t.is(deadLetters, 1)
    const given = events.findIndex((event) => event.type === 'deadLettered' && event.step === at)
    const complete = events.findIndex((event) => event.type === 'checkpoint' && event.step === EVERY_STEPS)
    t.true(complete !== -1 && complete < given, 'the newest checkpoint was behind it')
    t.is(hash, alone.hash)
    t.is(head.excluded, undefined)
    t.deepEqual(ofType(events, 'convicted'), [])
  },
)
