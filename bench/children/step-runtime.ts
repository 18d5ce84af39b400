import { wide } from './networks.js'
import { runtimeRate } from './runtime-rate.js'

const samplesPerSecond = await runtimeRate(wide, 784, 1, 140, 20)
process.stdout.write(`${JSON.stringify({ samplesPerSecond })}\n`)
