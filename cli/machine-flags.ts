/** The flags of those who run a cluster or lend a machine to one. Loads as little as flags.ts. */
import { environment, flag, integer, isTrue, number, oneOf, refuse, text } from './flag.js'

const UNITS = { '': 1, B: 1, kB: 1e3, MB: 1e6, GB: 1e9, TB: 1e12 } as const

/** `2GB`, `500 MB`: powers of ten. */
function bytes(value: string, name: string): number {
  const [, digits, unit = ''] = /^(\d+(?:\.\d+)?) ?([kMGT]?B)?$/.exec(value) ?? []
  const sizeBytes = digits === undefined ? 0 : Math.round(Number(digits) * UNITS[unit as keyof typeof UNITS])
  return sizeBytes >= 1 && Number.isSafeInteger(sizeBytes) ? sizeBytes : refuse(name, 'a size such as 500MB or 2GB', value)
}

/** `10MB/s`. */
function bytesPerSecond(value: string, name: string): number {
  return value.endsWith('/s') ? bytes(value.slice(0, -2).trim(), name) : refuse(name, 'a rate such as 10MB/s', value)
}

/** `127.0.0.1:7070`, `[::1]:7070`. */
function address(value: string, name: string): { readonly host: string; readonly port: number } {
  const [, bracketed, plain, port] = /^(?:\[([^\]]+)\]|([^:[\]/]+)):(\d{1,5})$/.exec(value) ?? []
  if (port === undefined || Number(port) > 65_535) return refuse(name, 'an address such as 127.0.0.1:7070', value)
  return { host: bracketed ?? plain, port: Number(port) }
}

/** As it was typed, if it is one. */
function addressText(value: string, name: string): string {
  address(value, name)
  return value
}

/** `nats://a:4222,nats://b:4222`. */
function addresses(value: string, name: string): readonly string[] {
  const all = value.split(',').map((each) => each.trim())
  return all.every((each) => /^(nats|tls):\/\/[^\s/]+$/.test(each)) ? all : refuse(name, 'addresses such as nats://broker:4222', value)
}

/** Names of machines, as control takes them. */
function machineName(value: string, name: string): string {
  const fits = /^[a-z0-9][a-z0-9-]{0,39}$/.test(value) && value !== 'control'
  return fits ? value : refuse(name, '1 to 40 of a-z, 0-9 and -, not beginning with -, and not control', value)
}

function sha256(value: string, name: string): string {
  return /^[0-9a-f]{64}$/.test(value) ? value : refuse(name, '64 hexadecimal digits', value)
}

const DURATIONS = { s: 1, min: 60, h: 3_600, d: 86_400 } as const

/** `30d`, `12h`, in ms. */
function days(value: string, name: string): number {
  const [, digits, unit] = /^(\d+(?:\.\d+)?) ?(s|min|h|d)$/.exec(value) ?? []
  const ms = digits === undefined ? 0 : Number(digits) * DURATIONS[unit as keyof typeof DURATIONS] * 1_000
  return ms >= 1_000 && ms <= 366 * 86_400_000 ? ms : refuse(name, 'a time such as 30d, 12h or 90min, at most 366d', value)
}

/** Of a time that somebody waits. */
const seconds = number('seconds above 0, at most 86400', (x) => x > 0 && x <= 86_400)

