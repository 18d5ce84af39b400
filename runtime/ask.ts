/** Questions and answers between peers of a tensor bus, where there is no Dapr between them. */
import { randomBytes } from 'node:crypto'
import type { Clock } from './clock.js'
import { SwarmError, toSwarmError } from './errors.js'
import { DEFAULT_CALL_DEADLINE_MS, MAX_CALL_BYTES, MAX_CALL_DEADLINE_MS } from './actor-system/actor-system.js'
import type { CallOptions, Json } from './actor-system/actor-system.js'
import { toText } from './actor-system/json-copy.js'
import { errorAnswer, resultAnswer, unwrapAnswer } from './answer.js'
import type { Delivery, TensorBus } from './tensor-bus/tensor-bus.js'

/** Of the wire form `{"v":1,"id":…,"argument":…}`; golden bytes in test/runtime/ask.test.ts. */
export const ASK_VERSION = 1
/** An actor call with its target around it. */
export const MAX_ASK_BYTES = MAX_CALL_BYTES + 4_096
/** Questions that one peer may have open, and that may wait to be read. */
export const MAX_ASKS = 1_024
/** Questions that are worked on at once; the next one is told `actor.busy`. */
export const MAX_ANSWERING = 256
/** Answers that are kept for those who ask again. */
const MAX_REMEMBERED = 256
/** A bus delivers at most once: a question without answer is repeated so often. A few times within the default deadline. */
const REPEAT_MS = 500

/** Handles one kind of question. `from` is whom the bus says it comes from. Must be idempotent: a repeated question may run again. */
export type AskHandler = (argument: Json, from: string) => Promise<Json | void>

export interface AnswerOptions {
  /** Its abort stops answering. */
  readonly signal?: AbortSignal
  /** Told of what is no question, of lost ones, and of answers that could not be sent. */
  readonly onError: (error: SwarmError) => void
}

/** A peer that answers. */
export interface Answering {
  /** Resolves when questions asked from now on are heard. */
  readonly ready: Promise<void>
  /** Resolves when nothing is read any more: after the abort, or when the bus has closed. */
  readonly ended: Promise<void>
}

/** A peer that asks. */
export interface Asker {
  /**
   * The answer of the peer `to`. Only that peer can give it.
   * @throws what the handler threw, by code; `actor.not-found` (no such method), `actor.timeout` and `actor.busy` (retryable), `aborted`,
   *   `actor.too-large`, `usage`, `bus.closed`
   */
  ask(to: string, method: string, argument?: Json, options?: CallOptions): Promise<Json>
  /** Resolves when answers will be heard. */
  readonly ready: Promise<void>
  /** Open questions are given up with `bus.closed`. */
  close(): void
}

const TOKEN = /^[A-Za-z0-9_-]+$/

/** Answers questions to `name`: `sg.ask.<name>.<method>`, for the methods that `handlers` declares. */
export function answer(
  bus: TensorBus,
  name: string,
  handlers: { readonly [method: string]: AskHandler },
  { signal, onError }: AnswerOptions,
): Answering {
  checkToken(name, 'a peer name')
  const subscription = bus.subscribe(`sg.ask.${name}.>`, { capacity: MAX_ASKS, signal })
  const underWay = new Set<string>()
  /** Answers by asker and question, oldest first. */
  const remembered = new Map<string, string>()

  const report = (error: unknown) => {
    try {
      onError(toSwarmError(error, 'internal'))
    } catch (thrown) {
      // A throwing listener must neither end the process nor the answering.
      process.emitWarning(toSwarmError(thrown, 'internal', 'onError threw'))
    }
  }
  const send = (from: string, id: string, text: string) => {
    try {
      bus.publish(`sg.answer.${from}.${id}`, new TextEncoder().encode(text))
    } catch (error) {
      report(toSwarmError(error, 'bus.closed', `answering ${from}`))
    }
  }
  const work = async (method: string, argument: Json, from: string): Promise<string> => {
    try {
      if (!Object.hasOwn(handlers, method)) throw new SwarmError('actor.not-found', `${name} answers no ${JSON.stringify(method)}`)
      return resultAnswer((await handlers[method](argument, from)) ?? null)
    } catch (error) {
      return errorAnswer(toSwarmError(error, 'actor.failed'))
    }
  }
  const onQuestion = async ({ subject, from, bytes }: Delivery & { type: 'message' }) => {
    const method = subject.slice(subject.lastIndexOf('.') + 1)
    const { id, argument } = decodeQuestion(bytes)
    const question = `${from} ${id}`
    if (underWay.has(question)) return
    const known = remembered.get(question)
    if (known !== undefined) {
      send(from, id, known)
      return
    }
    if (underWay.size >= MAX_ANSWERING) {
      send(from, id, errorAnswer(new SwarmError('actor.busy', { what: `${name} has too many questions`, retryable: true })))
      return
    }
    underWay.add(question)
    const text = await work(method, argument, from)
    underWay.delete(question)
    remembered.set(question, text)
    for (const oldest of remembered.keys()) {
      if (remembered.size <= MAX_REMEMBERED) break
      remembered.delete(oldest)
    }
    send(from, id, text)
  }
  const read = async () => {
    for await (const delivery of subscription) {
      if (delivery.type === 'message') onQuestion(delivery).catch(report)
      else report(new SwarmError('actor.busy', { what: `${delivery.count} questions to ${name} were lost`, retryable: true }))
    }
  }
  return { ready: subscription.ready, ended: read() }
}

