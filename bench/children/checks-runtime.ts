import { COUNTED } from '../turns.js'
import { equal } from './networks.js'
import { runtimeRate } from './runtime-rate.js'

const [pnodes, everySteps, audits, redundancy] = process.argv.slice(2).map(Number)
const rate = await runtimeRate(equal, {
  pnodes,
  steps: 600,
  epochs: 6,
  warmUp: 40,
  areProven: true,
  execution: { checkpoint: { everySteps }, audits, redundancy },
  onCounted: (edge) => process.stdout.write(`${COUNTED[edge]}\n`),
})
process.stdout.write(`${JSON.stringify(rate)}\n`)