export const MACHINE_FLAGS = {
  machines: flag({
    syntax: '--pnodes <N>',
    description: 'PNodes, each a process with a sidecar',
    default: '3',
    environment: environment('PNODES'),
    parse: integer(1, 256),
  }),
  port: flag({
    syntax: '--port <PORT>',
    description: 'where control listens',
    default: '7070',
    environment: environment('PORT'),
    key: 'port',
    parse: integer(1, 65_535),
  }),
  hostIp: flag({
    syntax: '--host-ip <ADDRESS>',
    description: 'address of this machine at which the others reach it',
    default: '127.0.0.1; with a control host elsewhere, the one that leads there',
    environment: environment('HOST_IP'),
    key: 'hostIp',
    parse: text,
  }),
  folder: flag({ syntax: '--folder <FOLDER>', description: 'where it keeps what it needs', default: 'in your data folder', parse: text }),
  listen: flag({
    syntax: '--listen <HOST:PORT>',
    description: 'where the API for trainers and hosts listens',
    default: '127.0.0.1:7070',
    environment: environment('LISTEN'),
    key: 'listen',
    parse: address,
  }),
  storeEndpoint: flag({
    syntax: '--store-endpoint <URL>',
    description:
      'object store; its key comes from SWARMGRAD_STORE_ACCESS_KEY and SWARMGRAD_STORE_SECRET_KEY, or store-key.json in the folder',
    environment: environment('STORE_ENDPOINT'),
    key: 'storeEndpoint',
    parse: text,
  }),
  publicStoreEndpoint: flag({
    syntax: '--public-store-endpoint <URL>',
    description: 'the same, as hosts reach it',
    default: 'the same',
    environment: environment('PUBLIC_STORE_ENDPOINT'),
    key: 'publicStoreEndpoint',
    parse: text,
  }),
  storeBucket: flag({
    syntax: '--store-bucket <NAME>',
    description: 'bucket of the object store',
    default: 'swarmgrad',
    environment: environment('STORE_BUCKET'),
    key: 'storeBucket',
    parse: text,
  }),
  storeRegion: flag({
    syntax: '--store-region <NAME>',
    description: 'region of the object store',
    default: 'us-east-1',
    environment: environment('STORE_REGION'),
    key: 'storeRegion',
    parse: text,
  }),
  broker: flag({
    syntax: '--broker <URLS>',
    description: 'NATS servers, separated by commas',
    environment: environment('BROKER'),
    key: 'broker',
    parse: addresses,
  }),
  publicBroker: flag({
    syntax: '--public-broker <URLS>',
    description: 'the same, as hosts reach them',
    default: 'the same',
    environment: environment('PUBLIC_BROKER'),
    key: 'publicBroker',
    parse: addresses,
  }),
  placement: flag({
    syntax: '--placement <HOST:PORT>',
    description: 'placement service of Dapr, as hosts reach it',
    environment: environment('PLACEMENT'),
    key: 'placement',
    parse: addressText,
  }),
  scheduler: flag({
    syntax: '--scheduler <HOST:PORT>',
    description: 'scheduler of Dapr, as hosts reach it; none with Dapr 1.14',
    environment: environment('SCHEDULER'),
    key: 'scheduler',
    parse: addressText,
  }),
  heartbeat: flag({
    syntax: '--heartbeat <SECONDS>',
    description: 'how often PNodes say that they are there',
    default: '1',
    environment: environment('HEARTBEAT'),
    key: 'heartbeat',
    parse: seconds,
  }),
  suspectAfter: flag({
    syntax: '--suspect-after <SECONDS>',
    description: 'a PNode that was silent for so long gets nothing new',
    default: '3',
    environment: environment('SUSPECT_AFTER'),
    key: 'suspectAfter',
    parse: seconds,
  }),
  lostAfter: flag({
    syntax: '--lost-after <SECONDS>',
    description: 'what a PNode has moves when it was silent for so long',
    default: '5',
    environment: environment('LOST_AFTER'),
    key: 'lostAfter',
    parse: seconds,
  }),
  standstillAfter: flag({
    syntax: '--standstill-after <SECONDS>',
    description: 'a run that stands still for so long, or longer if its steps are slow, asks who keeps it',
    default: '10',
    environment: environment('STANDSTILL_AFTER'),
    key: 'standstillAfter',
    parse: seconds,
  }),
  balanceHold: flag({
    syntax: '--balance-hold <SECONDS>',
    description: 'so long at least a VNode stays where it has moved to',
    default: '30',
    environment: environment('BALANCE_HOLD'),
    key: 'balanceHold',
    parse: number('seconds from 1 to 86400', (x) => x >= 1 && x <= 86_400),
  }),
  acceptFormer: flag({
    syntax: '--accept-former <SECONDS>',
    description: 'so long the key before is accepted, so that hosts learn the new one; 0 where it may be in other hands',
    default: '172800, two days',
    parse: number('seconds from 0 to 2592000', (x) => x >= 0 && x <= 2_592_000),
  }),
  printNatsConfig: flag({
    syntax: '--print-nats-config',
    description: 'only print the nats.conf that admits this cluster’s hosts, for a NATS server of your own',
    parse: isTrue,
  }),
  name: flag({
    syntax: '--name <NAME>',
    description: 'of this PNode',
    default: 'the name of this machine',
    environment: environment('NAME'),
    key: 'name',
    parse: machineName,
  }),
  owner: flag({
    syntax: '--owner <NAME>',
    description: 'who lends this machine, for the others to read',
    default: 'your user name',
    environment: environment('OWNER'),
    key: 'owner',
    parse: text,
  }),
  maxMemory: flag({
    syntax: '--max-memory <SIZE>',
    description: 'memory that VNodes may use',
    default: 'half of this machine’s',
    environment: environment('MAX_MEMORY'),
    key: 'maxMemory',
    parse: bytes,
  }),
  maxCpu: flag({
    syntax: '--max-cpu <SHARE>',
    description: 'share of one core to compute with, above 0 to 1',
    default: '1',
    environment: environment('MAX_CPU'),
    key: 'maxCpu',
    parse: number('a share above 0, at most 1', (x) => x > 0 && x <= 1),
  }),
  maxDisk: flag({
    syntax: '--max-disk <SIZE>',
    description: 'code of users and logs together',
    default: '1GB',
    environment: environment('MAX_DISK'),
    key: 'maxDisk',
    parse: bytes,
  }),
  maxUpload: flag({
    syntax: '--max-upload <SIZE/s>',
    description: 'what goes out, such as 10MB/s',
    default: 'no limit',
    environment: environment('MAX_UPLOAD'),
    key: 'maxUpload',
    parse: bytesPerSecond,
  }),
  maxVNodes: flag({
    syntax: '--max-vnodes <N>',
    description: 'VNodes at a time',
    default: 'as many as fit',
    environment: environment('MAX_VNODES'),
    key: 'maxVNodes',
    parse: integer(1, 10_000),
  }),
  pauseWhenBusy: flag({
    syntax: '--pause-when-busy',
    description: 'compute nothing while others use this machine: a quarter of its processors for 10 s, until it was quiet for a minute',
    default: 'compute',
    environment: environment('PAUSE_WHEN_BUSY'),
    key: 'pauseWhenBusy',
    parse: isTrue,
  }),
  onBattery: flag({
    syntax: '--on-battery <WHAT>',
    description: 'pause or continue while this machine runs on its battery (pause: Linux only)',
    default: 'continue',
    environment: environment('ON_BATTERY'),
    key: 'onBattery',
    parse: oneOf('pause', 'continue'),
  }),
  relay: flag({
    syntax: '--relay <WHEN>',
    description: 'calls come over the connection to the broker: auto (if there is no other way), always or never',
    default: 'auto',
    environment: environment('RELAY'),
    key: 'relay',
    parse: oneOf('auto', 'always', 'never'),
  }),
  allowCode: flag({
    syntax: '--allow-code <SHA256>',
    description: 'users’ module that may run here; repeatable',
    default: 'none',
    isRepeatable: true,
    parse: sha256,
  }),
  leaveWithin: flag({
    syntax: '--leave-within <SECONDS>',
    description: 'so long it hands over before it leaves',
    default: '30',
    environment: environment('LEAVE_WITHIN'),
    key: 'leaveWithin',
    parse: number('seconds ≥ 0', (x) => x >= 0 && x <= 3600),
  }),
  adversary: flag({
    syntax: '--adversary <NAME>',
    description: `lie in this way, for tests: only with ${environment('ALLOW_ADVERSARIES')}=1`,
    isHidden: true,
    parse: text,
  }),
  localPort: flag({
    syntax: '--local-port <PORT>',
    description: 'where /health and /metrics are served, to this machine alone',
    default: 'any free one',
    environment: environment('LOCAL_PORT'),
    key: 'localPort',
    parse: integer(1, 65_535),
  }),
  trustFor: flag({
    syntax: '--for <TIME>',
    description: 'how long control vouches for it, such as 30d or 12h',
    default: '30d',
    parse: days,
  }),
  undo: flag({ syntax: '--undo', description: 'it may have VNodes again', parse: isTrue }),
  wait: flag({ syntax: '--no-wait', description: 'do not wait until nothing is left there', default: 'wait', parse: isTrue }),
  purge: flag({ syntax: '--purge', description: 'erase identity, caches and logs, and give the name back', parse: isTrue }),
} as const
