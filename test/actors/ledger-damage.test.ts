/** Whatever is done to a stored ledger without its key is found, and the first wrong entry is named. */
import { createHash } from 'node:crypto'
import test from 'ava'
import * as fc from 'fast-check'
import { encodeHead, type LedgerEntry, NO_ENTRY, signEntry } from '../../actors/trust/ledger-entry.js'
import { readLedger } from '../../actors/trust/ledger-reader.js'
import { canonicalJson } from '../../runtime/canonical-json.js'
import { isSwarmError } from '../../runtime/errors.js'
import type { ControlKey } from '../../runtime/grant.js'
import { memoryStore } from '../../runtime/object-store/memory-store.js'
import type { ObjectStore } from '../../runtime/object-store/object-store.js'
import { fakeClock } from '../support/fake-clock.js'
import { followed, forfeit, ledgerKey, openLedger, work } from '../support/ledgers.js'

type Objects = ReadonlyMap<string, Uint8Array>

const page = (number: number) => `ledger/pages/0000000${number}`
const encode = (text: string) => new TextEncoder().encode(text)
const decode = (bytes: Uint8Array | undefined) => new TextDecoder().decode(bytes)

/** Four pages of three entries. @param changedBehind the page behind which the key is another one: the next page has one entry more */
async function written(
  key: ControlKey = ledgerKey(),
  run = 'r1',
  cuts: readonly number[] = [1, 2, 3, 4],
  changedBehind?: number,
): Promise<Objects> {
  const store = memoryStore()
  let ledger = openLedger({ store, key, pageBytes: 1 })
  for (const cut of cuts) {
    if (cut - 1 === changedBehind) ledger = openLedger({ store, key: followed(key, ledgerKey(9)), pageBytes: 1 })
    const evidence = `runs/${run}/audits/${cut}`
    await ledger.append([
      work({ run, cut }),
      work({ run, cut, vnode: 'dense-2', host: 'bob' }),
      forfeit({ evidence, micropoints: 1_000_000 }),
    ])
  }
  return objectsOf(store)
}

async function objectsOf(store: ObjectStore): Promise<Objects> {
  const objects = new Map<string, Uint8Array>()
  for await (const { key } of store.list('')) objects.set(key, (await store.get(key)).bytes)
  return objects
}

async function storeOf(objects: Objects): Promise<ObjectStore> {
  const store = memoryStore()
  for (const [key, bytes] of objects) await store.put(key, bytes)
  return store
}

const without = (objects: Objects, key: string): Objects => new Map([...objects].filter(([own]) => own !== key))
const replaced = (objects: Objects, key: string, bytes: Uint8Array | string): Objects =>
  new Map([...objects, [key, typeof bytes === 'string' ? encode(bytes) : bytes]])

/** One thing that somebody without the key does to the objects. */
const damage = (objects: Objects): fc.Arbitrary<{ readonly what: string; readonly damaged: () => Objects }> => {
  const keys = [...objects.keys()]
  const pages = keys.filter((key) => key.includes('pages'))
  const key = fc.constantFrom(...keys)
  const ofLines = (change: (lines: string[], index: number, other: number) => void, what: string) =>
    fc.tuple(fc.constantFrom(...pages), fc.nat(2), fc.integer({ min: 1, max: 2 })).map(([own, index, by]) => {
      const lines = decode(objects.get(own)).slice(0, -1).split('\n')
      change(lines, index, (index + by) % 3)
      return { what: `${what} ${own} ${index} ${by}`, damaged: () => replaced(objects, own, lines.map((line) => `${line}\n`).join('')) }
    })
  const edit = fc.tuple(key, fc.nat(), fc.integer({ min: 1, max: 255 })).map(([own, at, bits]) => {
    const bytes = objects.get(own)!.slice()
    bytes[at % bytes.length] ^= bits
    return { what: `edit ${own} ${at % bytes.length} ${bits}`, damaged: () => replaced(objects, own, bytes) }
  })
  const insert = fc.tuple(key, fc.nat(), fc.constantFrom(' ', '\n', '0', ',"a":1', '\u0000')).map(([own, at, text]) => {
    const old = decode(objects.get(own))
    const place = at % (old.length + 1)
    return {
      what: `insert ${own} ${place} ${JSON.stringify(text)}`,
      damaged: () => replaced(objects, own, old.slice(0, place) + text + old.slice(place)),
    }
  })
  const remove = key.map((own) => ({ what: `remove ${own}`, damaged: () => without(objects, own) }))
  const truncate = fc.tuple(key, fc.nat()).map(([own, length]) => {
    const bytes = objects.get(own)!
    return {
      what: `truncate ${own} ${length % bytes.length}`,
      damaged: () => replaced(objects, own, bytes.slice(0, length % bytes.length)),
    }
  })
  const swap = fc.uniqueArray(key, { minLength: 2, maxLength: 2 }).map(([a, b]) => ({
    what: `swap ${a} ${b}`,
    damaged: () => replaced(replaced(objects, a, objects.get(b)!), b, objects.get(a)!),
  }))
  const copy = fc.tuple(key, fc.constantFrom(...keys, page(5), page(6), 'ledger/pages/5', 'ledger/head2')).filter(([a, b]) => a !== b)
  const overwrite = copy.map(([from, to]) => ({ what: `copy ${from} to ${to}`, damaged: () => replaced(objects, to, objects.get(from)!) }))
  const swapLines = ofLines((lines, a, b) => ([lines[a], lines[b]] = [lines[b], lines[a]]), 'swap lines')
  const doubleLine = ofLines((lines, a, b) => lines.splice(b, 0, lines[a]), 'double line')
  const dropLine = ofLines((lines, a) => lines.splice(a, 1), 'drop line')
  return fc.oneof(edit, insert, remove, truncate, swap, overwrite, swapLines, doubleLine, dropLine)
}

