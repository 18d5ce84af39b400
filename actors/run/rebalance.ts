/** Which VNodes should move so that the longest stage of the pipeline becomes shorter; pure. */

/** A PNode that VNodes may be on. */
export interface Stage {
  readonly pnode: string
  /** Whether it may take VNodes. */
  readonly isOpen: boolean
  /** What VNodes may use, in bytes. */
  readonly memoryBytes: number
  readonly maxVNodes?: number
}

/** A VNode, where it is, and what it needs there and elsewhere. */
export interface Work {
  readonly vnode: string
  readonly pnode: string
  readonly memoryBytes: number
  /** Whether it may move now. */
  readonly isFree: boolean
  /** What has the same is to be on one PNode. */
  readonly group?: string
  /** Whether it may be on a PNode at all. Absent: on any. */
  readonly mayBeOn?: (pnode: string) => boolean
  /** Whether the others wait while it moves. */
  readonly isWaitedFor: boolean
  /** How long a step takes it on a PNode, in ms. */
  readonly msOn: (pnode: string) => number
  /** With whom it must not be on one PNode: who stands by for it, or for whom it stands by. */
  readonly apart?: readonly string[]
}

export interface Move {
  readonly vnode: string
  readonly to: string
}

export interface Rebalancing {
  readonly moves: readonly Move[]
  /** Share by which the longest stage becomes shorter, 0 to 1. */
  readonly gain: number
}

export const NOTHING_MOVES: Rebalancing = { moves: [], gain: 0 }

/**
 * The fewest moves found that make the longest stage as short as can be, one after the other from the stage that is longest just then, each VNode
 * once; none if the gain is too small. Ties go to what nobody waits for, then to the name, whatever the order of the arguments.
 * @param leastGain share of the longest stage, 0 to 1
 * @param leastSavedMs of each step, for each move that others wait for
 */
export function worthMoving(
  stages: readonly Stage[],
  all: readonly Work[],
  { leastGain, leastSavedMs = 0 }: { readonly leastGain: number; readonly leastSavedMs?: number },
): Rebalancing {
  const byName = stages.toSorted((a, b) => (a.pnode < b.pnode ? -1 : 1))
  const works = all.toSorted((a, b) => Number(a.isWaitedFor) - Number(b.isWaitedFor) || (a.vnode < b.vnode ? -1 : 1))
  const place = new Map(works.map(({ vnode, pnode }) => [vnode, pnode]))
  const on = (pnode: string) => works.filter(({ vnode }) => place.get(vnode) === pnode)
  const msOf = new Map<string, number>()
  for (const { pnode } of [...byName, ...works]) msOf.set(pnode, sum(on(pnode).map((work) => work.msOn(pnode))))
  const longest = () => [...msOf].reduce((most, [pnode, ms]) => (ms > most.ms ? { pnode, ms } : most), { pnode: '', ms: 0 })
  const hasRoom = ({ pnode, isOpen, memoryBytes, maxVNodes = Infinity }: Stage, added: Work): boolean => {
    const here = on(pnode)
    if (added.mayBeOn?.(pnode) === false || here.some(({ vnode }) => added.apart?.includes(vnode))) return false
    return isOpen && here.length < maxVNodes && sum(here.map((work) => work.memoryBytes)) + added.memoryBytes <= memoryBytes
  }
  const before = longest()
  const moves: (Move & Pick<Work, 'isWaitedFor'>)[] = []
  /** Of the moves so far, those that the shortest longest stage needs. */
  let needed = 0
  for (let now = before, shortestMs = before.ms; ; now = longest()) {
    if (now.ms < shortestMs) [shortestMs, needed] = [now.ms, moves.length]
    let best: { readonly work: Work; readonly to: string; readonly ms: number } | undefined
    for (const work of on(now.pnode)) {
      if (!work.isFree || moves.some(({ vnode }) => vnode === work.vnode)) continue
      for (const stage of byName) {
        if (stage.pnode === now.pnode || !hasRoom(stage, work)) continue
        // The longer of the two stages that change.
        const ms = Math.max(now.ms - work.msOn(now.pnode), msOf.get(stage.pnode)! + work.msOn(stage.pnode))
        if (ms < (best?.ms ?? now.ms)) best = { work, to: stage.pnode, ms }
      }
    }
    if (!best) {
      const going = moves.slice(0, needed)
      const leastMs = leastSavedMs * going.filter(({ isWaitedFor }) => isWaitedFor).length
      if (needed === 0 || shortestMs > before.ms * (1 - leastGain) || before.ms - shortestMs < leastMs) return NOTHING_MOVES
      return { moves: going.map(({ vnode, to }) => ({ vnode, to })), gain: 1 - shortestMs / before.ms }
    }
    place.set(best.work.vnode, best.to)
    moves.push({ vnode: best.work.vnode, to: best.to, isWaitedFor: best.work.isWaitedFor })
    for (const pnode of [now.pnode, best.to]) msOf.set(pnode, sum(on(pnode).map((work) => work.msOn(pnode))))
  }
}

/**
 * VNodes that have to go because their PNode lends less than they need: of each such PNode the fewest, then the smallest; what is to be together last,
 * and together.
 * @param works with `isFree` or without: limits are kept at once
 */
export function overLimit(stages: readonly Stage[], works: readonly Work[]): string[] {
  return stages.flatMap(({ pnode, memoryBytes, maxVNodes = Infinity }) => {
    const here = works.filter((work) => work.pnode === pnode)
    const pieces = piecesOf(here)
    let excessBytes = sum(here.map((work) => work.memoryBytes)) - memoryBytes
    let excess = here.length - maxVNodes
    const going: string[] = []
    while (pieces.length > 0 && (excessBytes > 0 || excess > 0)) {
      const found = pieces.findIndex((piece) => piece.memoryBytes >= excessBytes)
      const [gone] = pieces.splice(found < 0 ? pieces.findLastIndex(({ isGroup }) => isGroup === pieces[0].isGroup) : found, 1)
      going.push(...gone.vnodes)
      excessBytes -= gone.memoryBytes
      excess -= gone.vnodes.length
    }
    return going
  })
}

interface MovingPiece {
  readonly vnodes: readonly string[]
  readonly memoryBytes: number
  readonly isGroup: boolean
}

/** Groups as one, behind all others; the smallest of each kind first. */
function piecesOf(works: readonly Work[]): MovingPiece[] {
  const groups = new Map<string, Work[]>()
  for (const work of works) {
    const key = work.group === undefined ? `vnode ${work.vnode}` : `group ${work.group}`
    groups.set(key, [...(groups.get(key) ?? []), work])
  }
  const pieces = [...groups.values()].map((members): MovingPiece => {
    const vnodes = members.map(({ vnode }) => vnode).toSorted()
    return { vnodes, memoryBytes: sum(members.map((work) => work.memoryBytes)), isGroup: members[0].group !== undefined }
  })
  return pieces.sort(
    (a, b) => Number(a.isGroup) - Number(b.isGroup) || a.memoryBytes - b.memoryBytes || (a.vnodes[0] < b.vnodes[0] ? -1 : 1),
  )
}

const sum = (numbers: readonly number[]): number => numbers.reduce((total, each) => total + each, 0)