interface Open {
  readonly to: string
  readonly settle: (end: (question: { resolve: (result: Json) => void; reject: (error: SwarmError) => void }) => void) => void
}

/** Asks as `name`, the name that `bus` is connected with: answers come to `sg.answer.<name>.<id>`. */
export function asker(bus: TensorBus, name: string, clock: Clock): Asker {
  checkToken(name, 'a peer name')
  const subscription = bus.subscribe(`sg.answer.${name}.>`, { capacity: MAX_ASKS })
  const open = new Map<string, Open>()
  // Ids of an earlier process of this name must not meet ours.
  const prefix = randomBytes(9).toString('base64url')
  let count = 0
  let isClosed = false

  const closed = () => new SwarmError('bus.closed', { what: 'the bus is closed', where: `questions of ${name}` })
  const giveUpAll = () => {
    isClosed = true
    for (const { settle } of open.values()) settle(({ reject }) => reject(closed()))
  }
  const read = async () => {
    for await (const delivery of subscription) {
      if (delivery.type === 'lost') continue // the question is repeated
      const { subject, from, bytes } = delivery
      const question = open.get(subject.slice(subject.lastIndexOf('.') + 1))
      if (question?.to !== from) continue // answered already, or by somebody who was not asked
      question.settle(({ resolve, reject }) => {
        try {
          resolve(unwrapAnswer(new TextDecoder().decode(bytes), `answer of ${from}`))
        } catch (error) {
          reject(toSwarmError(error, 'internal'))
        }
      })
    }
  }
  void read().then(giveUpAll, giveUpAll)

  return {
    ready: subscription.ready,
    async ask(to, method, argument, { deadlineMs = DEFAULT_CALL_DEADLINE_MS, signal } = {}) {
      checkToken(to, 'a peer name')
      checkToken(method, 'a method')
      const what = `${to}: ${method}`
      if (!(deadlineMs >= 1 && deadlineMs <= MAX_CALL_DEADLINE_MS)) {
        throw new SwarmError('usage', {
          what: 'deadlineMs out of range',
          expected: `1 to ${MAX_CALL_DEADLINE_MS}`,
          got: String(deadlineMs),
        })
      }
      if (signal?.aborted) throw new SwarmError('aborted', { what: `question aborted (${what})`, cause: signal.reason })
      if (isClosed) throw closed()
      if (open.size >= MAX_ASKS)
        throw new SwarmError('actor.busy', { what: 'too many open questions', expected: MAX_ASKS, retryable: true })
      const id = `${prefix}-${++count}`
      const bytes = encodeQuestion(id, argument, what)
      return new Promise((resolve, reject) => {
        let cancelRepeat = () => {}
        const settle: Open['settle'] = (end) => {
          open.delete(id)
          cancelRepeat()
          cancelDeadline()
          signal?.removeEventListener('abort', onAbort)
          end({ resolve, reject })
        }
        const giveUp = (error: SwarmError) => settle((question) => question.reject(error))
        const onAbort = () => giveUp(new SwarmError('aborted', { what: `question aborted (${what})`, cause: signal?.reason }))
        const cancelDeadline = clock.after(deadlineMs, () =>
          giveUp(new SwarmError('actor.timeout', { what: `no answer from ${what} within ${deadlineMs} ms`, retryable: true })),
        )
        const send = () => {
          cancelRepeat = clock.after(REPEAT_MS, send)
          try {
            bus.publish(`sg.ask.${to}.${method}`, bytes)
          } catch (error) {
            giveUp(toSwarmError(error, 'bus.closed'))
          }
        }
        signal?.addEventListener('abort', onAbort, { once: true })
        open.set(id, { to, settle })
        send()
      })
    },
    close() {
      subscription.unsubscribe()
      giveUpAll()
    },
  }
}

/** @throws `actor.too-large`, `usage` */
export function encodeQuestion(id: string, argument: Json | undefined, what: string): Uint8Array {
  const text = `{"v":${ASK_VERSION},"id":${JSON.stringify(id)},"argument":${toText(argument, `the argument of ${what}`, 'usage')}}`
  const bytes = new TextEncoder().encode(text)
  if (bytes.byteLength <= MAX_ASK_BYTES) return bytes
  throw new SwarmError('actor.too-large', {
    what: `the argument of ${what} is too large`,
    expected: `at most ${MAX_ASK_BYTES} bytes`,
    got: bytes.byteLength,
  })
}

/** @throws `frame.damaged`, `frame.version` */
export function decodeQuestion(bytes: Uint8Array): { readonly id: string; readonly argument: Json } {
  let question: { v?: unknown; id?: unknown; argument?: Json } | null
  try {
    if (bytes.byteLength > MAX_ASK_BYTES) throw new SwarmError('frame.damaged', 'too long')
    question = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes)) as typeof question
  } catch (cause) {
    throw new SwarmError('frame.damaged', { what: 'unreadable question', cause })
  }
  if (question?.v !== ASK_VERSION) {
    throw new SwarmError('frame.version', { what: 'question of an unknown version', expected: ASK_VERSION, got: String(question?.v) })
  }
  const { id, argument } = question
  if (typeof id !== 'string' || !TOKEN.test(id) || argument === undefined)
    throw new SwarmError('frame.damaged', { what: 'question with missing fields' })
  return { id, argument }
}

function checkToken(text: string, what: string): void {
  if (TOKEN.test(text)) return
  throw new SwarmError('usage', { what: `${what} is one token`, expected: 'letters, digits, _ and -', got: JSON.stringify(text) })
}
