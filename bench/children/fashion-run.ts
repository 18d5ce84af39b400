import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  backprop,
  batchNorm,
  block,
  categorical,
  datasets,
  dense,
  dropout,
  flatten,
  leakyRelu,
  local,
  network,
  pred,
  predsim,
  train,
} from '../../index.js'

const [, , rule, seed] = process.argv
const hidden = (units: number) => block(dense(units), batchNorm(), leakyRelu(), dropout(0.025))
const net = network({ input: [28, 28, 1], target: categorical(10) }, [flatten(), hidden(256), hidden(256), hidden(256)])
const store = await mkdtemp(join(tmpdir(), 'swarmgrad-bench-'))
try {
  const rules = { pred, predsim, backprop }
  const run = train(
    net,
    { data: datasets.fashionMnist(), rule: rules[rule as keyof typeof rules](), epochs: 5, seed: Number(seed) },
    { on: local({ pnodes: 4 }), store },
  )
  const { metrics, seconds, samplesPerSecond } = await run.result
  const peakMB = process.resourceUsage().maxRSS / 1000
  process.stdout.write(`${JSON.stringify({ accuracy: metrics.accuracy, seconds, samplesPerSecond, peakMB })}\n`)
} finally {
  await rm(store, { recursive: true, force: true })
}
