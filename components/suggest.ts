/** What somebody who mistyped a name may have meant. */

/** "Did you mean …?" with the nearest of `known`, or the list of them if none is near. */
export function suggest(name: string, known: readonly string[]): string | undefined {
  if (known.length === 0) return undefined
  const near = known.map((other) => ({ other, edits: distance(name.toLowerCase(), other.toLowerCase()) })).sort((a, b) => a.edits - b.edits)
  if (near[0].edits <= Math.max(2, Math.floor(name.length / 3))) return `Did you mean '${near[0].other}'?`
  return known.length <= 12
    ? `Known: ${known.join(', ')}`
    : `Nearest: ${near
        .slice(0, 3)
        .map(({ other }) => other)
        .join(', ')}`
}

/** Edits from a to b (Levenshtein). */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++) {
      next[j] = Math.min(row[j] + 1, next[j - 1] + 1, row[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1))
    }
    row = next
  }
  return row[b.length]
}
