/** Tests on TensorFlow: `npm run test:native`. One file at a time: each loads it, and its matrix products want a core. */
export default {
  concurrency: 1,
  files: ['dist/test/native/**/*.test.js'],
  timeout: '10m',
  workerThreads: false,
}
