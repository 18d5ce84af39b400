import { vgg, wide } from './networks.js'
import { runtimeRate } from './runtime-rate.js'

const [, , chosen, which] = process.argv
const backend = chosen === 'native' ? 'native' : 'wasm'
const isConv = which === 'conv'
const steps = isConv ? 60 : backend === 'native' ? 400 : 140
const rate = await runtimeRate(isConv ? vgg() : wide, { backend, steps, warmUp: isConv ? 10 : 20 })
process.stdout.write(`${JSON.stringify(rate)}\n`)
