import { equal } from './networks.js'
import { runtimeRate } from './runtime-rate.js'

const rate = await runtimeRate(equal, { pnodes: Number(process.argv[2]), steps: 140, warmUp: 20 })
process.stdout.write(`${JSON.stringify(rate)}\n`)
