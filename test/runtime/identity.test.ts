/** Keys of machines in files, messages that they sign, and messages that come twice. */
import { generateKeyPairSync } from 'node:crypto'
import { chmod, mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import test from 'ava'
import type { ErrorCode } from '../../runtime/errors.js'
import {
  createIdentity,
  fingerprint,
  identityFrom,
  keepIdentity,
  publicKeyFrom,
  publicKeyText,
  readIdentity,
} from '../../runtime/identity.js'
import { MAX_AGE_MS, MAX_STARTS, REPLAY_WINDOW, ReplayGuard } from '../../runtime/replay-guard.js'
import {
  assertSignature,
  keySigner,
  keyVerifier,
  type Message,
  messageBytes,
  readMessage,
  Sender,
  sharedSecret,
  type SignedMessage,
} from '../../runtime/signed-message.js'
import { fakeClock } from '../support/fake-clock.js'
import { folder as temporaryFolder } from '../support/processes.js'
import { pemOf, seededIdentity, senderOf } from '../support/identities.js'

/** The key of the first test vector of RFC 8032. */
const SEED = '9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60'
const PEM = `-----BEGIN PRIVATE KEY-----\n${Buffer.from(`302e020100300506032b657004220420${SEED}`, 'hex').toString('base64')}\n-----END PRIVATE KEY-----\n`
const RFC = identityFrom(PEM, 'RFC 8032')
const EXAMPLE: Message = {
  v: 1,
  from: 'ann',
  incarnation: 'i1',
  to: 'Run/r1',
  purpose: 'committed',
  seq: 7,
  issuedAtMs: 1_767_225_600_000,
  body: { term: 3, vnode: 'dense' },
}

test('the signed bytes, the signature, the public key and its fingerprint have not changed', (t) => {
  t.is(
    Buffer.from(messageBytes(EXAMPLE)).toString(),
    'swarmgrad message 1\n{"body":{"term":3,"vnode":"dense"},"from":"ann","incarnation":"i1","issuedAtMs":1767225600000,' +
      '"purpose":"committed","seq":7,"to":"Run/r1","v":1}',
  )
  t.is(
    keySigner(RFC.privateKey).signature(messageBytes(EXAMPLE)).toString('base64'),
    'uTMggmgWEFYk4bFQh/zsVFoEaWjJPqY+Wr4qLMGbKF9AmUJ6AK3alk1kmeOi3FzAWNn0SyAf9PIdUVCrLRe+CA==',
  )
  t.is(
    sharedSecret(Buffer.from(SEED, 'hex')).signature(messageBytes(EXAMPLE)).toString('base64'),
    'YTJVQixEBKDw7WAl3RWitZ5vwlU05o+ngwESoJlRzGY=',
  )
  const text = publicKeyText(RFC.publicKey)
  // d75a9801…: the public key that the RFC gives.
  t.is(text, '11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo')
  t.is(fingerprint(text), 'SHA256:If4x36FUomFia/hUBG/SJxt77UtqvkWqWId+9H+XIbk')
  t.true(publicKeyFrom(text).equals(RFC.publicKey))
})

test('a key is made once, whole, for its owner alone, and is the same at the next start', async (t) => {
  const folder = await temporaryFolder(t)
  const path = join(folder, 'host', 'identity.pem')
  const made = await Promise.all([keepIdentity(path), keepIdentity(path)])
  t.is(made.filter(({ isNew }) => isNew).length, 1, 'whoever is first is right')
  t.true(made[0].publicKey.equals(made[1].publicKey))
  t.is((await stat(path)).mode & 0o777, 0o600)
  t.deepEqual(await readdir(join(folder, 'host')), ['identity.pem'], 'nothing else is left')
  const { isNew, publicKey } = await keepIdentity(path)
  t.false(isNew)
  t.true(publicKey.equals(made[0].publicKey))
  t.regex(await readFile(path, 'utf8'), /^-----BEGIN PRIVATE KEY-----/)
})

test('a key that is not as it should be is told by its code, with what to do, and never replaced', async (t) => {
  const folder = await temporaryFolder(t)
  const path = join(folder, 'identity.pem')
  const refuses = async (code: ErrorCode, message: RegExp, from = path) => {
    for (const use of [readIdentity, keepIdentity]) await t.throwsAsync(use(from), { code, message } as never, `${code} by ${use.name}`)
  }
  await t.throwsAsync(readIdentity(path), { code: 'key.missing', message: /identity\.pem.*from a backup/ } as never)
  const write = async (text: string | Uint8Array, mode = 0o600) => {
    await rm(path, { force: true, recursive: true })
    await writeFile(path, text)
    await chmod(path, mode)
  }
  for (const mode of [0o644, 0o640, 0o604, 0o620, 0o602, 0o777]) {
    await write(PEM, mode)
    await refuses('key.exposed', /expected 600, got .*chmod 600 /)
  }
  await write(PEM)
  await t.notThrowsAsync(readIdentity(path))
  const pem = (pair: { readonly privateKey: { export(options: object): unknown } }) =>
    pair.privateKey.export({ type: 'pkcs8', format: 'pem' }) as string
  for (const text of ['', 'not a key', PEM.slice(0, 60), PEM.replace('MC4', 'AAA'), new Uint8Array(300), 'x'.repeat(20_000)]) {
    await write(text)
    await refuses('key.damaged', /no private key.*expected PKCS #8, PEM/)
  }
  const secret = createIdentity().privateKey.export({ type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase: 'x' }) as string
  await write(secret)
  await refuses('key.damaged', /no private key/)
  for (const pair of [generateKeyPairSync('x25519'), generateKeyPairSync('ec', { namedCurve: 'P-256' }), generateKeyPairSync('ed448')]) {
    await write(pem(pair))
    await refuses('key.kind', /expected Ed25519, got/)
  }
  await rm(path)
  await mkdir(path)
  await refuses('key.unreadable', /is no file.*Move away/)
  await writeFile(join(folder, 'file'), '')
  await refuses('key.unreadable', /ENOTDIR.*right to read it/, join(folder, 'file', 'identity.pem'))
})

test('what is no public key is refused', (t) => {
  const text = publicKeyText(RFC.publicKey)
  for (const wrong of ['', text.slice(1), `${text}A`, `${text.slice(1)}!`, `${text.slice(1)}+`, text.slice(0, 42)])
    t.throws(() => publicKeyFrom(wrong), { code: 'key.damaged' } as never, wrong)
})

test('a message passes with its signature, whatever JSON did to it, and nothing of it can be changed', (t) => {
  const signed = senderOf('ann', { clock: fakeClock() }).sign({ to: 'Run/r', purpose: 'committed', body: { a: 1, b: [null, 'x'] } })
  const verifier = keyVerifier(seededIdentity('ann').publicKey)
  const reversed = { ...signed, message: Object.fromEntries(Object.entries(signed.message).toReversed()) }
  t.notThrows(() => assertSignature(readMessage(JSON.parse(JSON.stringify(reversed))), verifier))
  const changes = { from: 'bob', incarnation: 'x', to: 'Run/q', purpose: 'failed', seq: 2, issuedAtMs: 1, body: { a: 2 } }
  for (const [field, value] of Object.entries(changes)) {
    const changed = { ...signed, message: { ...signed.message, [field]: value } }
    t.throws(() => assertSignature(readMessage(changed), verifier), { code: 'message.signature' } as never, field)
  }
  const more = { ...signed, message: { ...signed.message, more: 1 } }
  t.throws(() => assertSignature(readMessage(more), verifier), { code: 'message.signature' } as never)
  for (const wrong of [keyVerifier(createIdentity().publicKey), sharedSecret(new Uint8Array(32))])
    t.throws(() => assertSignature(signed, wrong), { code: 'message.signature' } as never)
  const bytes = Buffer.from(signed.signature, 'base64')
  for (let at = 0; at < bytes.length; at++) {
    const flipped = Buffer.from(bytes)
    flipped[at] ^= 1
    t.throws(() => assertSignature({ ...signed, signature: flipped.toString('base64') }, verifier), { code: 'message.signature' } as never)
  }
})

test('between those who share a secret a message passes by it, and by no other', (t) => {
  const clock = fakeClock()
  const secret = sharedSecret(Buffer.alloc(32, 1))
  const signed = new Sender({ from: 'control', incarnation: 'c', signer: secret, clock }).sign({ to: 'Run/r', purpose: 'wake', body: null })
  t.notThrows(() => assertSignature(signed, secret))
  t.throws(() => assertSignature(signed, sharedSecret(Buffer.alloc(32, 2))), { code: 'message.signature' } as never)
  t.throws(() => assertSignature({ ...signed, signature: '' }, secret), { code: 'message.signature' } as never)
})

test('what is no signed message is told by its code', (t) => {
  const { message, signature } = senderOf('ann').sign({ to: 'a', purpose: 'b', body: null })
  const cases: { readonly [Code in ErrorCode]?: readonly unknown[] } = {
    'message.unsigned': [null, undefined, 7, 'text', [], {}, { message }, { signature }, { vnode: 'dense', term: 1 }],
    'message.version': [
      { message: { ...message, v: 2 }, signature },
      { message: {}, signature },
    ],
    'message.damaged': [
      { message: 'x', signature },
      { message: [], signature },
      { message, signature: 7 },
      ...['from', 'incarnation', 'to', 'purpose'].map((name) => ({ message: { ...message, [name]: 1 }, signature })),
      { message: { ...message, from: 'x'.repeat(2_000) }, signature },
      ...[0, -1, 1.5, NaN, 2 ** 53, '1'].map((seq) => ({ message: { ...message, seq }, signature })),
      ...[NaN, Infinity, '1', undefined].map((issuedAtMs) => ({ message: { ...message, issuedAtMs }, signature })),
      { message: Object.fromEntries(Object.entries(message).filter(([name]) => name !== 'body')), signature },
    ],
  }
  for (const [code, values] of Object.entries(cases))
    for (const value of values) t.throws(() => readMessage(value), { code } as never, `${code}: ${JSON.stringify(value)}`)
})

test('a message that is nested without end harms nobody', (t) => {
  let body: unknown = 0
  for (let i = 0; i < 60_000; i++) body = [body]
  const verifier = keyVerifier(seededIdentity('ann').publicKey)
  t.throws(() => assertSignature({ message: { ...EXAMPLE, body }, signature: 'AAAA' }, verifier), { code: 'message.damaged' } as never)
})

/** Numbers of one start of somebody, at the time of the clock. */
const numbered = (seq: number, issuedAtMs: number, incarnation = 'i1', from = 'ann') => ({ ...EXAMPLE, from, incarnation, seq, issuedAtMs })

test('each number counts once, in any order, and what has left the window is not taken for new', (t) => {
  const clock = fakeClock()
  const guard = new ReplayGuard(clock)
  const now = clock.now()
  const replayed = { code: 'message.replayed', message: /has been said before/ } as never
  for (const seq of [1, 3, 2, 40, 39, 38]) guard.admit(numbered(seq, now))
  for (const seq of [1, 2, 3, 38, 39, 40]) t.throws(() => guard.admit(numbered(seq, now)), replayed, String(seq))
  guard.admit(numbered(40 + REPLAY_WINDOW - 1, now))
  t.throws(() => guard.admit(numbered(40, now)), replayed)
  guard.admit(numbered(41, now))
  for (const seq of [4, 39]) t.throws(() => guard.admit(numbered(seq, now)), replayed, 'nobody knows any more whether it has come')
  guard.admit(numbered(1, now, 'i2'))
  guard.admit(numbered(1, now, 'i1', 'bob'))
  guard.admit(numbered(100 * REPLAY_WINDOW, now))
  guard.admit(numbered(100 * REPLAY_WINDOW - 1, now))
  t.throws(() => guard.admit(numbered(100 * REPLAY_WINDOW - 1, now)), replayed)
})

test('every number of a long stream in a shuffled order is let in exactly once', (t) => {
  const guard = new ReplayGuard(fakeClock())
  const now = fakeClock().now()
  let admitted = 0
  for (let block = 0; block < 40; block++) {
    const order = Array.from({ length: 200 }, (_, i) => 1 + block * 200 + ((i * 77) % 200))
    for (const seq of [...order, ...order]) {
      try {
        guard.admit(numbered(seq, now))
        admitted++
      } catch {
        // The second time.
      }
    }
  }
  t.is(admitted, 8_000)
})

test('what is old, or of the future, is refused, and what is forgotten is older than that', async (t) => {
  const clock = fakeClock()
  const guard = new ReplayGuard(clock)
  const start = clock.now()
  for (const by of [-MAX_AGE_MS - 1, MAX_AGE_MS + 1])
    t.like(
      t.throws(() => guard.admit(numbered(1, start + by)), { code: 'message.expired', message: /time service/ } as never),
      { retryable: true },
    )
  t.throws(() => guard.admit(numbered(1, start - 200_000)), { message: /got 200 s old/ })
  guard.admit(numbered(1, start + MAX_AGE_MS))
  guard.admit(numbered(2, start - MAX_AGE_MS))
  t.is(guard.size, 1)
  // As long as it could pass by its time, its number is known.
  for (let passedMs = 0; passedMs <= 2 * MAX_AGE_MS; passedMs += 10_000) {
    t.throws(() => guard.admit(numbered(1, start + MAX_AGE_MS)), { code: 'message.replayed' } as never)
    if (passedMs % MAX_AGE_MS === 0) guard.admit(numbered(1, clock.now(), `other ${passedMs}`))
    await clock.advance(10_000)
  }
  t.throws(() => guard.admit(numbered(1, start + MAX_AGE_MS)), { code: 'message.expired' } as never)
  await clock.advance(4 * MAX_AGE_MS)
  guard.admit(numbered(1, clock.now(), 'i9'))
  t.is(guard.size, 1, 'the others are forgotten')
})

test('who starts again and again fills no memory, and shuts out nobody but himself', async (t) => {
  const clock = fakeClock()
  const guard = new ReplayGuard(clock)
  for (let i = 0; i < MAX_STARTS; i++) guard.admit(numbered(1, clock.now(), `i${i}`))
  t.throws(() => guard.admit(numbered(1, clock.now(), 'one more')), { code: 'message.replayed', message: /starts/ } as never)
  guard.admit(numbered(2, clock.now(), 'i0'))
  guard.admit(numbered(1, clock.now(), 'b1', 'bob'))
  t.is(guard.size, MAX_STARTS + 1)
  await clock.advance(3 * MAX_AGE_MS)
  guard.admit(numbered(1, clock.now(), 'one more'))
  t.is(guard.size, 1)
})

test('each message of a sender has its own number', (t) => {
  const sender = senderOf('ann', { clock: fakeClock() })
  const sign = (): SignedMessage => sender.sign({ to: 'a', purpose: 'b', body: null })
  const [one, two] = [sign(), sign()]
  t.deepEqual([one.message.seq, two.message.seq], [1, 2])
  t.not(one.signature, two.signature)
  t.like(one.message, { v: 1, from: 'ann', incarnation: 'ann-1', to: 'a', purpose: 'b' })
  t.is(pemOf(seededIdentity('ann')), pemOf(seededIdentity('ann')))
})
