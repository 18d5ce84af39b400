/** Ledgers for tests: the same key each time, so the same bytes. */
import { createPrivateKey, createPublicKey } from 'node:crypto'
import { Ledger, type LedgerOptions } from '../../actors/trust/ledger.js'
import type { Forfeit, VerifiedWork } from '../../actors/trust/ledger-entry.js'
import type { Booking } from '../../actors/trust/ledger-books.js'
import type { LedgerKey } from '../../actors/trust/ledger-key.js'
import { signSuccession } from '../../runtime/control-keys.js'
import type { ControlKey } from '../../runtime/grant.js'
import { memoryStore } from '../../runtime/object-store/memory-store.js'
import { fakeClock } from './fake-clock.js'

/** The Ed25519 key whose seed is one byte, 32 times. */
export function ledgerKey(byte = 7): ControlKey {
  const der = Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), Buffer.alloc(32, byte)])
  const privateKey = createPrivateKey({ key: der, format: 'der', type: 'pkcs8' })
  return { privateKey, publicKey: createPublicKey(privateKey) }
}

/** The next key, by the word of the one before. */
export function followed({ history = [], ...old }: LedgerKey, next: ControlKey): LedgerKey {
  return { ...next, history: [...history, signSuccession(old, next.publicKey, 0, fakeClock())] }
}

/** Ten steps of a VNode, worth 2.5 points: those behind the tenth of a cut, by default the first. */
export function work(changes: Partial<VerifiedWork> & { readonly cut?: number } = {}): VerifiedWork {
  const { cut = 1, ...own } = changes
  return {
    kind: 'verified',
    run: 'r1',
    generation: 1,
    vnode: 'dense-1',
    host: 'ann',
    owner: 'Ann',
    firstStep: 10 * cut - 9,
    lastStep: 10 * cut,
    multiplyAdds: 2.5e12,
    ...own,
  }
}

export function forfeit(changes: Partial<Omit<Forfeit, 'micropoints'>> & { readonly micropoints?: number | 'all' } = {}): Booking {
  return {
    kind: 'forfeit',
    host: 'ann',
    owner: 'Ann',
    reason: 'another hash',
    evidence: 'runs/r1/audits/1',
    micropoints: 'all',
    ...changes,
  }
}

export function openLedger(options: Partial<LedgerOptions> = {}): Ledger {
  return new Ledger({ store: memoryStore(), key: ledgerKey(), clock: fakeClock(), ...options })
}
