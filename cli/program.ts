/** From the words of the command line to the body of a command, and from what it throws to one line and a status. */
import { Command, CommanderError, Option } from 'commander'
import { isSwarmError, SwarmError } from '../runtime/errors.js'
import type { CommandSpec } from './command.js'
import { COMMANDS } from './commands.js'
import { EXIT, type ExitStatus } from './exit.js'
import { COMMON_FLAGS, FLAGS, type Flag, type FlagName } from './flags.js'
import { Output } from './output.js'
import { resolveSettings, type TypedFlags, userConfigPath } from './settings.js'
import { VERSION } from '../runtime/version.js'

const EXIT_CODES = `Exit status: 0 done or detached, 1 failed, 2 usage, 3 paused, 4 cluster unreachable, 130 or 143 ended by a signal.`

/** Runs the command line; never throws. */
export async function runProgram(words: readonly string[]): Promise<ExitStatus> {
  const has = (name: string) =>
    words.includes(`--${name}`) || /^(1|true|yes|on)$/i.test(process.env[`SWARMGRAD_${name.toUpperCase()}`] ?? '')
  let output = new Output({ isJson: has('json'), isQuiet: has('quiet'), isVerbose: has('verbose') })
  let status: ExitStatus = EXIT.done
  const program = makeProgram(async (spec, flags, parameters) => {
    const names = [...spec.flags, ...COMMON_FLAGS]
    const resolved = await resolveSettings({ names, flags, environment: process.env, userConfig: await userConfigPath() })
    const { settings } = resolved
    output = new Output({ isJson: settings.json ?? false, isQuiet: settings.quiet ?? false, isVerbose: settings.verbose ?? false })
    status = await spec.run({ ...resolved, output, store: settings.store ?? './runs' }, ...parameters)
  })
  try {
    await program.parseAsync(words, { from: 'user' })
    return status
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) return EXIT.done
    if (error instanceof CommanderError && error.code === 'commander.help') return EXIT.usage
    output.error(error instanceof CommanderError ? usageError(error) : error)
    if (isSwarmError(error, 'cluster.unreachable')) return EXIT.unreachable
    return error instanceof CommanderError || isSwarmError(error, 'usage') ? EXIT.usage : EXIT.failed
  }
}

/** commander's own sentence without its prefix. */
function usageError({ message, code }: CommanderError): SwarmError {
  const what = message.replace(/^error: /, '').replaceAll('\n', ' ')
  return new SwarmError('usage', { what, fix: code === 'commander.unknownCommand' ? 'See: swarmgrad --help' : undefined })
}

type Action = (spec: CommandSpec, flags: TypedFlags, parameters: readonly (string | undefined)[]) => Promise<void>

function makeProgram(act: Action): Command {
  const program = new Command('swarmgrad')
  quieten(program)
    .description('Train neural networks on machines that come and go, to identical bits whatever is killed.')
    .version(VERSION, '--version', 'print the version')
    .helpOption('--help', 'explain')
    .enablePositionalOptions()
    .addHelpText(
      'after',
      helpEnd(
        ['train --data fashion-mnist', 'demo', 'train net.ts --chaos kill:pnode:every=2s'],
        'Flags of a command: swarmgrad COMMAND --help',
      ),
    )
  addFlags(program, COMMON_FLAGS)
  for (const spec of COMMANDS) {
    const command = program.command([spec.name, ...spec.parameters].join(' '))
    quieten(command)
      .description(spec.summary)
      .version(VERSION, '--version', 'print the version')
      .helpOption('--help', 'explain')
      .addHelpText('after', helpEnd(spec.examples))
      .action(async (...words: unknown[]) => {
        const flags: TypedFlags = { ...program.opts<TypedFlags>(), ...command.opts<TypedFlags>() }
        const parameters = words.slice(0, spec.parameters.length) as (string | undefined)[]
        await act(spec, flags, parameters)
      })
    addFlags(command, [...spec.flags, ...COMMON_FLAGS], spec.needs)
  }
  program.helpCommand(false)
  return program
}

/** Errors are thrown, and printed once, by whoever knows how. */
function quieten(command: Command): Command {
  return command
    .exitOverride()
    .showSuggestionAfterError()
    .configureOutput({ writeErr: (text) => void (text.startsWith('error:') || process.stderr.write(text)) })
    .configureHelp({ helpWidth: Math.min(process.stdout.columns ?? 100, 120) })
}

function addFlags(command: Command, names: readonly FlagName[], needs: readonly FlagName[] = []): void {
  for (const name of names) {
    const flag: Flag<unknown> = FLAGS[name]
    const option = new Option(flag.syntax, describe(flag)).makeOptionMandatory(needs.includes(name)).hideHelp(flag.isHidden ?? false)
    // commander names an option by its words; two flags may have the same words in different commands.
    option.attributeName = () => name
    if (flag.isRepeatable) option.argParser((value: string, before: readonly string[] | undefined) => [...(before ?? []), value])
    command.addOption(option)
    // `--no-threads` alone must not count as typed.
    if (option.negate) command.setOptionValue(name, undefined)
  }
}

function describe(flag: Flag<unknown>): string {
  const notes = [flag.default && `default: ${flag.default}`, flag.environment].filter(Boolean)
  return notes.length > 0 ? `${flag.description} (${notes.join('; ')})` : flag.description
}

function helpEnd(examples: readonly string[], note?: string): string {
  const lines = examples.map((example) => `  $ swarmgrad ${example}`)
  return `\nExamples:\n${lines.join('\n')}\n\n${note ? `${note}\n` : ''}${EXIT_CODES}`
}
