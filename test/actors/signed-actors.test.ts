/** Whose word counts: control hears PNodes of themselves and of what is placed on them, PNodes hear control, and nobody anything else. */
import test, { type ExecutionContext } from 'ava'
import { actor, call, type Calls } from '../../actors/calls.js'
import { cluster } from '../../actors/cluster.js'
import { HostKeys } from '../../actors/host-keys.js'
import { pnodeReport, prometheusText } from '../../actors/control/node-endpoints.js'
import { signedActors } from '../../actors/signed-actors.js'
import { train } from '../../actors/train.js'
import { SOURCE } from '../../components/definition.js'
import { type ActorDefinition, type ActorRef, type Json, MAX_CALL_BYTES } from '../../runtime/actor-system/actor-system.js'
import { localActors } from '../../runtime/actor-system/local-actors.js'
import type { ErrorCode } from '../../runtime/errors.js'
import { readHead } from '../../runtime/head-store.js'
import { memoryStore } from '../../runtime/object-store/memory-store.js'
import { ReplayGuard } from '../../runtime/replay-guard.js'
import { assertSignature, keyVerifier, type Sender, type SignedMessage } from '../../runtime/signed-message.js'
import { fakeClock } from '../support/fake-clock.js'
import { publicKeyOf, seededIdentity, senderOf } from '../support/identities.js'
import { memoryCluster, type MemoryCluster } from '../support/memory-cluster.js'
import { slowBranching, TRAINING } from '../support/small-runs.js'

const toOf = ({ type, id }: ActorRef): string => `${type}/${id}`

/** A call as somebody signs it, or as nobody has. */
const signedBy = (sender: Sender, target: ActorRef, purpose: string, body: unknown): SignedMessage =>
  sender.sign({ to: toOf(target), purpose, body })

async function refuses(
  t: ExecutionContext,
  made: MemoryCluster,
  target: ActorRef,
  method: string,
  argument: unknown,
  code: ErrorCode,
  says = /./,
): Promise<void> {
  const what = `${toOf(target)} ${method} ${JSON.stringify(argument).slice(0, 200)}`
  const error = await made.unsigned.call(target, method, argument as Json).then(
    () => undefined,
    (failure: { code: ErrorCode; message: string }) => failure,
  )
  t.is(error?.code, code, `${what}: ${error?.message}`)
  t.regex(String(error?.message), says, what)
}

