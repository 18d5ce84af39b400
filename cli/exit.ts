/** What a command's exit status says (API.md). */
export const EXIT = { done: 0, failed: 1, usage: 2, paused: 3, unreachable: 4, interrupted: 130, terminated: 143 } as const

export type ExitStatus = (typeof EXIT)[keyof typeof EXIT]
