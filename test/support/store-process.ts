/*
 * A process of its own for tests of what several processes do to one folder:
 *   store-process.js increment <root> <key> <times>   adds one to a counter, `times` times, by compare-and-set
 *   store-process.js hold <lock path>                 takes a lock, says 'held', and never ends by itself
 *   store-process.js temporary <root> <key>           dies by SIGKILL in the middle of a put
 *   store-process.js contend <lock path> <log> <times>  takes the lock `times` times, each adding 'in' and 'out' to a log; dies holding it
 */
import { appendFile } from 'node:fs/promises'
import { isSwarmError } from '../../runtime/errors.js'
import { lock } from '../../runtime/object-store/file-lock.js'
import { fileStore } from '../../runtime/object-store/file-store.js'
import { nodeFileSystem } from '../../runtime/object-store/file-system.js'
import { faultyFileSystem } from './faulty-file-system.js'

const [role = '', path = '', second = '', times = '0'] = process.argv.slice(2)

const roles: Record<string, () => Promise<void>> = {
  async increment() {
    const store = fileStore({ root: path })
    for (let done = 0; done < Number(times);) {
      const { bytes, etag } = await store.get(second)
      const next = Number(new TextDecoder().decode(bytes)) + 1
      try {
        await store.put(second, new TextEncoder().encode(`${next}`), { ifMatch: etag })
        done++
      } catch (error) {
        if (!isSwarmError(error, 'store.conflict')) throw error
      }
    }
    await store.close()
  },
  async hold() {
    await lock(path)
    process.send?.('held')
    setInterval(() => {}, 1000)
  },
  async temporary() {
    const fs = faultyFileSystem(nodeFileSystem, (call) => {
      if (call === 'rename') process.kill(process.pid, 'SIGKILL')
      return undefined
    })
    await fileStore({ root: path, fs }).put(second, new Uint8Array(10))
  },
  async contend() {
    for (let i = 0; i < Number(times); i++) {
      const held = await lock(path)
      await appendFile(second, `in ${process.pid}\n`)
      await appendFile(second, `out ${process.pid}\n`)
      if (i === Number(times) - 1) process.kill(process.pid, 'SIGKILL')
      await held.release()
    }
  },
}

await roles[role]?.()
if (role !== 'hold') process.disconnect?.()
