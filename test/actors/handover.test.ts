/** Planned moves, as the owner of a run decides them: whom it asks to stand still, and when. */
import test from 'ava'
import type { Constraints } from '../../actors/run/constraints.js'
import { Handover } from '../../actors/run/handover.js'
import type { HeadEcho } from '../../actors/run/head-echo.js'
import type { Move } from '../../actors/run/rebalance.js'
import { StepTimes } from '../../actors/run/step-times.js'
import { SOURCE } from '../../components/definition.js'
import type { ActorContext, Json } from '../../runtime/actor-system/actor-system.js'
import { firstHead } from '../../runtime/head.js'
import { fakeClock } from '../support/fake-clock.js'
import { member } from '../support/members.js'
import { chainRun } from '../simulation/simulated-run.js'

/** A run of six VNodes, three on each of ann and bob, and who has been asked to stand still, or to follow elsewhere. @param standing where followers are */
function watched(standing: { readonly [follower: string]: string } = {}, constraints: Constraints = {}) {
  const clock = fakeClock()
  const { definition } = chainRun(6, { epochs: 1, stepsPerEpoch: 100 }, () => undefined as never)
  const members = ['ann', 'bob'].map((pnode) => member(pnode))
  const places = { [SOURCE]: 'bob', v001: 'ann', v002: 'ann', v003: 'ann', v004: 'bob', v005: 'bob', v006: 'bob', ...standing }
  const directory = Object.fromEntries(Object.entries(places).map(([vnode, pnode], i) => [vnode, { pnode, term: i + 1 }]))
  const run = () => ({ definition, constraints, head: { ...firstHead('r'), directory, termCounter: 8 }, computeClass: 'c' })
  const call = async (_target: unknown, method: string, argument: { readonly after?: string }): Promise<Json> => {
    if (method !== 'list') throw new Error(`nobody answers ${method}`)
    return members.filter(({ pnode }) => pnode > argument.after!) as never
  }
  const asked: string[] = []
  const moved: Move[] = []
  const echo = {
    hold: async (vnodes: readonly string[]) => void asked.push(...vnodes),
    toSource: () => undefined,
    release: () => undefined,
  }
  const handover = new Handover({
    context: { clock, call, signal: new AbortController().signal, setTimer: () => undefined } as unknown as ActorContext,
    echo: echo as unknown as HeadEcho,
    run,
    move: async () => undefined,
    followers: { promotions: () => [], seek: () => undefined, move: async (moves) => void moved.push(...moves) },
    dismiss: async () => undefined,
    monitor: { waits: () => undefined, times: new StepTimes(), step: 0 },
  })
  const join = async (pnode: string) => {
    members.push(member(pnode))
    await handover.joined(pnode)
  }
  return { clock, handover, join, asked, moved }
}

test('whoever joins is given work at once', async (t) => {
  const { join, asked } = watched()
  await join('cyd')
  t.is(asked.length, 2, asked.join())
})

test('what stands still because its PNode goes moves first; when that PNode has said no more of it, others may be given work again', async (t) => {
  const { clock, handover, join, asked } = watched()
  t.deepEqual(await handover.drain({ pnode: 'ann', reason: 'its owner needs it' }), ['v001', 'v002', 'v003'])
  t.deepEqual(asked.splice(0), ['v001', 'v002', 'v003'])
  await join('cyd')
  t.deepEqual(asked, [], 'one move at a time')
  await clock.advance(9_000)
  await join('dan')
  t.deepEqual(asked, [])
  await clock.advance(2_000)
  await join('eve')
  t.true(asked.length > 0, 'ann has stayed')
})

test('followers move while VNodes wait for a checkpoint: nobody waits for them', async (t) => {
  const { handover, join, asked, moved } = watched({ 'v001~1': 'bob', 'v002~1': 'bob', 'v003~1': 'bob' })
  await handover.drain({ pnode: 'ann', reason: 'its owner needs it' })
  asked.splice(0)
  await join('cyd')
  t.deepEqual(asked, [])
  t.deepEqual(
    moved,
    ['v001~1', 'v002~1', 'v003~1'].map((vnode) => ({ vnode, to: 'cyd' })),
  )
  // Nobody has moved them.
  await join('dan')
  t.is(moved.length, 3, 'who was refused a place is left alone for a while')
})

test('what is to be together is handed over when all of it stands still', async (t) => {
  const { handover } = watched({}, { together: [['v001', 'v002']] })
  await handover.drain({ pnode: 'ann', reason: 'its owner needs it' })
  handover.completed([{ vnode: 'v001', heldAsOf: 99 }] as never)
  // Nobody is asked for a place.
  await t.notThrowsAsync(handover.give())
  handover.completed([{ vnode: 'v002', heldAsOf: 99 }] as never)
  await t.throwsAsync(handover.give(), { message: 'nobody answers place' })
})

test('who has been told to go on since does not stand still, though a checkpoint says so that completes later', async (t) => {
  const { handover } = watched({})
  await handover.drain({ pnode: 'ann', reason: 'its owner needs it' })
  // The source moved, say: its term is the eighth, and everybody goes on.
  handover.interrupted()
  handover.completed([{ vnode: 'v001', heldAsOf: 7 }] as never)
  // Nobody is asked for a place.
  await t.notThrowsAsync(handover.give())
  await handover.drain({ pnode: 'ann', reason: 'its owner needs it' })
  handover.completed([{ vnode: 'v001', heldAsOf: 8 }] as never)
  await t.throwsAsync(handover.give(), { message: 'nobody answers place' })
})
