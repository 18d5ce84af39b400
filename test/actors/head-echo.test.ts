/** What hosts answer to what is told them of the head, and what it means for the run. */
import test from 'ava'
import { HeadEcho } from '../../actors/run/head-echo.js'
import type { NetworkDefinition } from '../../components/definition.js'
import type { ActorContext, ActorRef } from '../../runtime/actor-system/actor-system.js'
import { SwarmError } from '../../runtime/errors.js'
import { createControlKey } from '../../runtime/grant.js'
import { firstHead, type Head } from '../../runtime/head.js'
import { fakeClock } from '../support/fake-clock.js'

const NETWORK = { vnodes: [{ id: 'v', inputs: [] }], output: 'v' } as unknown as NetworkDefinition
const denied = () => new SwarmError('store.denied', { what: 'no right to get this' })

/** Grants `v` to p1 under term 1, and answers as `answer` does. @returns the calls of the run */
async function granted(answer: (move: () => void) => Promise<null>): Promise<string[]> {
  let head: Head = { ...firstHead('r'), directory: { v: { pnode: 'p1', term: 1 } } }
  const move = () => (head = { ...head, directory: { v: { pnode: 'p2', term: 2 } } })
  const told: string[] = []
  const clock = fakeClock()
  const call = async ({ type }: ActorRef, method: string) => {
    if (type === 'VNode.p1') return answer(move)
    told.push(`${type}.${method}`)
    return null
  }
  const context = { clock, signal: new AbortController().signal, call } as unknown as ActorContext
  const echo = new HeadEcho({
    context,
    network: NETWORK,
    controlKey: createControlKey(),
    head: () => head,
    manifest: () => undefined,
    onError: (error) => told.push(String(error)),
  })
  await echo.grant(['v'])
  await clock.advance(1_000)
  return told
}

test('a host that refuses its grant is heard', async (t) => {
  t.deepEqual(await granted(() => Promise.reject(denied())), ['Run.failed'])
})

test('one that refuses because somebody else has the VNode meanwhile is not', async (t) => {
  const answer = (move: () => void) => {
    move()
    return Promise.reject(denied())
  }
  t.deepEqual(await granted(answer), [])
})
