/** Tests on real servers: `npm run test:services`. One file at a time, since each starts a handful of servers. */
export default {
  concurrency: 1,
  files: ['dist/test/services/**/*.test.js'],
  timeout: '10m',
  workerThreads: false,
}
