/** `swarmgrad host`. */
import { createInterface } from 'node:readline/promises'
import { join } from 'node:path'
import { ControlClient } from '../../actors/control/control-client.js'
import type { ServersAnswer } from '../../actors/control/control-api.js'
import type { HostVerdict } from '../../actors/pnode/host-limits.js'
import { type HostProcess, startHost } from '../../actors/pnode/host-process.js'
import { pnodeApp } from '../../actors/control/node-endpoints.js'
import { backendOf, machineModule } from '../../components/backends.js'
import { assertInstalled } from '../../components/native/installed.js'
import { systemClock } from '../../runtime/clock.js'
import { limitedPool } from '../../runtime/compute/limited-compute.js'
import { computePool } from '../../runtime/compute/thread-compute.js'
import { keepLogsSmall } from '../../runtime/disk-room.js'
import { SwarmError, isSwarmError } from '../../runtime/errors.js'
import { listen } from '../../runtime/http-server.js'
import { fingerprint, publicKeyText } from '../../runtime/identity.js'
import { machineUse } from '../../runtime/machine-use.js'
import { VERSION } from '../../runtime/version.js'
import { adversaryOf } from '../cluster/adversary.js'
import { folderOf, takeFolder } from '../cluster/folder.js'
import { assertCanTell, describePlan, type HostPlan, hostPlan, nameOfMachine } from '../cluster/host-plan.js'
import { CODE_FOLDER, type HostKeys, hostTokenFor, identityOf, saveHostToken } from '../cluster/identity.js'
import { ownAddress } from '../cluster/own-address.js'
import { type Reporter, reporter } from '../cluster/reporter.js'
import { givenSidecar, OwnSidecar } from '../cluster/sidecar.js'
import { untilSignal } from '../cluster/until-signal.js'
import type { CommandContext } from '../command.js'
import { EXIT, type ExitStatus } from '../exit.js'
import { tokenFor, TOKEN_VARIABLE } from '../tokens.js'
import { size } from '../view/format.js'
import { table } from '../view/table.js'

/** A name whose process has just ended is free again as soon as its loss is known. */
const NAME_RETRY_MS = 15_000
const NAME_RETRY_EVERY_MS = 1_000
const DEFAULT_LEAVE_S = 30
/** Of the disk that is lent. */
const LOG_SHARE = 0.1

export async function host(context: CommandContext, url: string): Promise<ExitStatus> {
  const { settings, output } = context
  const report = reporter(output)
  const disguise = await adversaryOf(settings, process.env)
  if (disguise) warnOfAdversary(report, settings.adversary!)
  assertInstalled(backendOf(settings.backend))
  const source = machineUse()
  assertCanTell(settings.onBattery, (await source.look()).power)
  const name = settings.name ?? nameOfMachine()
  const folder = await folderOf(settings.folder, 'hosts', name)
  const client = new ControlClient({ url, token: undefined, clock: systemClock })
  const given = givenSidecar(process.env)
  const lock = await takeFolder(folder, name)
  const sidecar = new OwnSidecar(report)
  const handover = new AbortController()
  const ending = untilSignal(
    () => {
      report.event('leaving', 'handing over; once more to end at once')
      systemClock.after((settings.leaveWithin ?? DEFAULT_LEAVE_S) * 1000, () => handover.abort())
    },
    () => sidecar.kill(),
  )
  let running: HostProcess | undefined
  let trimming: (() => void) | undefined
  try {
    const keys = await identityOf(folder, name)
    await client.greet(VERSION)
    const tokens = await tokensFor(client.url, folder)
    const { broker, placement, scheduler } = await serversOf(client.url, tokens)
    const servers = [...broker, placement, ...(scheduler === undefined ? [] : [scheduler])]
    const plan = hostPlan({ url: client.url, name, folder, servers }, settings)
    show(context, plan, keys)
    if (!(await isAgreed(context, ending.signal))) return EXIT.failed
    const hostIp = settings.hostIp ?? (await ownAddress(plan.url))
    const logBytes = Math.floor(plan.limits.diskBytes * LOG_SHARE)
    trimming = keepLogsSmall(folder, logBytes, { clock: systemClock, onError: (error) => report.warn(error) })
    const pool = limitedPool(
      computePool({ machines: machineModule(settings.backend), clock: systemClock }),
      plan.limits.cpuShare,
      systemClock,
    )
    const start = (token: string) =>
      startHost({
        url: plan.url,
        name,
        owner: plan.owner,
        key: keys.key,
        identity: keys.identity,
        token,
        appPort: given?.appPort,
        sidecar: async (appPort, { placement, scheduler }) =>
          given ?? sidecar.start(appPort, { folder, appId: name, placement, scheduler, role: 'pnode', hostIp }),
        relay: plan.relay,
        pool,
        memoryBytes: plan.limits.memoryBytes,
        maxVNodes: plan.limits.vnodes,
        pauses: { pauseWhenBusy: plan.limits.pauseWhenBusy, onBattery: plan.limits.onBattery },
        machineUse: source,
        onVerdict: (verdict) => tellVerdict(report, name, plan.limits.memoryBytes, verdict),
        allowsCode: plan.allowsCode,
        cacheFolder: join(folder, CODE_FOLDER),
        maxCacheBytes: plan.limits.diskBytes - logBytes,
        uploadBytesPerSecond: plan.limits.uploadBytesPerSecond,
        disguise,
        version: VERSION,
        clock: systemClock,
        onJoined: (answer) => void saveHostToken(folder, { url: plan.url, token: answer.token }).catch((error) => report.warn(error)),
        onError: (error) => report.warn(error),
      })
    report.event('joining', `joining ${plan.url} as ${name}`, { pnode: name, url: plan.url })
    const began = startPatiently(tokens, start, report, ending.signal)
    running = await Promise.race([began, ending.asked.then(() => undefined)])
    if (!running) {
      began.catch(() => undefined)
      return EXIT.done
    }
    const local = await listen(pnodeApp(running.pnode, systemClock), { port: settings.localPort })
    output.record({ type: 'ready', pnode: name, url: plan.url, pid: process.pid, folder, local: local.url })
    output.result(`${name} is part of ${plan.url}; Ctrl-C hands over and leaves`)
    output.note(`how it is: ${local.url}/health, /metrics, /queue_stats, /checkpoint_state`)
    const denial = await Promise.race([ending.asked.then(() => undefined), running.denied])
    // Nothing can be handed over then.
    if (denial) handover.abort()
    await running.leave(denial ? denial.message : 'its owner ended it', handover.signal)
    await local.close()
    if (denial) throw denial
    report.event('left', `${name} has left`, { pnode: name })
    return EXIT.done
  } finally {
    trimming?.()
    await sidecar.stop()
    await lock.release()
    ending.stop()
  }
}

