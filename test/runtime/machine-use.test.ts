import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import test from 'ava'
import { machineUse, othersShareOf, type Power, powerOf } from '../../runtime/machine-use.js'
import { folder } from '../support/processes.js'

/** Power supplies as Linux shows them: a folder each, a file for each property. */
async function supplies(root: string, all: { readonly [name: string]: { readonly [file: string]: string } }): Promise<string> {
  for (const [name, files] of Object.entries(all)) {
    await mkdir(join(root, name), { recursive: true })
    for (const [file, text] of Object.entries(files)) await writeFile(join(root, name, file), `${text}\n`)
  }
  return root
}

const battery = (status: string) => ({ type: 'Battery', status })

test('a machine runs on its battery when that discharges and nothing else feeds it', async (t) => {
  const cases: readonly (readonly [Parameters<typeof supplies>[1], Power])[] = [
    [{}, 'mains'],
    [{ AC: { type: 'Mains', online: '1' }, BAT0: battery('Charging') }, 'mains'],
    [{ AC: { type: 'Mains', online: '0' }, BAT0: battery('Discharging') }, 'battery'],
    [{ BAT0: battery('Discharging') }, 'battery'],
    [{ ucsi: { type: 'USB', online: '1' }, BAT0: battery('Discharging') }, 'mains'],
    [{ AC: { type: 'Mains', online: '0' }, BAT0: battery('Full'), BAT1: battery('Discharging') }, 'battery'],
    [{ mouse: { ...battery('Discharging'), scope: 'Device' } }, 'mains'],
  ]
  for (const [all, expected] of cases) t.is(await powerOf('linux', await supplies(await folder(t), all)), expected, JSON.stringify(all))
  t.is(await powerOf('linux', join(await folder(t), 'none')), 'mains')
  t.is(await powerOf('darwin', '/'), 'unknown')
})

test('what others use is what all use less what we do, as a share of all processors', (t) => {
  const before = { busyMs: 1000, idleMs: 1000, ownMs: 500 }
  t.is(othersShareOf(before, { busyMs: 1600, idleMs: 1400, ownMs: 600 }), 0.5)
  t.is(othersShareOf(before, { busyMs: 1100, idleMs: 1900, ownMs: 601 }), 0, 'clocks that tick apart')
  t.is(othersShareOf(before, before), undefined)
})

test('of this machine the first look tells no share, and a later one does', async (t) => {
  const use = machineUse()
  t.is((await use.look()).othersShare, undefined)
  let share: number | undefined
  while (share === undefined) {
    for (let i = 0; i < 1e6; i++) Math.sqrt(i)
    const seen = await use.look()
    share = seen.othersShare
    t.true(seen.residentBytes > 1e7)
  }
  t.true(share >= 0 && share <= 1)
})
