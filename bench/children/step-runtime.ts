import { wide } from './networks.js'
import { runtimeRate } from './runtime-rate.js'

const backend = process.argv[2] === 'native' ? 'native' : 'wasm'
const samplesPerSecond = await runtimeRate(wide, 784, 1, backend === 'native' ? 400 : 140, 20, backend)
process.stdout.write(`${JSON.stringify({ samplesPerSecond })}\n`)