for (const [which, count, changedBehind] of [
  ['a ledger', 12, undefined],
  ['a ledger whose key was changed', 13, 2],
] as const)
  test(`any single edit, removal, swap, doubling or cut of ${which} is found, by both checks`, async (t) => {
    const objects = await written(ledgerKey(), 'r1', [1, 2, 3, 4], changedBehind)
    for (const checks of ['chain', 'signatures'] as const) t.is((await readLedger({ store: await storeOf(objects), checks })).count, count)
    await fc.assert(
      fc.asyncProperty(damage(objects), async ({ what, damaged }) => {
        for (const checks of ['chain', 'signatures'] as const) {
          const error = await readLedger({ store: await storeOf(damaged()), checks }).then(
            () => undefined,
            (thrown: unknown) => thrown,
          )
          if (!isSwarmError(error) || !error.code.startsWith('ledger.')) throw new Error(`${what}, ${checks}: ${String(error)}`)
        }
      }),
      { seed: 41, numRuns: 600 },
    )
  })

/** The line of an entry, changed. */
function changed(
  objects: Objects,
  number: number,
  change: (line: { entry: LedgerEntry; key?: string; signature?: string }) => object,
): Objects {
  const key = page(Math.ceil(number / 3))
  const lines = decode(objects.get(key)).slice(0, -1).split('\n')
  const index = (number - 1) % 3
  lines[index] = JSON.stringify(change(JSON.parse(lines[index])))
  return replaced(objects, key, lines.map((line) => `${line}\n`).join(''))
}

