/** `swarmgrad up`. */
import { systemClock } from '../../runtime/clock.js'
import { folderOf, takeFolder } from '../cluster/folder.js'
import { LocalCluster } from '../cluster/local-cluster.js'
import { membershipOf, wordsOfMembership } from '../cluster/membership.js'
import { reporter } from '../cluster/reporter.js'
import { untilSignal } from '../cluster/until-signal.js'
import type { CommandContext } from '../command.js'
import { EXIT, type ExitStatus } from '../exit.js'
import { tokenPath } from '../tokens.js'
import { duration } from '../view/format.js'
import { table } from '../view/table.js'

const DEFAULT_PNODES = 3
const DEFAULT_PORT = 7070
const DEFAULT_HOST_IP = '127.0.0.1'

export async function up({ settings, output }: CommandContext): Promise<ExitStatus> {
  membershipOf(settings)
  const report = reporter(output)
  const folder = await folderOf(settings.folder, 'cluster')
  const lock = await takeFolder(folder, 'a cluster')
  const startedMs = systemClock.now()
  const ending = untilSignal(
    () => report.event('ending', 'ending: PNodes, control, servers; once more to end at once'),
    () => cluster.kill(),
  )
  const cluster = new LocalCluster({
    folder,
    hostIp: settings.hostIp ?? DEFAULT_HOST_IP,
    port: settings.port ?? DEFAULT_PORT,
    pnodes: settings.machines ?? DEFAULT_PNODES,
    control: wordsOfMembership(settings),
    report,
    signal: ending.signal,
  })
  try {
    await cluster.start()
    const seconds = (systemClock.now() - startedMs) / 1000
    const tokens = await tokenPath()
    const parts = cluster.parts.map(({ name, address, server: { pid, logFile } }) => ({ name, pid, address, log: logFile }))
    output.record({ type: 'ready', url: cluster.url, folder, tokens, parts, seconds })
    const columns = [{ title: 'process' }, { title: 'pid', align: 'right' }, { title: 'at' }, { title: 'log' }] as const
    output.result(`${table(columns, parts.map(rowOf), output.style)}

${cluster.url} is up after ${duration(seconds * 1000)}; it is kept in ${folder}, tokens in ${tokens}

  $ swarmgrad train --cluster ${cluster.url} --data fashion-mnist --epochs 5
  $ swarmgrad host ${cluster.url} --name one-more
  $ swarmgrad pnodes --cluster ${cluster.url}

Ctrl-C ends all of it; the same command goes on with its runs.`)
    await ending.asked
  } catch (error) {
    if (!ending.signal.aborted) throw error
  } finally {
    await cluster.stop()
    await lock.release()
    ending.stop()
  }
  report.event('ended', 'nothing of it runs any more')
  return EXIT.done
}

const rowOf = ({ name, pid, address, log }: { name: string; pid: number; address: string; log: string }) => [
  name,
  String(pid),
  address,
  log,
]
