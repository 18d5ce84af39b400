/**
 * What is too long for one call to the placement service: requests go in parts, answers and lists come in pages. A run of 10,000 VNodes asks
 * with about 1 MB; a call takes 64 KB.
 */
import type { ActorSystem } from '../../runtime/actor-system/actor-system.js'
import { SwarmError } from '../../runtime/errors.js'
import { actor, call, type Calls, type Decision, type Demand, type Membership } from '../calls.js'

type Request = Calls['Placement']['place'][0]
type Caller = Pick<ActorSystem, 'call'>

/** What a part or a page may have: 64 KB less what else is in a request, and in the call. */
const MAX_PART_BYTES = 40 * 1024
/** Requests whose parts or pages are under way; of more, the oldest is asked again. */
const MAX_OPEN = 64

/** Asks where VNodes should be. @param writer of the run's head: it tells an owner's question from that of the one before @throws `placement.no-pnode` */
export async function askPlaces(caller: Caller, request: Request, writer: number): Promise<readonly Decision[]> {
  const { run, demands, staying } = request
  const parts = inParts(demands, ({ vnode, ...demand }) => JSON.stringify([vnode, demand, vnode, staying[vnode]]))
  const moving = demands.filter(({ vnode }) => !(vnode in staying)).length
  let page: readonly Decision[] = []
  for (const [index, part] of parts.entries()) {
    const stays = Object.fromEntries(part.flatMap(({ vnode }) => (vnode in staying ? [[vnode, staying[vnode]]] : [])))
    const place = { ...request, demands: part, staying: stays, part: { writer, index, isLast: index === parts.length - 1 } }
    page = await call<'Placement', 'place'>(caller, actor.placement, 'place', place)
  }
  const decisions = [...page]
  while (decisions.length < moving) {
    decisions.push(...(await call<'Placement', 'placed'>(caller, actor.placement, 'placed', { run, writer, from: decisions.length })))
  }
  return decisions
}

/** Every PNode that the placement service knows, in order of names. */
export async function listMembers(caller: Caller): Promise<readonly Membership[]> {
  const members: Membership[] = []
  for (;;) {
    const page = await call<'Placement', 'list'>(caller, actor.placement, 'list', { after: members.at(-1)?.pnode ?? '' })
    if (page.length === 0) return members
    members.push(...page)
  }
}

/** The members that follow a name, as many as a call takes. */
export function pageOf(members: readonly Membership[], after: string): readonly Membership[] {
  const later = members.filter(({ pnode }) => pnode > after).toSorted((a, b) => (a.pnode < b.pnode ? -1 : 1))
  return firstPart(later, 0, (member) => JSON.stringify(member))
}

interface Open {
  readonly writer: number
  readonly demands: Demand[]
  readonly staying: { [vnode: string]: string }
  parts: number
  decisions: readonly Decision[]
}

/** The placement service's side: puts requests together, and gives answers out by pages. */
export class OpenRequests {
  readonly #open = new Map<string, Open>()

  /**
   * Takes a part of a request. The answer to the last one is the first page of decisions, to any other nothing.
   * @throws `actor.busy` if a part before it has not come here, and what `decide` throws
   */
  take(request: Request, decide: (whole: Request) => readonly Decision[]): readonly Decision[] {
    const { run, demands, staying, part } = request
    if (!part) return decide(request)
    const { writer, index, isLast } = part
    if (index === 0) this.#begin(run, writer)
    const open = this.#of(run, writer)
    if (open.parts !== index) throw gone(run)
    open.parts++
    open.demands.push(...demands)
    Object.assign(open.staying, staying)
    if (!isLast) return []
    open.decisions = decide({ ...request, demands: open.demands, staying: open.staying })
    return this.page(run, writer, 0)
  }

  /** Decisions from number `from` on. @throws `actor.busy` if they are not known here any more */
  page(run: string, writer: number, from: number): readonly Decision[] {
    const { decisions } = this.#of(run, writer)
    if (from > 0 && from >= decisions.length) throw gone(run)
    const page = firstPart(decisions, from, (decision) => JSON.stringify(decision))
    if (from + page.length === decisions.length) this.#open.delete(run)
    return page
  }

  #begin(run: string, writer: number): void {
    this.#open.delete(run)
    this.#open.set(run, { writer, demands: [], staying: {}, parts: 0, decisions: [] })
    const [oldest] = this.#open.keys()
    if (this.#open.size > MAX_OPEN) this.#open.delete(oldest)
  }

  #of(run: string, writer: number): Open {
    const open = this.#open.get(run)
    if (open?.writer !== writer) throw gone(run)
    return open
  }
}

const gone = (run: string): SwarmError =>
  new SwarmError('actor.busy', {
    what: `the placement of ${run} that this belongs to is not known here: it has to be asked anew`,
    retryable: true,
  })

/** All items, in parts that each fit; one empty part if there are none. */
function inParts<T>(items: readonly T[], textOf: (item: T) => string): (readonly T[])[] {
  const parts = [firstPart(items, 0, textOf)]
  for (let from = parts[0].length; from < items.length; from += parts.at(-1)!.length) parts.push(firstPart(items, from, textOf))
  return parts
}

/** The items from a number on that have at most MAX_PART_BYTES together; one at least, if there is one. */
function firstPart<T>(items: readonly T[], from: number, textOf: (item: T) => string): readonly T[] {
  let sizeBytes = 0
  let end = from
  while (end < items.length) {
    sizeBytes += Buffer.byteLength(textOf(items[end])) + 1
    if (end > from && sizeBytes > MAX_PART_BYTES) break
    end++
  }
  return items.slice(from, end)
}
