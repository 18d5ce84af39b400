/* A process of its own that prints this Node's version, the hashes of what kernels compute, and those of small runs, as JSON. */
import { carryOut } from '../expectations/expected.js'
import { undisturbed } from './chaos-run.js'
import { kernelBits } from './kernel-bits.js'

const kernels = await kernelBits()
const runs = {
  chain: (await undisturbed('chain')).hash,
  branching: (await undisturbed('branching')).hash,
  'conv net': (await carryOut('conv net')).hash,
  transformer: (await carryOut('transformer')).hash,
}
process.stdout.write(JSON.stringify({ version: process.version, kernels, runs }))
