/** What follows when somebody says that it has read something else than its producer has put out: it may be a lie of either of the two; pure. */
import { SOURCE } from '../../components/definition.js'
import type { Head } from '../../runtime/head.js'
import { Contradictions } from './contradictions.js'
import type { Finding, Opinion } from './review.js'

export type Misfed = Finding & { readonly type: 'misfed' }

export interface Consequence {
  /** They contradict themselves, or a PNode that is trusted. */
  readonly convicted: readonly string[]
  /** They have had the producer before and left: it may have been any of them. */
  readonly left: readonly string[]
  /** That it begins anew elsewhere is enough; else the whole run goes back, to places without those who are suspected. */
  readonly isBeginningEnough: boolean
}

type Party = Pick<Opinion, 'pnode' | 'isTrusted'>

export class Feeding {
  readonly #contradictions = new Contradictions()
  /** By VNode, who has had it in this generation and has it no more. Undefined: the generation is older than what we know. */
  #before: Map<string, Set<string>> | undefined

  /** A generation begins: who reads then reads from one owner, until that one is lost. */
  begin(): void {
    this.#before = new Map()
  }

  /** A VNode gets another owner. */
  moved(vnode: string, from: string | undefined): void {
    if (from !== undefined) this.#before?.set(vnode, new Set([...(this.#before.get(vnode) ?? []), from]))
  }

  /** They get nothing more of the run, as it looks now. */
  get suspects(): readonly string[] {
    return this.#contradictions.suspects
  }

  /** Two that are both believed as little. @param says that it has not sent what the other one has read */
  contradict(says: string, other: string): void {
    this.#contradictions.add(says, other)
  }

  judge({ opinion, producer, otherwise }: Misfed, { directory }: Pick<Head, 'directory'>): Consequence {
    const nothing = { convicted: [], left: [], isBeginningEnough: false }
    const place = directory[producer]
    if (producer !== SOURCE && place === undefined) return nothing
    const others: readonly Party[] = producer === SOURCE ? otherwise : [place]
    const left = [...(this.#before?.get(producer) ?? [])].filter((pnode) => pnode !== place.pnode)
    // Whatever it has read may be of somebody who is gone. The source commits to nothing: there those who read from it contradict each other.
    if (producer !== SOURCE && (!this.#before || left.length > 0)) return { ...nothing, left }
    const isProof = producer !== SOURCE || place?.isTrusted === true
    const liars = others.flatMap((other) => liarOf(opinion, other) ?? [])
    if (isProof && liars.length > 0) return { ...nothing, convicted: [...new Set(liars)] }
    const areNew = others
      .filter((other) => !(opinion.isTrusted && other.isTrusted))
      .map((other) => {
        const liar = liarOf(opinion, other)
        return this.#contradictions.add(liar ?? opinion.pnode, liar ?? other.pnode)
      })
    const isFollower = opinion.id !== opinion.vnode
    return { ...nothing, isBeginningEnough: isFollower && areNew.includes(true) && this.suspects.includes(opinion.pnode) }
  }
}

/** Who of the two lies, where that is known. */
function liarOf(reader: Party, other: Party): string | undefined {
  if (reader.isTrusted && other.isTrusted) return undefined
  if (reader.isTrusted) return other.pnode
  return other.isTrusted || other.pnode === reader.pnode ? reader.pnode : undefined
}