test('nobody else’s word changes anything: each refusal is counted, the run is none the worse', async (t) => {
  const training = { ...TRAINING, epochs: 2 }
  const made = await memoryCluster(t)
  const run = train(
    slowBranching(15),
    training,
    { on: cluster(made.url, { token: made.keys.trainerToken }), checkpoint: { everySteps: 10 } },
    { id: 'r' },
  )
  for await (const { type } of run.events()) if (type === 'checkpoint') break
  const { head } = await readHead(made.store, 'r')
  const [vnode, { pnode: owner, term }] = Object.entries(head.directory).find(([id]) => id !== SOURCE)!
  const insider = ['ann', 'bob', 'cyd'].find((name) => name !== owner)!
  const { incarnation } = made.host.members.find(({ pnode }) => pnode === insider)!
  /** With its own key, in its own name, as of its own start: all that somebody has who broke into it. Numbers of its own process are far below. */
  const mallory = senderOf(insider, { incarnation: `${incarnation}-broken-into` })
  const say = (target: ActorRef, purpose: string, body: unknown) => signedBy(mallory, target, purpose, body)
  const placed = { vnode, term, generation: head.generation }
  const commit = {
    ...placed,
    step: 20,
    position: 20,
    marks: 1,
    hash: 'a'.repeat(64),
    sizeBytes: 1,
    digests: '',
    firstStep: 11,
    computeClass: 'c',
  }
  const failure = { ...placed, error: { code: 'run.diverged', message: 'it says', retryable: false } }
  const theRun = actor.run('r')
  const before = new Map(made.host.refused)

  // Unsigned.
  for (const [method, body] of Object.entries({ committed: commit, failed: failure, pause: null, wake: null }))
    await refuses(t, made, theRun, method, body, 'message.unsigned', /without a signature/)
  await refuses(t, made, actor.placement, 'leave', { pnode: owner, reason: 'x' }, 'message.unsigned')
  await refuses(t, made, actor.relocation, 'drain', { pnode: owner, reason: 'x' }, 'message.unsigned')
  // A tick of a timer is nobody's to send.
  await refuses(t, made, actor.placement, 'sweep', { tick: '', argument: null }, 'message.unsigned')

  // Signed, and not its own to say.
  await refuses(t, made, theRun, 'committed', say(theRun, 'committed', commit), 'message.denied', /is not placed there: expected .*, got/)
  await refuses(t, made, theRun, 'failed', say(theRun, 'failed', failure), 'message.denied', /is not placed there/)
  await refuses(t, made, theRun, 'evaluated', say(theRun, 'evaluated', { ...placed, step: 20, sums: { loss: 1 } }), 'message.denied')
  const theirs: readonly [ActorRef, string, unknown][] = [
    [theRun, 'pause', null],
    [theRun, 'hostLost', { pnode: owner, what: 'pnode', reason: 'x' }],
    [theRun, 'drain', { pnode: owner, reason: 'x' }],
    [actor.placement, 'rate', { pnode: owner, gflops: 0.1, reason: 'x' }],
    [actor.placement, 'forget', { pnode: owner }],
    [actor.placement, 'list', { after: '' }],
    [actor.placement, 'regard', { hosts: [{ pnode: insider, weight: 1 }] }],
    [actor.quarantine, 'tell', { key: 'k', run: 'r', events: [{ pnode: owner, event: 'convicted', vnode, step: 20 }] }],
    [actor.quarantine, 'release', { pnode: insider }],
    [actor.quarantine, 'standings', { pnodes: [insider] }],
    [actor.placement, 'constructor', null],
    [actor.relocation, 'drain', { pnode: owner, reason: 'x' }],
    [actor.placement, 'leave', { pnode: owner, reason: 'x' }],
    [actor.placement, 'drain', { pnode: owner, reason: 'x' }],
    [actor.placement, 'drain', { pnode: insider, reason: 'x', by: 'operator' }],
    [actor.placement, 'undrain', { pnode: insider, by: 'operator' }],
    [actor.placement, 'lend', { pnode: owner, memoryBytes: 1 }],
    [actor.placement, 'heartbeat', { pnode: owner, busyShare: 0, vnodes: [] }],
    [actor.relocation, 'relocate', { pnode: owner, what: 'worker', reason: 'x', vnodes: [`r/${vnode}`] }],
    [actor.placement, 'join', { pnode: owner, incarnation: mallory.incarnation, computeClass: 'c', gflops: 1, memoryBytes: 1 }],
    // Of another start of itself.
    [actor.placement, 'join', { pnode: insider, incarnation, computeClass: 'c', gflops: 1, memoryBytes: 1 }],
  ]
  for (const [target, method, body] of theirs)
    await refuses(t, made, target, method, say(target, method, body), method === 'constructor' ? 'actor.not-found' : 'message.denied')
  // In the name of others.
  const asOwner = senderOf(owner, { text: insider })
  const asControl = senderOf('control', { text: insider })
  await refuses(t, made, theRun, 'committed', signedBy(asOwner, theRun, 'committed', commit), 'message.signature', /not signed by/)
  await refuses(t, made, theRun, 'pause', signedBy(asControl, theRun, 'pause', null), 'message.signature', /not signed by control/)
  await refuses(
    t,
    made,
    theRun,
    'committed',
    signedBy(senderOf('zoe'), theRun, 'committed', commit),
    'message.signature',
    /nobody called zoe/,
  )

  // Meant for somebody else, too old, twice, damaged, too large.
  await refuses(t, made, theRun, 'failed', say(theRun, 'committed', commit), 'message.denied', /for somebody else/)
  await refuses(t, made, actor.run('none'), 'wake', say(actor.run('none'), 'wake', null), 'message.denied', /control’s to ask/)
  const old = senderOf(insider, { incarnation: 'old', clock: fakeClock() })
  await refuses(t, made, theRun, 'committed', signedBy(old, theRun, 'committed', commit), 'message.expired', /time service/)
  const late = say(theRun, 'committed', { ...commit, term: 0 })
  await made.unsigned.call(theRun, 'committed', late as unknown as Json)
  await refuses(t, made, theRun, 'committed', late, 'message.replayed', /said before/)
  for (const body of [null, 7, {}, { ...commit, hash: 'x' }, { ...commit, step: -1 }, { ...commit, vnode: 1 }, { ...commit, digests: '§' }])
    await refuses(t, made, theRun, 'committed', say(theRun, 'committed', body), 'message.damaged', /not what .* should send/)
  const { message, signature } = say(theRun, 'committed', commit)
  await refuses(t, made, theRun, 'committed', { message: { ...message, v: 2 }, signature }, 'message.version')
  await refuses(t, made, theRun, 'committed', { message: { ...message, seq: 0 }, signature }, 'message.damaged')
  await t.throwsAsync(made.unsigned.call(theRun, 'committed', say(theRun, 'committed', 'x'.repeat(MAX_CALL_BYTES)) as never), {
    code: 'actor.too-large',
  } as never)

  // At a PNode: only control is heard.
  const there = actor.vnode(owner, 'r', vnode)
  for (const sender of [mallory, asControl, senderOf(owner)])
    await refuses(
      t,
      made,
      there,
      'stop',
      signedBy(sender, there, 'stop', { term }),
      'message.signature',
      /signed by a key that is not control/,
    )
  await refuses(t, made, there, 'stop', { term }, 'message.unsigned')
  await refuses(t, made, actor.pnode(owner), 'describe', null, 'message.unsigned')
  const host = made.pnodes.find(({ pnode }) => pnode === owner)!
  t.deepEqual(Object.fromEntries(host.refused), { 'message.signature': 3, 'message.unsigned': 2 })
  t.regex(prometheusText(pnodeReport(host).metrics()), new RegExp(`refused_total\\{pnode="${owner}",reason="call: message.signature"\\} 3`))

  const counted = Object.fromEntries([...made.host.refused].map(([reason, count]) => [reason, count - (before.get(reason) ?? 0)]))
  t.like(counted, {
    'call: message.unsigned': 7,
    'call: message.denied': 25,
    'call: message.signature': 3,
    'call: message.expired': 1,
    'call: message.replayed': 1,
    'call: message.damaged': 8,
    'call: message.version': 1,
  })
  const metrics = await (await fetch(`${made.url}/metrics`, { headers: { authorization: `Bearer ${made.keys.trainerToken}` } })).text()
  t.regex(metrics, /swarmgrad_refused_total\{reason="call: message.denied"\} 25/)

  t.like(await run.result, { status: 'done', stepsLost: 0, stepsDoubled: 0, moves: 0 })
  t.deepEqual(made.errors, [])
  t.deepEqual(
    made.host.members.map(({ state }) => state),
    ['ready', 'ready', 'ready'],
  )
  const undisturbed = await train(slowBranching(15), training, { store: memoryStore(), checkpoint: { everySteps: 10 } }).result
  t.is((await run.result).hash, undisturbed.hash)
})