test('the first wrong entry is named, and what is wrong with it', async (t) => {
  const objects = await written()
  const other = await written(ledgerKey(8))
  const third = decode(objects.get(page(3)))
  const [seventh, eighth, ninth] = third.split('\n')
  const cases: readonly [what: string, objects: Objects, code: string, says: RegExp][] = [
    [
      'a number edited',
      changed(objects, 5, ({ entry, ...line }) => ({ entry: { ...entry, host: 'eve' }, ...line })),
      'ledger.edited',
      /entry 5, in ledger\/pages\/00000002/,
    ],
    [
      'a line removed',
      replaced(objects, page(3), `${seventh}\n${ninth}\n`),
      'ledger.order',
      /entry 8, in .*3\): expected entry 8, got entry 9/,
    ],
    ['lines swapped', replaced(objects, page(3), `${eighth}\n${seventh}\n${ninth}\n`), 'ledger.order', /expected entry 7, got entry 8/],
    [
      'a line doubled',
      replaced(objects, page(3), `${seventh}\n${seventh}\n${eighth}\n${ninth}\n`),
      'ledger.order',
      /expected entry 8, got entry 7/,
    ],
    [
      'the end removed',
      replaced(objects, page(4), `${decode(objects.get(page(4))).split('\n')[0]}\n`),
      'ledger.cut',
      /after entry 10, .*expected 12 entries that the head counts, got 10/,
    ],
    ['the last page removed', without(objects, page(4)), 'ledger.cut', /after entry 9,/],
    ['a page in the middle removed', without(objects, page(2)), 'ledger.cut', /after entry 3,/],
    ['the head removed', without(objects, 'ledger/head'), 'ledger.cut', /head of the ledger is missing/],
    ['a signature removed', changed(objects, 6, ({ entry, key }) => ({ entry, key })), 'ledger.unsigned', /entry 6/],
    [
      'another key',
      changed(objects, 6, ({ entry }) => JSON.parse(signEntry(entry, ledgerKey(8)).line)),
      'ledger.key',
      /another key \(entry 6, .*expected 324be2dea8bc4446, got [0-9a-f]{16}/,
    ],
    [
      'another version',
      changed(objects, 2, ({ entry, ...line }) => ({ entry: { ...entry, v: 2 }, ...line })),
      'ledger.version',
      /entry 2, .*expected 1, got 2/,
    ],
    ['an entry of another ledger', replaced(objects, page(2), other.get(page(2))!), 'ledger.key', /entry 4,/],
    ['a head of another key', replaced(objects, 'ledger/head', other.get('ledger/head')!), 'ledger.key', /entry 1,/],
    [
      'a page of another run of the same key',
      replaced(objects, page(2), (await written(ledgerKey(), 'r2')).get(page(2))!),
      'ledger.order',
      /entry 4 does not follow/,
    ],
    [
      'a head of another history',
      replaced(objects, 'ledger/head', (await written(ledgerKey(), 'r2')).get('ledger/head')!),
      'ledger.order',
      /the head names another last entry \(entry 12/,
    ],
  ]
  for (const [what, damaged, code, message] of cases)
    await t.throwsAsync(readLedger({ store: await storeOf(damaged), checks: 'signatures' }), { code, message }, what)
})

test('hashes made anew all the way do not help who has no key: the entry that was touched is named', async (t) => {
  const objects = await written()
  const entries = [1, 2, 3, 4].flatMap((number) =>
    decode(objects.get(page(number)))
      .slice(0, -1)
      .split('\n')
      .map((line) => JSON.parse(line)),
  )
  let previous = NO_ENTRY
  const forged = entries.map(({ entry, key, signature }) => {
    const own = { ...entry, ...(entry.number === 5 && { host: 'eve' }), previous }
    const line = canonicalJson({ entry: own, key, signature })
    previous = createHash('sha256').update(line).digest('hex')
    return `${line}\n`
  })
  let damaged = objects
  for (const number of [1, 2, 3, 4]) damaged = replaced(damaged, page(number), forged.slice(3 * number - 3, 3 * number).join(''))
  await t.throwsAsync(readLedger({ store: await storeOf(damaged), checks: 'signatures' }), { code: 'ledger.edited', message: /entry 5,/ })
  await t.throwsAsync(readLedger({ store: await storeOf(damaged) }), { code: 'ledger.order', message: /the head names another last entry/ })
})

test('who signs a whole ledger anew is found by whoever knows the key', async (t) => {
  const [objects, forged] = [await written(), await written(ledgerKey(8))]
  const { publicKey } = ledgerKey()
  t.is((await readLedger({ store: await storeOf(forged), checks: 'signatures' })).count, 12)
  t.is((await readLedger({ store: await storeOf(objects), publicKey })).count, 12)
  await t.throwsAsync(readLedger({ store: await storeOf(forged), publicKey }), {
    code: 'ledger.key',
    message: /the ledger is signed by another key/,
  })
})

test('an older copy of a whole ledger is found by whoever has noted an entry of the newer one', async (t) => {
  const store = memoryStore()
  const ledger = openLedger({ store })
  await ledger.append([work()])
  const older = await objectsOf(store)
  const noted = (await readLedger({ store })).hash
  await ledger.append([work({ cut: 2 })])
  const { hash } = await readLedger({ store })
  for (const contains of [noted, hash, hash.slice(0, 12)]) t.is((await readLedger({ store, contains })).count, 2)
  t.is((await readLedger({ store: await storeOf(older), contains: noted })).count, 1)
  for (const left of [older, new Map()])
    await t.throwsAsync(readLedger({ store: await storeOf(left), contains: hash }), {
      code: 'ledger.cut',
      message: /does not have the entry that was noted/,
    })
})

test('what the owner of the key himself must not write is found, too', async (t) => {
  const key = ledgerKey()
  const signed = async (...bodies: readonly object[]): Promise<ObjectStore> => {
    let previous = NO_ENTRY
    let text = ''
    for (const [index, body] of bodies.entries()) {
      const entry = { v: 1, number: index + 1, previous, atMs: fakeClock().now(), ...body } as LedgerEntry
      const { line, hash } = signEntry(entry, key)
      previous = hash
      text += line
    }
    const head = encodeHead({ count: bodies.length, hash: previous }, key)
    return storeOf(
      new Map([
        ['ledger/head', head],
        [page(1), encode(text)],
      ]),
    )
  }
  const good = { ...work(), micropoints: 2_500_000 }
  t.is((await readLedger({ store: await signed(good) })).count, 1)
  const cases: readonly [readonly object[], RegExp][] = [
    [[good, good], /entry 2, .*steps of dense-1 that are booked already|steps of dense-1 that are booked already/],
    [[{ ...good, micropoints: 2_500_001 }], /points that are not those of the work: expected 2500000, got 2500001/],
    [[good, { ...forfeit(), micropoints: 2_500_001 }], /ann forfeits more than it has: expected at most 2500000 µpoints/],
    [[good, { ...forfeit(), micropoints: 1 }, { ...forfeit(), micropoints: 1 }], /has forfeited for this already/],
    [[{ ...good, kind: 'withdrawn' }], /unknown kind/],
    [[{ ...good, host: undefined }], /host of an entry/],
  ]
  for (const [bodies, message] of cases)
    await t.throwsAsync(readLedger({ store: await signed(...bodies) }), { code: 'ledger.invalid', message })
})

test('what lies behind the head counts if it is signed, and only then', async (t) => {
  const objects = await written()
  const short = await written(ledgerKey(), 'r1', [1, 2, 3])
  const behind = replaced(objects, 'ledger/head', short.get('ledger/head')!)
  for (const checks of ['chain', 'signatures'] as const) {
    const { count, unsealed, books } = await readLedger({ store: await storeOf(behind), checks })
    t.deepEqual([count, unsealed, books.balanceOf({ host: 'bob', owner: 'Ann' }).earned], [12, 3, 10_000_000])
    // Its hash is right, its signature is that of what it was.
    const forged = changed(behind, 12, ({ entry, ...line }) => ({ entry: { ...entry, reason: 'none' }, ...line }))
    const lines = canonicalLines(forged, page(4))
    const refused = readLedger({ store: await storeOf(replaced(forged, page(4), lines)), checks })
    await t.throwsAsync(refused, { code: 'ledger.edited', message: /its signature does not hold \(entry 12,/ })
  }
})

const canonicalLines = (objects: Objects, key: string): string =>
  decode(objects.get(key))
    .slice(0, -1)
    .split('\n')
    .map((line) => `${canonicalJson(JSON.parse(line))}\n`)
    .join('')

test('bytes that mean the same are not the same', async (t) => {
  const objects = await written()
  // The last digit of a signature in base64 has four bits that say nothing.
  const respelt = (text: string) => text.replace(/(.)=="/, (_, digit: string) => `${BASE64[BASE64.indexOf(digit) ^ 1]}=="`)
  const head = decode(objects.get('ledger/head')).replace(/(?<="signature":").*/, respelt)
  const second = decode(objects.get(page(2)))
  const cases: readonly [key: string, text: string, says: RegExp][] = [
    ['ledger/head', head, /the head of the ledger was edited/],
    [page(2), respelt(second), /entry 4,/],
    [page(2), second.replace('"host":"bob"', '"host": "bob"'), /entry 5,/],
    [page(4), decode(objects.get(page(4))).replace(/\n$/, ' \n'), /entry 12,/],
  ]
  for (const [key, text, message] of cases) {
    t.not(text, decode(objects.get(key)))
    const damaged = await storeOf(replaced(objects, key, text))
    await t.throwsAsync(readLedger({ store: damaged, checks: 'signatures' }), { code: 'ledger.edited', message })
  }
})

const BASE64 = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/'
