/** Room for messages of which some parts have come: bounded for the whole bus, the oldest gives way. */
import { sharedBytes } from '../shared-memory.js'
import { MAX_MESSAGE_BYTES } from './tensor-bus.js'

/** The most bytes of open messages: two of the largest. A publisher sends the parts of a message in one go, so an old open one will not be finished. */
export const MAX_JOINING_BYTES = 2 * MAX_MESSAGE_BYTES

/** A message whose parts are coming, in order. */
export class OpenMessage {
  readonly owner: object
  readonly bytes: Uint8Array
  /** Called when the room is needed for another. */
  readonly onAbandoned: () => void
  #filledBytes = 0

  constructor(owner: object, sizeBytes: number, onAbandoned: () => void) {
    this.owner = owner
    // Shared, as all large messages are; the system commits pages as they are written, so a claim alone costs nothing.
    this.bytes = sharedBytes(sizeBytes)
    this.onAbandoned = onAbandoned
  }

  get sizeBytes(): number {
    return this.bytes.byteLength
  }

  get filledBytes(): number {
    return this.#filledBytes
  }

  /** Copies the next part into its place. */
  append(part: Uint8Array): void {
    this.bytes.set(part, this.#filledBytes)
    this.#filledBytes += part.byteLength
  }
}

/** All open messages of one bus. */
export class JoiningRoom {
  readonly #limitBytes: number
  readonly #open = new Set<OpenMessage>()
  #usedBytes = 0

  constructor(limitBytes = MAX_JOINING_BYTES) {
    this.#limitBytes = limitBytes
  }

  get usedBytes(): number {
    return this.#usedBytes
  }

  /** Begins a message of at most MAX_MESSAGE_BYTES; abandons the oldest ones if it would not fit. */
  open(owner: object, sizeBytes: number, onAbandoned: () => void): OpenMessage {
    for (const oldest of this.#open) {
      if (this.#usedBytes + sizeBytes <= this.#limitBytes) break
      this.close(oldest)
      oldest.onAbandoned()
    }
    const message = new OpenMessage(owner, sizeBytes, onAbandoned)
    this.#open.add(message)
    this.#usedBytes += sizeBytes
    return message
  }

  /** Frees a message's room. Harmless when repeated. */
  close(message: OpenMessage): void {
    if (this.#open.delete(message)) this.#usedBytes -= message.sizeBytes
  }

  /** Frees the room of all that `owner` opened, without calling it. */
  release(owner: object): void {
    for (const message of this.#open) if (message.owner === owner) this.close(message)
  }
}
