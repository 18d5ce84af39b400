/**
 * `swarmgrad/testing`: what every implementation of a seam has to do, for those who write a new one. Each suite takes a factory
 * and gives its cases, which need no test runner: `for (const { title, run } of tensorBusSuite(make)) test(title, run)`.
 */
export { actorSystemSuite } from './actor-system.js'
export type { ActorSuiteOptions, ActorsUnderTest } from './actor-system.js'
export type { ConformanceCase } from './case.js'
export { computeSuite } from './compute.js'
export type { ComputeFactory } from './compute.js'
export { objectStoreSuite } from './object-store.js'
export type { StoreUnderTest } from './object-store.js'
export { tensorBusSuite } from './tensor-bus.js'
export type { BusSuiteOptions, BusUnderTest } from './tensor-bus.js'
