import type { ConformanceCase } from './case.js'
import type { StoreUnderTest } from './object-store-check.js'
import { ENDING_CHECKS } from './object-store-endings.js'
import { KEY_CHECKS } from './object-store-keys.js'
import { PUT_CHECKS } from './object-store-puts.js'

export type { StoreUnderTest } from './object-store-check.js'

/**
 * Every promise of `ObjectStore` as a case of its own; `make` gives each case a fresh, empty store. The largest objects need about half a gigabyte of memory.
 */
export function objectStoreSuite(make: () => Promise<StoreUnderTest>): ConformanceCase[] {
  return [...PUT_CHECKS, ...KEY_CHECKS, ...ENDING_CHECKS].map(([title, check]) => ({
    title,
    async run() {
      const subject = await make()
      try {
        await check(subject.store, subject)
      } finally {
        await subject.close()
      }
    },
  }))
}
