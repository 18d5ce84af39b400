#!/usr/bin/env node
/** The `swarmgrad` command. */
import { runProgram } from './program.js'

// A reader that has seen enough (`| head`) ends the command, as with any other.
process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1))
// The swarm's own timers keep nothing alive: while every PNode is lost, waiting for one to return would look like the end.
setInterval(() => {}, 2 ** 30)
const status = await runProgram(process.argv.slice(2))
// Workers and timers of a run that has ended must not keep the shell waiting.
process.stdout.write('', () => process.exit(status))
