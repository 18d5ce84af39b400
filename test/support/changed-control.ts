/** A control host whose answers to machines that join are changed on their way; everything else passes as it is. */
import { createServer, request as ask, type IncomingMessage, type ServerResponse } from 'node:http'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { buffer, json } from 'node:stream/consumers'
import type { JoinAnswer, JoinRequest } from '../../actors/control/control-api.js'
import type { SignedMessage } from '../../runtime/signed-message.js'
import type { Teardown } from './servers.js'

/** Its answer, or undefined: none, and the connection breaks. */
type Change = (answer: JoinAnswer, request: JoinRequest) => Promise<JoinAnswer | undefined>

/** @returns its address */
export async function changedControl(t: Teardown, url: string, change: Change): Promise<string> {
  const pass = async (request: IncomingMessage, response: ServerResponse) => {
    const isJoin = request.method === 'POST' && request.url === '/v1/hosts'
    const body = await buffer(request)
    const passed = ask(new URL(request.url!, url), { method: request.method, headers: request.headers })
    passed.end(body)
    const [answer] = (await once(passed, 'response')) as [IncomingMessage]
    if (!isJoin || answer.statusCode !== 200) {
      response.writeHead(answer.statusCode!, answer.headers)
      answer.pipe(response)
      return
    }
    const changed = await change(
      (await json(answer)) as JoinAnswer,
      (JSON.parse(body.toString()) as SignedMessage).message.body as JoinRequest,
    )
    if (changed) response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(changed))
    else response.destroy()
  }
  const server = createServer((request, response) => void pass(request, response).catch(() => response.destroy()))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}
