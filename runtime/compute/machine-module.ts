/** Loading the module that says what a worker runs. */
import { SwarmError, toSwarmError } from '../errors.js'
import type { StartMachines } from './machine.js'

/**
 * The export `startMachines` of the module at `url`.
 * @throws `compute.failed` if the module cannot be loaded or does not export it
 */
export async function importMachines(url: URL): Promise<StartMachines> {
  let module: { readonly startMachines?: unknown }
  try {
    module = (await import(url.href)) as typeof module
  } catch (error) {
    throw toSwarmError(error, 'compute.failed', `the machine module '${url.href}' cannot be loaded`)
  }
  if (typeof module.startMachines === 'function') return module.startMachines as StartMachines
  throw new SwarmError('compute.failed', {
    what: `the machine module '${url.href}' does not define its machines`,
    expected: 'an exported function startMachines',
    got: typeof module.startMachines,
  })
}
