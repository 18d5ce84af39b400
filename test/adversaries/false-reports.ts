/** Hosts that compute what is right and say something else: their reports to the run's owner, and what they answer, before that is signed. */
import type { ActorDefinition, ActorSystem, Json } from '../../runtime/actor-system/actor-system.js'
import type { Roots } from '../../runtime/log-root.js'
import type { Commit, Failure, RunReport } from '../../actors/reports.js'
import type { Entry } from '../../runtime/step-log.js'

/** Takes an honest PNode's way to speak, and gives that of a liar. */
export type FalseSpeech = (honest: ActorSystem) => ActorSystem

interface Words {
  /** What is said instead of a report; nothing at all is taken for heard. Default: the report. */
  readonly says?: (report: RunReport) => readonly RunReport[]
  /** What is answered to whoever asks for roots. Default: what is right. */
  readonly roots?: (roots: Roots | null) => Roots | null
}

const REPORTS: ReadonlySet<string> = new Set(['committed', 'claimed', 'evaluated', 'failed'] satisfies RunReport['method'][])
const OTHER_HASH = '0123456789abcdef'.repeat(4)

const speaking =
  ({ says = (report) => [report], roots = (right) => right }: Words): FalseSpeech =>
  (honest) => ({
    register<Memory>(definition: ActorDefinition<Memory>) {
      const { handlers } = definition
      const answered = handlers.roots && {
        roots: async (...asked: Parameters<typeof handlers.roots>) =>
          ((await handlers.roots(...asked)) as unknown as (Roots | null)[]).map(roots) as unknown as Json,
      }
      honest.register({ ...definition, handlers: { ...handlers, ...answered } })
    },
    unregister: (type) => honest.unregister(type),
    async call(target, method, argument = null, options) {
      if (target.type !== 'Run' || !REPORTS.has(method)) return honest.call(target, method, argument, options)
      const said = says({ method, argument } as unknown as RunReport)
      // One after the other: which of them is the first word is no accident.
      const calls = said.map((report) => honest.call(target, report.method, report.argument as unknown as Json, options))
      return (await Promise.all(calls))[0] ?? null
    },
    deactivate: (target) => honest.deactivate(target),
    start: () => honest.start(),
    close: () => honest.close(),
  })

/** What is said of a state, by an owner or a follower, is changed. */
const changing = (change: (word: Commit) => Commit) => (report: RunReport) =>
  report.method === 'committed' || report.method === 'claimed'
    ? ({ ...report, argument: change(report.argument as Commit) } as RunReport)
    : report

const withOtherHash = changing((word) => ({ ...word, hash: OTHER_HASH }))
const isWord = ({ method }: RunReport): boolean => method === 'committed' || method === 'claimed'

const otherInputs = (roots: Roots): Roots => ({
  ...roots,
  inputs: Object.fromEntries(Object.keys(roots.inputs).map((producer) => [producer, OTHER_HASH])),
})

/** Of the training in `small-runs.ts`: three epochs of 20 steps, two evaluation batches after each. */
const LAST: Entry = { position: 64, step: 60, evaluation: 0, marks: 0 }

const failing =
  (entryOf: (commit: Commit) => Entry) =>
  (report: RunReport): readonly RunReport[] => {
    if (report.method !== 'committed') return [report]
    const { vnode, term, generation } = report.argument
    const error = { code: 'compute.failed', message: 'on purpose', retryable: true } as const
    const argument: Failure = { vnode, term, generation, error, entry: entryOf(report.argument) }
    return [{ method: 'failed', argument }]
  }

/** By what they say. */
export const FALSE_REPORTS = {
  /** The truth first, then a lie about the same cut. */
  'takes its word back': speaking({ says: (report) => (isWord(report) ? [report, withOtherHash(report)] : [report]) }),
  /** A lie first, then the truth. */
  'mends its word': speaking({ says: (report) => (isWord(report) ? [withOtherHash(report), report] : [report]) }),
  /** It has a state of every step that there is, and of many that there are not. */
  'knows everything': speaking({
    says: (report) =>
      isWord(report)
        ? [report, ...Array.from({ length: 300 }, (_, i) => changing((word) => ({ ...word, step: word.step + 1 + i }))(report))]
        : [report],
  }),
  /** Whoever restores from its word would be of another compute class. */
  'of another class': speaking({ says: (report) => [changing((word) => ({ ...word, computeClass: 'another' }))(report)] }),
  /** It has always read something else than others have put out. */
  'says that it was misfed': speaking({
    says: (report) => [changing((word) => ({ ...word, ...(word.roots && { roots: otherInputs(word.roots) }) }))(report)],
    roots: (right) => right && otherInputs(right),
  }),
  /** Instead of committing it says that it has failed where nobody will ever be. */
  'fails beyond the end': speaking({
    says: failing(({ position, step }) => ({ position: position + 100_000, step, evaluation: 0, marks: 0 })),
  }),
  /** The same, at the last step: all that it reads may come there, and does. */
  'fails far ahead': speaking({ says: failing(() => LAST) }),
  /** It does not say what it has put out when somebody cannot go on with it. */
  'answers nothing': speaking({ roots: () => null }),
  /** Its heads have got everything right. */
  'boasts of its evaluations': speaking({
    says: (report) => [
      report.method === 'evaluated'
        ? { ...report, argument: { ...report.argument, sums: { ...report.argument.sums, correct: report.argument.sums.count } } }
        : report,
    ],
  }),
  /** It sends what is right, and says nothing of what it has stored. */
  'never commits': speaking({ says: (report) => (report.method === 'committed' ? [] : [report]) }),
  'never evaluates': speaking({ says: (report) => (report.method === 'evaluated' ? [] : [report]) }),
} as const satisfies { readonly [name: string]: FalseSpeech }
export type FalseReport = keyof typeof FALSE_REPORTS