function show({ output }: CommandContext, plan: HostPlan, { identity, isNew }: HostKeys): void {
  const own = { fingerprint: fingerprint(publicKeyText(identity.publicKey)), isNew }
  output.record({ type: 'plan', ...plan, limits: { ...plan.limits }, key: own.fingerprint })
  output.note(table([{ title: '' }, { title: '' }], describePlan(plan, own), output.errorStyle))
}

/** Nobody is to take it for a host. */
function warnOfAdversary(report: Reporter, adversary: string): void {
  const what = `THIS HOST LIES ON PURPOSE (--adversary ${adversary}): whatever it computes is wrong or said wrongly, and it will be convicted for it`
  report.event('adversary', what, { adversary })
}

function tellVerdict(report: Reporter, pnode: string, allowedBytes: number, { pause, memoryBytes }: HostVerdict): void {
  const less =
    memoryBytes < allowedBytes ? `; its VNodes need more memory than they were thought to: it lends ${size(memoryBytes)} for now` : ''
  const what = pause === undefined ? `${pnode} takes VNodes` : `${pnode} pauses: ${pause}`
  report.event('limits', `${what}${less}`, { pnode, pause: pause ?? null, memoryBytes })
}

/** Asks where somebody can answer; elsewhere whoever wrote the command has agreed. */
async function isAgreed({ settings, output }: CommandContext, signal: AbortSignal): Promise<boolean> {
  if (settings.yes || output.isJson || !process.stdin.isTTY || !process.stderr.isTTY) return true
  const asked = createInterface({ input: process.stdin, output: process.stderr })
  try {
    return /^(y(es)?)?$/i.test((await asked.question('Join? [Y/n] ', { signal })).trim())
  } catch (error) {
    if (signal.aborted) return false
    throw error
  } finally {
    asked.close()
  }
}

/** The one that this host was given before, and the one to join with: the first comes first. @throws `cluster.token` */
async function tokensFor(url: string, folder: string): Promise<string[]> {
  const tokens = [await hostTokenFor(folder, url), await tokenFor(url, 'join')].filter((token) => token !== undefined)
  if (tokens.length > 0) return tokens
  const fix = `Ask who runs the cluster for the join token, and set ${TOKEN_VARIABLE}`
  throw new SwarmError('cluster.token', { what: 'no token to join with', where: url, fix })
}

/** Drops a token of before: a cluster that was made anew at this address knows nothing of the one before. */
async function serversOf(url: string, tokens: string[]): Promise<ServersAnswer> {
  try {
    return await new ControlClient({ url, token: tokens[0], clock: systemClock }).servers()
  } catch (error) {
    if (!isSwarmError(error, 'cluster.token') || tokens.length === 1) throw error
    tokens.shift()
    return serversOf(url, tokens)
  }
}

/** Waits a while for its name. */
async function startPatiently(
  [token]: readonly string[],
  start: (token: string) => Promise<HostProcess>,
  report: Reporter,
  signal: AbortSignal,
): Promise<HostProcess> {
  const untilMs = systemClock.now() + NAME_RETRY_MS
  for (;;) {
    try {
      return await start(token)
    } catch (error) {
      const mayBeFree = isSwarmError(error, 'host.name-taken') && error.retryable
      if (!mayBeFree || systemClock.now() >= untilMs || signal.aborted) throw error
      report.warn(error)
      await systemClock.sleep(NAME_RETRY_EVERY_MS, signal)
    }
  }
}