/** Counts what it hears, and fails once where it is told to. */
function counter(heard: Json[]): ActorDefinition<null> {
  return {
    type: 'Run',
    activate: () => null,
    handlers: {
      committed: (_context, _memory, argument) => void heard.push(argument),
      later: (context) => context.setTimer('tick', 'tick', { afterMs: 10 }, 'by itself'),
      tick: (_context, _memory, argument) => void heard.push(argument),
    },
  }
}

test('a call that arrives twice is heard once, and one that is made again is heard again', async (t) => {
  const clock = fakeClock()
  const heard: Json[] = []
  const refused: ErrorCode[] = []
  const local = localActors({ store: memoryStore(), clock })
  const keys = seededIdentity('control')
  const control = signedActors(local, {
    sender: senderOf('control', { clock }),
    assertSigned: (signed) => assertSignature(signed, keyVerifier(keys.publicKey)),
    guard: new ReplayGuard(clock),
    onRefused: (code) => refused.push(code),
  })
  control.register(counter(heard))
  const calls: Json[] = []
  // What stands between delivers everything twice, as a sidecar does whose first answer was lost.
  const doubling = {
    ...local,
    call: async (target: ActorRef, method: string, argument?: Json) => {
      calls.push(argument!)
      await local.call(target, method, argument)
      return local.call(target, method, argument)
    },
  }
  const caller = signedActors(doubling, {
    sender: senderOf('control', { incarnation: 'another', clock }),
    assertSigned: () => undefined,
    guard: new ReplayGuard(clock),
    onRefused: () => undefined,
  })
  const tell = () => call<'Run', 'committed'>(caller, actor.run('r'), 'committed', { step: 1 } as Calls['Run']['committed'][0])
  const first = await t.throwsAsync(tell(), { code: 'message.replayed' } as never)
  t.like(first, { retryable: true })
  t.deepEqual(heard, [{ step: 1 }])
  await t.throwsAsync(tell(), { code: 'message.replayed' } as never)
  t.deepEqual(heard, [{ step: 1 }, { step: 1 }], 'another number: it was meant')
  t.is(new Set(calls.map((each) => (each as unknown as SignedMessage).message.seq)).size, 2)
  t.deepEqual(refused, ['message.replayed', 'message.replayed'])
  // Its own timers need no signature.
  await control.call(actor.run('r'), 'later')
  await clock.advance(20)
  t.is(heard.at(-1), 'by itself')
  await local.close()
})

test('a host that has joined anew under another key is heard, and forgers make no more reads than one a second', async (t) => {
  const clock = fakeClock()
  let text: string | undefined = publicKeyOf('first')
  let reads = 0
  const keys = new HostKeys({ clock, read: async () => (reads++, text) })
  const by = (seed: string, from = 'ann') => senderOf(from, { text: seed, clock }).sign({ to: 'a', purpose: 'b', body: null })
  await keys.assertSigned(by('first'))
  await keys.assertSigned(by('first'))
  t.is(reads, 1)
  text = publicKeyOf('second')
  t.like(await t.throwsAsync(keys.assertSigned(by('second'))), { code: 'message.signature', retryable: true })
  await clock.advance(1_000)
  await keys.assertSigned(by('second'))
  t.like(await t.throwsAsync(keys.assertSigned(by('first'))), { code: 'message.signature', retryable: true })
  await clock.advance(1_000)
  t.like(await t.throwsAsync(keys.assertSigned(by('first'))), { code: 'message.signature', retryable: false })
  t.is(reads, 3)
  text = undefined
  for (let i = 0; i < 300; i++) await t.throwsAsync(keys.assertSigned(by('x', `nobody-${i}`)), { code: 'message.signature' } as never)
  t.true(reads <= 103, String(reads))
})
