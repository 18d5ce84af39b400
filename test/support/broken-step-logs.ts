/** Step logs, sources and Run actors that break one rule each: the simulation must notice every one of them. */
import { type Entry, StepLog, type StepCommand, type StepEvent, type StepLogOptions } from '../../runtime/step-log.js'
import type { Defects, Log } from './step-log-simulator.js'

type Command = StepCommand<number>
type Event = StepEvent<number>

interface Bends {
  readonly given?: (given: readonly number[]) => readonly number[]
  readonly event?: (event: Event, log: StepLog<number>) => Event | undefined
  readonly commands?: (commands: Command[], event: Event | undefined, log: StepLog<number>) => Command[]
}

/** A log whose events and commands are bent on their way in and out. */
function bent(bends: (options: StepLogOptions) => Bends): Defects {
  return {
    log: (log, options): Log => {
      const { event: bendEvent, commands: bendCommands, given: bendGiven } = bends(options)
      const out = (commands: Command[], event?: Event) => bendCommands?.(commands, event, log) ?? commands
      return {
        get applied() {
          return log.applied
        },
        get retained() {
          return log.retained
        },
        get waiting() {
          return log.waiting
        },
        canOffer: () => log.canOffer(),
        offer: (entry: Entry) => {
          const commands = log.offer(entry)
          return commands && out(commands)
        },
        start: (given) => out(log.start(given && bendGiven ? bendGiven(given) : given)),
        handle: (event) => {
          const bentEvent = bendEvent ? bendEvent(event, log) : event
          return bentEvent ? out(log.handle(bentEvent), bentEvent) : []
        },
      }
    },
  }
}

/** Terms as the newest grants give them. */
function termsOf({ inputs, outputs }: StepLogOptions): Map<string, number> {
  return new Map([...inputs, ...outputs].map(({ vnode, term }) => [vnode, term]))
}

/** A log that follows the rules, but for the options it is built with. */
const rebuilt = (change: (options: StepLogOptions) => StepLogOptions): Defects => ({
  log: (_log, options) => new StepLog<number>(change(options)),
})

const credits = (commands: Command[], change: (credit: Command & { type: 'credit' }) => Command): Command[] =>
  commands.map((command) => (command.type === 'credit' ? change(command) : command))

export const BROKEN_RUNS: { readonly [fault: string]: Defects } = {
  'takes messages of any term': bent((options) => {
    const terms = termsOf(options)
    return {
      event: (event) => {
        if (event.type === 'granted') terms.set(event.peer.vnode, event.peer.term)
        return 'term' in event ? { ...event, term: terms.get(event.from)! } : event
      },
    }
  }),
  'takes messages of any generation': bent(({ generation }) => ({
    event: (event) => ('generation' in event ? { ...event, generation } : event),
  })),
  'forgets what it skips': rebuilt((options) => ({ ...options, skips: undefined })),
  'takes a tombstone for an output': bent(() => ({
    event: (event) => (event.type === 'frame' ? { ...event, isTombstone: false } : event),
  })),
  'adopts no grants': bent(() => ({ event: (event) => (event.type === 'granted' ? undefined : event) })),
  'never sends anything again': bent(() => ({ event: (event) => (event.type === 'credit' ? { ...event, resend: false } : event) })),
  'never repeats credits': bent(() => ({ event: (event) => (event.type === 'tick' || event.type === 'lost' ? undefined : event) })),
  'never asks for what was lost': bent(() => ({ commands: (commands) => credits(commands, (credit) => ({ ...credit, resend: false })) })),
  'asks for one entry too late': bent(() => ({
    commands: (commands) => credits(commands, (credit) => ({ ...credit, next: credit.next + 1 })),
  })),
  'sends one entry more than was allowed': bent(() => ({
    event: (event) => (event.type === 'credit' ? { ...event, upTo: event.upTo + 1 } : event),
  })),
  'sends nothing to a consumer that is restored': bent(() => ({
    event: (event, log) => (event.type === 'credit' && event.next <= log.applied - 3 ? undefined : event),
  })),
  'keeps outputs only until they are sent': {
    log: (log, options) => {
      const evict = (commands: Command[]) => {
        if (log.applied > options.from && commands.some(({ type }) => type === 'send'))
          log.handle({ type: 'manifest', position: log.applied })
        return commands
      }
      return bent(() => ({ commands: evict })).log!(log, options)
    },
  },
  'keeps outputs beyond the manifest': bent(() => ({ event: (event) => (event.type === 'manifest' ? undefined : event) })),
  'applies what it gets twice': bent(({ inputs }) => ({
    commands: (commands, event) => {
      const isTwice =
        inputs.length === 1 && event?.type === 'frame' && commands.some((one) => one.type === 'drop' && one.reason === 'duplicate')
      return isTwice ? [...commands, { type: 'apply', entry: event.entry, inputs: [event.ref] }] : commands
    },
  })),
  'swaps the inputs of a join': bent(() => ({
    commands: (commands) => commands.map((one) => (one.type === 'apply' ? { ...one, inputs: one.inputs.toReversed() } : one)),
  })),
  'copies the state one entry too late': bent(() => {
    let kept: Command | undefined
    return {
      commands: (commands) =>
        commands.flatMap((command) => {
          if (command.type === 'snapshot') {
            kept = command
            return []
          }
          if (command.type !== 'apply' || !kept) return [command]
          const late = kept
          kept = undefined
          return [command, late]
        }),
    }
  }),
  'takes feedback one entry too late': bent(() => {
    let last: readonly number[] | undefined
    return {
      commands: (commands) =>
        commands.map((one) => {
          if (one.type !== 'apply' || !one.feedback) return one
          const late = last ?? one.feedback.map(() => 0)
          last = one.feedback
          return { ...one, feedback: late }
        }),
    }
  }),
  'forgets the feedback that it gave before the checkpoint': bent(() => ({ given: (given) => given.map(() => 0) })),
  'waits for no feedback': rebuilt((options) => ({
    ...options,
    inputs: options.inputs.filter(({ vnode }) => !options.feedback?.from.includes(vnode)),
  })),
  'copies no state at a cut': bent(() => ({ commands: (commands) => commands.filter(({ type }) => type !== 'snapshot') })),
  'runs ahead of a consumer without limit': rebuilt((options) => (options.inputs.length === 0 ? options : { ...options, window: 1024 })),
  'lets a source run ahead without limit': rebuilt((options) => (options.inputs.length > 0 ? options : { ...options, window: 1024 })),
  'sends another entry than it says': bent(() => ({
    commands: (commands) =>
      commands.map((one) => (one.type === 'send' ? { ...one, entry: { ...one.entry, position: one.entry.position + 1 } } : one)),
  })),
  'starts one entry too early': rebuilt((options) => (options.from > 0 ? { ...options, from: options.from - 1 } : options)),
  'starts one entry too late': rebuilt((options) => (options.from > 0 ? { ...options, from: options.from + 1 } : options)),
  'completes a cut with the commit of an old owner': { takesOldCommits: true },
  'restores a VNode from a commit of its own': { restoresOwnCommits: true },
  'counts the room that is left from a cut that may never complete': { countsRoomFromItsOwnCut: true },
  'never opens a cut while another is open': { cutsOneAtATime: true },
}
