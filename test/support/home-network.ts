/** A machine behind a home router, on this one: a network namespace whose processes dial out to what they are allowed, and to which nobody can connect. */
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import type { Teardown } from './servers.js'

export interface HomeNetwork {
  /** Address of this side: what listens there can be reached from the inside, if it is allowed. */
  readonly outside: string
  /** Of the other side. */
  readonly inside: string
  /** Words that start a command there. */
  readonly within: readonly string[]
  /** Lets processes there send to these ports of the outside, and to nothing else: answers to whoever connects do not leave. */
  allow(ports: Iterable<number>): Promise<void>
}

const run = promisify(execFile)

/** Gone when the test ends. @throws what `ip` says where the system forbids namespaces */
export async function homeNetwork(t: Teardown): Promise<HomeNetwork> {
  const ip = async (words: string) => void (await run('ip', words.split(' ')))
  // At most 15 characters for an interface.
  const name = `sg${process.pid}`
  const [out, own] = [`${name}o`, `${name}i`]
  const net = `10.213.${process.pid % 250}`
  const [outside, inside] = [`${net}.1`, `${net}.2`]
  await ip(`netns add ${name}`)
  t.teardown(() => ip(`netns del ${name}`))
  await ip(`link add ${out} type veth peer name ${own} netns ${name}`)
  // The namespace itself lives until its last process has ended.
  t.teardown(() => ip(`link del ${out}`).catch(() => undefined))
  await ip(`addr add ${outside}/30 dev ${out}`)
  await ip(`link set ${out} up`)
  await ip(`-n ${name} addr add ${inside}/30 dev ${own}`)
  await ip(`-n ${name} link set ${own} up`)
  await ip(`-n ${name} link set lo up`)
  await ip(`-n ${name} rule add pref 200 to ${outside} prohibit`)
  return {
    outside,
    inside,
    within: ['ip', 'netns', 'exec', name],
    async allow(ports) {
      // Routing rules, not a packet filter: they need no kernel module.
      for (const port of ports) await ip(`-n ${name} rule add pref 100 to ${outside} ipproto tcp dport ${port} lookup main`)
    },
  }
}
