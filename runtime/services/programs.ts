/** The server programs that a cluster needs, and how they are looked for. */

/** Programs of Dapr: they must be of one version. */
export const DAPR_PROGRAMS = ['daprd', 'placement', 'scheduler'] as const

/** All programs. */
export const PROGRAMS = [...DAPR_PROGRAMS, 'nats-server', 'minio'] as const

export type ProgramName = (typeof PROGRAMS)[number]

/** Where a program was found. */
export type Origin = 'SWARMGRAD_SERVICES' | 'PATH' | 'Dapr' | 'cache'

/** A program on this machine. */
export interface Program {
  readonly name: ProgramName
  readonly path: string
  /** As it says itself; of placement and scheduler, which do not, that of the daprd beside them. */
  readonly version: string
  readonly origin: Origin
  readonly sizeBytes: number
}

export function isDaprProgram(name: ProgramName): boolean {
  return (DAPR_PROGRAMS as readonly string[]).includes(name)
}
