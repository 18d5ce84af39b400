/* A process of its own that prints this Node's version and the hashes of the small runs, as JSON. */
import { undisturbed } from './chaos-run.js'

const [chain, branching] = [(await undisturbed('chain')).hash, (await undisturbed('branching')).hash]
process.stdout.write(JSON.stringify({ version: process.version, chain, branching }))
