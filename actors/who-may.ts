/**
 * Who may ask what of which actor, and what such a message has to look like. Control may ask everything; a PNode speaks for itself and for what
 * was placed on it (whether it was, the Run actor knows: `run/run.ts`); what is not named here is control's alone.
 */
import { z } from 'zod'
import { CONTROL_NAME } from '../runtime/tensor-bus/nats-authority.js'
import type { ActorContext } from '../runtime/actor-system/actor-system.js'
import { SwarmError } from '../runtime/errors.js'
import type { Message } from '../runtime/signed-message.js'

/** Whose words a call is, as its signature shows. */
export type Speaker = Pick<Message, 'from' | 'incarnation'>

/** The context of a handler whose call was signed; of a timer's tick there is no speaker. */
export type HeardContext = ActorContext & { readonly speaker?: Speaker }

/** A PNode that speaks; undefined: control. */
export function hostOf({ speaker }: HeardContext): Speaker | undefined {
  return speaker && speaker.from !== CONTROL_NAME ? speaker : undefined
}

interface Rule {
  readonly body: z.ZodType
  /** Whether the body, which has the right form, is the host's to say. */
  readonly isOwn?: (body: never, speaker: Speaker) => boolean
}

const name = z.string().min(1).max(64)
const amount = z.number().nonnegative()
const whole = z.int().nonnegative()
const about = z.looseObject({ pnode: name })
const why = z.looseObject({ pnode: name, reason: z.string() })
const profile = z.looseObject({
  pnode: name,
  incarnation: z.string().min(1).max(64),
  computeClass: z.string().max(1_000),
  gflops: amount,
  memoryBytes: amount,
  largestAllocationBytes: amount.optional(),
  uploadBytesPerS: amount.optional(),
  downloadBytesPerS: amount.optional(),
  roundTripMs: amount.optional(),
  owner: z.string().max(100).optional(),
  maxVNodes: amount.optional(),
  allowsCode: z.array(z.string().max(64)).optional(),
  isRelayed: z.boolean().optional(),
})
const heartbeat = z.looseObject({
  pnode: name,
  busyShare: amount,
  vnodes: z.array(z.string()),
  placedBytes: z.record(z.string(), amount).optional(),
})
const placed = { vnode: z.string().min(1), term: whole, generation: whole }
const sha256 = z.string().regex(/^[0-9a-f]{64}$/, 'wants a SHA-256')
const perVNode = z.record(z.string(), sha256)
const roots = z.looseObject({
  output: sha256,
  given: sha256.optional(),
  due: sha256.optional(),
  inputs: perVNode,
  feedback: perVNode.optional(),
})
const claim = z.looseObject({ ...placed, step: whole, position: whole, hash: sha256, roots })
const commit = z.looseObject({
  ...placed,
  step: whole,
  position: whole,
  marks: whole,
  hash: sha256,
  roots: roots.optional(),
  sizeBytes: whole,
  digests: z.base64(),
  firstStep: whole,
  computeClass: z.string(),
  heldAsOf: whole.optional(),
  stalls: z.array(z.looseObject({ step: whole })).optional(),
})
const evaluated = z.looseObject({
  ...placed,
  step: whole,
  position: whole.optional(),
  roots: roots.optional(),
  sums: z.record(z.string(), z.number()),
})
const failure = z.looseObject({
  ...placed,
  error: z.looseObject({ code: z.string(), message: z.string(), retryable: z.boolean() }),
  entry: z.looseObject({ position: whole, step: whole }).optional(),
  batch: z.string().optional(),
  read: z.record(z.string(), sha256).optional(),
  isHasty: z.boolean().optional(),
})
const loss = z.looseObject({ pnode: name, what: z.literal('worker'), reason: z.string(), vnodes: z.array(z.string()) })

/** What a PNode answers when it is asked for roots, one for each; `null`: it cannot say. */
export const rootsAnswer = z.array(roots.nullable())

type Own = Rule['isOwn']
const own: Own = ({ pnode }: { pnode: string }, { from }) => pnode === from
const ownStart: Own = (body: { pnode: string; incarnation: string }, { from, incarnation }) =>
  body.pnode === from && body.incarnation === incarnation
const ownWish: Own = ({ pnode, by = 'host' }: { pnode: string; by?: string }, { from }) => pnode === from && by === 'host'

/** What PNodes may ask, by role and method. */
const HOSTS_MAY: { readonly [role: string]: { readonly [method: string]: Rule } } = {
  Placement: {
    join: { body: profile, isOwn: ownStart },
    measured: { body: profile, isOwn: ownStart },
    heartbeat: { body: heartbeat, isOwn: own },
    leave: { body: why, isOwn: own },
    drain: { body: why, isOwn: ownWish },
    undrain: { body: about, isOwn: ownWish },
    lend: { body: z.looseObject({ pnode: name, memoryBytes: amount, maxVNodes: amount.optional() }), isOwn: own },
  },
  Relocation: { relocate: { body: loss, isOwn: own } },
  Run: { committed: { body: commit }, claimed: { body: claim }, evaluated: { body: evaluated }, failed: { body: failure } },
}

/** @param role of the actor that is asked: its type without the host @throws `message.denied`, `message.damaged` */
export function assertMay(role: string, { from, incarnation, purpose, body }: Message): void {
  if (from === CONTROL_NAME) return
  const methods = HOSTS_MAY[role] ?? {}
  const rule = Object.hasOwn(methods, purpose) ? methods[purpose] : undefined
  const where = `${role}: ${purpose}`
  if (!rule) throw new SwarmError('message.denied', { what: 'this is control’s to ask', where, expected: CONTROL_NAME, got: from })
  const { success, error } = rule.body.safeParse(body)
  if (!success) throw new SwarmError('message.damaged', { what: `not what ${from} should send`, where, got: z.prettifyError(error) })
  if (rule.isOwn?.(body as never, { from, incarnation }) === false)
    throw new SwarmError('message.denied', { what: `${from} speaks for somebody else, or for another start of itself`, where })
}
