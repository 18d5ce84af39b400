/** Starts servers in the folder of its first argument, says where they are, and ends as its second argument says. */
import { startMinio, startNats } from '../../runtime/services/index.js'

/** What the process tells its parent. */
export interface ServersMessage {
  readonly pids: readonly number[]
  readonly ports: readonly number[]
}

const [folder, end] = process.argv.slice(2) as [string, string]
const nats = await startNats({ folder: `${folder}/nats` })
const minio = await startMinio({ folder: `${folder}/minio`, rootUser: 'test-root', rootPassword: 'test-root-password' })
process.send!({ pids: [nats.pid, minio.pid], ports: [nats.port, minio.port] } satisfies ServersMessage)
process.once('message', () => {
  if (end === 'exit') process.exit(0)
  if (end === 'throw') throw new Error('on purpose')
})
