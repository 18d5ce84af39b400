import { equal } from './networks.js'
import { runtimeRate } from './runtime-rate.js'

const samplesPerSecond = await runtimeRate(equal, 1024, Number(process.argv[2]), 140, 20)
process.stdout.write(`${JSON.stringify({ samplesPerSecond })}\n`)
