/** What can be said of this machine: Node, disk, server programs. */
import { statfs } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { toSwarmError } from '../../runtime/errors.js'
import { findProgram, findPrograms, type ProgramName, PROGRAMS } from '../../runtime/services/index.js'
import { size } from '../view/format.js'
import { type Check, fail, ok, warn } from './check.js'

/** What package.json asks for: the oldest that all of it was run with. */
const NODE = [20, 19] as const
/** Checkpoints of a large network are of this size; below the other not even a small run ends. */
const ROOM_BYTES = 1e9
const LEAST_BYTES = 100e6

export function checkNode(version = process.versions.node): Check {
  const [major, minor] = version.split('.').map(Number)
  const isOld = major < NODE[0] || (major === NODE[0] && minor < NODE[1])
  return isOld ? fail('node', version, `Install Node ${NODE.join('.')} or newer`) : ok('node', version)
}

/** Room where runs are kept, or will be. @param fix what to do if there is none */
export async function checkDisk(name: string, folder: string): Promise<Check> {
  let place = resolve(folder)
  for (;;) {
    const room = await statfs(place).catch(() => undefined)
    if (room) return judgeRoom(name, place, room.bavail * room.bsize)
    if (dirname(place) === place) return warn(name, `cannot tell how much room there is for ${folder}`)
    place = dirname(place)
  }
}

export function judgeRoom(name: string, place: string, freeBytes: number): Check {
  const found = `${size(freeBytes)} free in ${place}`
  if (freeBytes >= ROOM_BYTES) return ok(name, found)
  const fix = 'Delete runs that nobody needs with: swarmgrad delete RUN, or name another folder with --store'
  return freeBytes >= LEAST_BYTES ? warn(name, found, fix) : fail(name, found, fix)
}

/** Server programs: a cluster on this machine needs all of them, a machine that joins one only daprd, a trainer none. */
export async function checkPrograms(needed: 'cluster' | 'host'): Promise<Check[]> {
  const found = await findPrograms()
  const missing = PROGRAMS.filter((name) => !found.some((program) => program.name === name))
  const told = found.map(({ name, version, origin, path }) => ok(name, `${version}, found in ${origin}: ${path}`))
  const lacking = missing.filter((name) => needed === 'cluster' || name === 'daprd')
  return [...told, ...(await Promise.all(lacking.map((name) => lackOf(name, needed))))]
}

/** Why it was not found, if something of that name was there. */
async function lackOf(name: ProgramName, needed: 'cluster' | 'host'): Promise<Check> {
  const reason = await findProgram(name).then(
    () => 'was not there a moment ago',
    (error: unknown) => toSwarmError(error, 'internal').message,
  )
  return needed === 'cluster' ? fail(name, reason) : warn(name, `${reason}; only machines that join the cluster need it`)
}
