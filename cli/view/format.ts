/** Numbers and times as people read them. */

/** `98.1 %` of a fraction from 0 to 1. */
export const percent = (fraction: number | undefined): string => (fraction === undefined ? '–' : `${(fraction * 100).toFixed(1)} %`)

/** `12,345`. */
export const count = (number: number): string => Math.round(number).toLocaleString('en-US')

/** Three significant places, for losses. */
export const decimal = (number: number | undefined): string =>
  number === undefined
    ? '–'
    : Math.abs(number) >= 1000 || (number !== 0 && Math.abs(number) < 0.001)
      ? number.toExponential(1)
      : number.toPrecision(3)

/** `28×28×1`. */
export const shape = (sizes: readonly number[]): string => sizes.join('×')

/** `1.5 MB`, by powers of ten. */
export function size(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB']
  const power = bytes < 1000 ? 0 : Math.min(units.length - 1, Math.floor(Math.log10(bytes) / 3))
  return `${(bytes / 1000 ** power).toFixed(power === 0 ? 0 : 1)} ${units[power]}`
}

/** `340 ms`, `12 s`, `3 min 20 s`, `2 h 5 min`. */
export function duration(ms: number): string {
  if (ms < 1000) return `${Math.round(ms)} ms`
  const seconds = Math.round(ms / 1000)
  if (seconds < 10) return `${(ms / 1000).toFixed(1)} s`
  if (seconds < 60) return `${seconds} s`
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`
  return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`
}

/** `14:03:59`, local time. */
export const timeOfDay = (ms: number): string => new Date(ms).toTimeString().slice(0, 8)

/** `2025-11-21 14:03`, local time. */
export function dateAndTime(ms: number): string {
  const date = new Date(ms)
  const two = (number: number) => String(number).padStart(2, '0')
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())} ${two(date.getHours())}:${two(date.getMinutes())}`
}

/** The beginning of a hash. */
export const shortHash = (hash: string | undefined): string => (hash === undefined ? '–' : `${hash.slice(0, 12)}…`)

/** Text cut to a width, without styles. */
export const fit = (text: string, width: number): string => (text.length <= width ? text : `${text.slice(0, Math.max(0, width - 1))}…`)
