/** A process with one connection to the broker, to be killed. */
import { natsBus } from '../../runtime/tensor-bus/nats-bus.js'

const { NATS_URL = '', NATS_CREDENTIALS = '{}' } = process.env
const bus = await natsBus({ servers: NATS_URL, name: 'ann', part: 'data', credentials: JSON.parse(NATS_CREDENTIALS) })
await bus.closed
