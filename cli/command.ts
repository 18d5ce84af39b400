/** What a command is made of, before its body is loaded. */
import type { ExitStatus } from './exit.js'
import type { FlagName, Settings } from './flags.js'
import type { Output } from './output.js'

/** What the body of a command is given. */
export interface CommandContext {
  readonly settings: Settings
  /** Flags that were typed on the command line. */
  readonly typed: ReadonlySet<FlagName>
  /** Settings that came from a configuration file. */
  readonly configured: ReadonlySet<FlagName>
  readonly output: Output
  /** Folder of the object store, where no cluster is meant. */
  readonly store: string
}

export interface CommandSpec {
  readonly name: string
  /** As commander wants them: `[DEF]`, `<RUN>`. */
  readonly parameters: readonly string[]
  /** One sentence. */
  readonly summary: string
  /** To copy: without `swarmgrad`. */
  readonly examples: readonly [string, string, string]
  readonly flags: readonly FlagName[]
  /** Flags that must be given. */
  readonly needs?: readonly FlagName[]
  /** Loads the body and runs it. */
  run(context: CommandContext, ...parameters: readonly (string | undefined)[]): Promise<ExitStatus>
}
