/**
 * Audits of the source (PROTOCOL.md rule 28): on a host that nobody answers for all that it sends is made again by somebody who has the data, too. It is known from those who read it;
 * that they may lie, too, is what is different from other audits.
 */
import { SOURCE } from '../../components/definition.js'
import type { ActorContext } from '../../runtime/actor-system/actor-system.js'
import type { Head, Manifest, OpenAudit, SegmentRef } from '../../runtime/head.js'
import type { Roots } from '../../runtime/log-root.js'
import { actor, call, type Membership } from '../calls.js'
import type { Claim, Conviction } from '../trust/dispute.js'
import type { Trust } from '../trust/trust.js'
import { rootsAnswer } from '../who-may.js'
import { type Opinion, valueOf } from './review.js'

/** Checkpoints of which it is remembered: more than audits are open at a time. */
const MOST_RIGHT = 100

export interface SourceAuditsOptions {
  readonly context: ActorContext
  readonly head: () => Head
  /** Absent: whoever was trusted when it got something still is. */
  readonly trust?: Trust
  /** VNodes that read what the source sends. */
  readonly readers: readonly string[]
  /** A PNode says that it has not sent what these say that they have read. */
  readonly contradict: (says: string, others: readonly string[]) => void
  /** A PNode gets nothing for a while, if there is somebody else. */
  readonly shun: (pnode: string) => void
}

/** What the source had sent by a checkpoint, as all say who have read it. Undefined: nobody compared it. */
export function sourceRootsOf({ vnodes }: Pick<Manifest, 'vnodes'>): Roots | undefined {
  const output = vnodes.flatMap(({ roots }) => roots?.inputs[SOURCE] ?? [])[0]
  return output === undefined ? undefined : { output, inputs: {} }
}

export class SourceAudits {
  readonly #options: SourceAuditsOptions
  /** Who has had the source in this generation, and has it no more: some of what was read may be theirs. */
  readonly #left = new Set<string>()

  /** Steps of the checkpoints up to which all that was read of it is right. */
  readonly #right = new Set<number>()

  constructor(options: SourceAuditsOptions) {
    this.#options = options
  }

  /** A generation begins. */
  clear(): void {
    this.#left.clear()
    this.#right.clear()
  }

  /** @param from who had it */
  moved(from: string): void {
    this.#left.add(from)
  }

  /** What has been read of it since the checkpoint before this step is what it was to send. */
  verified(step: number): void {
    this.#right.add(step)
    for (const oldest of this.#right) if (this.#right.size > MOST_RIGHT) this.#right.delete(oldest)
  }

  isRight(step: number): boolean {
    return this.#right.has(step)
  }

  /** All that an untrusted source has sent is audited. */
  drawn(segment: SegmentRef): OpenAudit[] {
    const { pnode } = this.#options.head().directory[SOURCE]
    return this.#isTrusted(SOURCE) ? [] : [{ vnode: SOURCE, pnode, ...segment }]
  }

  /** What has been read of it. */
  said({ pnode }: OpenAudit, manifest: Manifest): Opinion {
    return opinionOf(pnode, manifest.position, sourceRootsOf(manifest)!.output)
  }

  /** Whoever is trusted is asked first: it settles at once what is found, and has the data already. */
  first<T extends Pick<Membership, 'isTrusted'>>(hosts: readonly T[]): T[] {
    return hosts.toSorted((a, b) => Number(b.isTrusted ?? false) - Number(a.isTrusted ?? false))
  }

  /**
   * Of those who are wrong, who is convicted. Others than the source always are. The source's host is, if one who is trusted has read it, or the host itself, or if it says itself that it has
   * sent what is wrong. Else either it lies or those who read it: they contradict each other.
   * @param convicted by the word of an arbiter or a panel @param right what the segment should have been @param moved what was elsewhere before, as far as is known
   */
  async proven(
    audit: OpenAudit,
    { convicted, right }: { readonly convicted: readonly Conviction[]; readonly right: Pick<Claim, 'root'> },
    { position, moved }: { readonly position: number; readonly moved: ReadonlySet<string> },
  ): Promise<readonly Conviction[]> {
    const { head, readers, contradict, shun } = this.#options
    const { directory } = head()
    const others = convicted.filter(({ host }) => host !== audit.pnode)
    if (others.length === convicted.length) return convicted
    // Whoever was the source before may have sent it.
    for (const pnode of this.#left) shun(pnode)
    if (moved.has(SOURCE) || directory[SOURCE]?.pnode !== audit.pnode) return others
    const known = readers.filter((id) => id in directory && !moved.has(id))
    if (known.some((id) => directory[id].pnode === audit.pnode || this.#isTrusted(id))) return convicted
    const output = await this.#sent(position)
    if (output !== undefined && valueOf(opinionOf(audit.pnode, position, output)) !== right.root) return convicted
    contradict(audit.pnode, [...new Set(known.map((id) => directory[id].pnode))])
    return others
  }

  /** As of when it was placed there, and as of now. */
  #isTrusted(id: string): boolean {
    const { head, trust } = this.#options
    const { pnode, isTrusted = false } = head().directory[id]
    return isTrusted && (!trust || trust.isTrusted(pnode))
  }

  /** What its host says that the source has sent up to a position. Whoever does not answer has said nothing. */
  async #sent(position: number): Promise<string | undefined> {
    const { context, head } = this.#options
    const { run, directory } = head()
    const { pnode, term } = directory[SOURCE]
    const request = { run, position, vnodes: [[SOURCE, term] as const] }
    const answer = await call<'PNode', 'roots'>(context, actor.pnode(pnode), 'roots', request, context.signal).catch(() => [])
    return rootsAnswer.safeParse(answer).data?.[0]?.output
  }
}

/** A source has no state: what it has sent stands for it. */
function opinionOf(pnode: string, position: number, output: string): Opinion {
  return { vnode: SOURCE, id: SOURCE, pnode, position, hash: output, roots: { output, inputs: {} } }
}
