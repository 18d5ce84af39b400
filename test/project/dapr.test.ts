/** What is shipped for Dapr is what Dapr reads. */
import { readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import test from 'ava'
import { parse } from 'yaml'
import { z } from 'zod'
import { DAPR_VERSIONS } from '../../runtime/services/find.js'
import { repository } from './repository.js'

const DAPR = join(repository, 'dapr')
const read = async (path: string): Promise<unknown> => parse(await readFile(join(DAPR, path), 'utf8'))

const port = z.int().min(1).max(65_535)
const destination = z.enum(['console', 'file', 'fileAndConsole'])
/** https://docs.dapr.io/developing-applications/local-development/multi-app-dapr-run/multi-app-template/ */
const SHARED = {
  configFilePath: z.string(),
  appProtocol: z.enum(['http', 'https', 'grpc', 'grpcs', 'h2c']),
  apiListenAddresses: z.string(),
  enableProfiling: z.boolean(),
  logLevel: z.enum(['debug', 'info', 'warn', 'error', 'fatal', 'panic']),
  appMaxConcurrency: z.int(),
  placementHostAddress: z.string(),
  schedulerHostAddress: z.string(),
  resourcesPaths: z.array(z.string()).min(1),
  appSSL: z.boolean(),
  maxBodySize: z.string(),
  readBufferSize: z.string(),
  enableAppHealthCheck: z.boolean(),
  appHealthCheckPath: z.string(),
  appHealthProbeInterval: z.int(),
  appHealthProbeTimeout: z.int(),
  appHealthThreshold: z.int(),
  enableApiLogging: z.boolean(),
  runtimePath: z.string(),
  env: z.record(z.string(), z.string()),
  daprdLogDestination: destination,
  appLogDestination: destination,
}
const APP = {
  ...SHARED,
  // Dapr's own rule: an app-id has no dots.
  appID: z.string().regex(/^[^.]+$/),
  appChannelAddress: z.string(),
  appPort: port,
  daprHTTPPort: port,
  daprGRPCPort: port,
  daprInternalGRPCPort: port,
  profilePort: port,
  metricsPort: port,
  unixDomainSocket: z.string(),
  command: z.array(z.string()).min(1),
}
const TEMPLATE = z.strictObject({
  version: z.literal(1),
  common: z.strictObject(SHARED).partial().optional(),
  apps: z.array(z.strictObject(APP).partial().extend({ appDirPath: z.string() })).min(1),
})

test('dapr.yaml is a multi-app run template for a control host and three PNodes', async (t) => {
  const { common, apps } = TEMPLATE.parse(await read('dapr.yaml'))
  t.deepEqual(
    apps.map(({ appID }) => appID),
    ['control', 'pnode-1', 'pnode-2', 'pnode-3'],
  )
  const ports = apps.flatMap(({ appPort, daprHTTPPort }) => [appPort, daprHTTPPort])
  t.is(new Set(ports).size, 2 * apps.length, 'no port twice')
  t.deepEqual(apps[0].command, ['swarmgrad', 'control'])
  for (const { appID, command } of apps.slice(1)) t.deepEqual(command, ['swarmgrad', 'host', 'http://127.0.0.1:7070', '--name', appID])
  // What is common is relative to the file, what is an application's own to its appDirPath. The CLI wants all of them to be there.
  t.true((await stat(join(DAPR, common!.configFilePath!))).isFile())
  for (const { appDirPath, resourcesPaths } of apps) {
    for (const path of resourcesPaths!) t.true((await stat(join(DAPR, appDirPath, path))).isDirectory())
  }
})

const COMPONENT = z.strictObject({
  apiVersion: z.literal('dapr.io/v1alpha1'),
  kind: z.literal('Component'),
  metadata: z.strictObject({ name: z.string() }),
  spec: z.strictObject({
    type: z.string(),
    version: z.literal('v1'),
    metadata: z.array(z.strictObject({ name: z.string(), value: z.string() })),
  }),
  scopes: z.array(z.string()).optional(),
})

test('actor state is in SQLite on a control host, and in memory on a PNode', async (t) => {
  const [control, pnode] = [
    COMPONENT.parse(await read('resources/control/state.yaml')),
    COMPONENT.parse(await read('resources/pnode/state.yaml')),
  ]
  t.is(control.spec.type, 'state.sqlite')
  t.deepEqual(control.scopes, ['control'])
  t.is(pnode.spec.type, 'state.in-memory')
  for (const { spec } of [control, pnode]) t.deepEqual(spec.metadata.at(-1), { name: 'actorStateStore', value: 'true' })
})

test('both kinds of hosts have the same short retries', async (t) => {
  const of = async (kind: string) => readFile(join(DAPR, 'resources', kind, 'resiliency.yaml'), 'utf8')
  t.is(await of('control'), await of('pnode'))
  t.is((parse(await of('pnode')) as { kind: string }).kind, 'Resiliency')
})

test('the Dapr that is built is one of those that are supported, and is the one in go.sum', async (t) => {
  const [, version = '', minor] =
    /^require github.com\/dapr\/dapr (v1\.(\d+)\.\d+)$/m.exec(await readFile(join(DAPR, 'tools/go.mod'), 'utf8')) ?? []
  t.true(Number(minor) >= DAPR_VERSIONS.from[1] && Number(minor) <= DAPR_VERSIONS.to[1])
  const sums = await readFile(join(DAPR, 'tools/go.sum'), 'utf8')
  t.true(sums.includes(`github.com/dapr/dapr ${version} h1:`))
})
