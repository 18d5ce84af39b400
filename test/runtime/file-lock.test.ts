import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdir, readFile, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import test from 'ava'
import { lock, tryLock } from '../../runtime/object-store/file-lock.js'
import { nodeFileSystem } from '../../runtime/object-store/file-system.js'
import { isGone, processIdentity } from '../../runtime/object-store/process-identity.js'
import { ended, folder, start } from '../support/processes.js'

test.serial('a lock has one holder, whom the others are told', async (t) => {
  const path = join(await folder(t), 'not', 'yet', 'lock')
  const held = await tryLock(path)
  t.true('release' in held)
  const second = await tryLock(path)
  t.true('heldBy' in second && second.heldBy.pid === process.pid && second.heldBy.since <= performance.timeOrigin + performance.now())
  if ('release' in held) await held.release()
  const third = await lock(path)
  if ('release' in held) await held.release()
  t.true('heldBy' in (await tryLock(path)), 'the second release of the first holder takes nothing from the third')
  await third.release()
  t.deepEqual(await readdir(join(path, '..')), [])
})

test.serial('the lock of a killed process is taken over, that of a stopped one is not', async (t) => {
  const path = join(await folder(t), 'lock')
  const child = start('hold', path)
  await once(child, 'message')
  child.kill('SIGSTOP')
  const refused = await tryLock(path)
  t.true('heldBy' in refused && refused.heldBy.pid === child.pid)
  const controller = new AbortController()
  const waiting = t.throwsAsync(lock(path, { signal: controller.signal }), { code: 'aborted' })
  controller.abort()
  await waiting
  const exit = ended(child)
  child.kill('SIGKILL')
  const held = await lock(path)
  t.is(await exit, 'SIGKILL')
  t.deepEqual(await readdir(join(path, '..')), ['lock'])
  await held.release()
})

test.serial('processes that compete for a lock and die holding it never hold it together', async (t) => {
  const root = await folder(t)
  const log = join(root, 'log')
  const children = Array.from({ length: 6 }, () => start('contend', join(root, 'lock'), log, '15'))
  for (const signal of await Promise.all(children.map(ended))) t.is(signal, 'SIGKILL')
  const lines = (await readFile(log, 'utf8')).trim().split('\n')
  t.is(lines.length, 6 * 15 * 2)
  for (let i = 0; i < lines.length; i += 2) {
    t.true(lines[i].startsWith('in '))
    t.is(lines[i + 1], lines[i].replace('in', 'out'))
  }
})

test.serial('a stale lock goes to one of many, also after a stealer was killed', async (t) => {
  const path = join(await folder(t), 'lock')
  const dead = `v1,${await deadIdentity()},1700000000000`
  for (let round = 0; round < 20; round++) {
    for (const stale of [path, `${path}.steal`, `${path}.steal.steal`]) await symlink(dead, stale)
    const results = await Promise.all(Array.from({ length: 8 }, () => tryLock(path)))
    const holders = results.flatMap((result) => ('release' in result ? [result] : []))
    t.is(holders.length, 1)
    await holders[0].release()
    t.deepEqual(await readdir(join(path, '..')), [])
  }
})

test.serial('a lock that says nothing readable is an error, not a free lock', async (t) => {
  const root = await folder(t)
  await writeFile(join(root, 'file'), '')
  await symlink('v2,whatever', join(root, 'newer'))
  await t.throwsAsync(tryLock(join(root, 'file')), { code: 'store.damaged' })
  await t.throwsAsync(tryLock(join(root, 'newer')), { code: 'store.damaged' })
})

test.serial(
  'a process is gone when its pid has another start time or was there before a restart, not when it cannot be seen',
  async (t) => {
    const [pid, start, boot, namespace] = processIdentity().split(',')
    t.false(isGone(processIdentity()))
    t.false(isGone('no identity'))
    t.true(isGone(await deadIdentity()))
    if (process.platform !== 'linux') return
    t.true(isGone([pid, Number(start) - 1, boot, namespace].join()), 'the pid was used again')
    t.true(isGone([pid, start, '00000000', namespace].join()), 'the machine was restarted')
    t.false(isGone([pid, start, boot, '1'].join()), 'another container')
  },
)

test.serial('the text of a lock stays as short as fits in a link without a block of disk', async (t) => {
  const path = join(await folder(t), 'lock')
  await lock(path)
  const mark = await nodeFileSystem.readLink(path)
  t.regex(mark, /^v1,\d+,\d*,[0-9a-f]*,\d*,\d{13}$/)
  t.true(mark.length < 60, mark)
})

/** The identity of a process of this machine that is gone. */
async function deadIdentity(): Promise<string> {
  const child = spawn(process.execPath, ['--version'], { stdio: 'ignore' })
  const [, start, boot, namespace] = processIdentity().split(',')
  await once(child, 'exit')
  return [child.pid, start && `${Number(start) + 1}`, boot, namespace].join()
}
