/** A conv net and a transformer of characters learn what they always have, to the bit. */
import test from 'ava'
import { bitDifferences, carryOut, learningDifferences, readExpectations } from './expected.js'
import { RUN_NAMES, RUNS } from './runs.js'

for (const name of RUN_NAMES.filter((name) => RUNS[name].backend === 'wasm')) {
  test.serial(`${name}: accuracy and loss are within tolerance of what is expected, and the hash is the same`, async (t) => {
    const [expected, got] = [(await readExpectations())[name], await carryOut(name)]
    t.log(`accuracy ${got.accuracy}, loss ${got.loss}`)
    // Both are asked: a new kernel changes bits, and only what is learnt shows whether it is right.
    t.deepEqual(learningDifferences(name, got, expected), [])
    t.deepEqual(bitDifferences(name, got, expected), [])
  })
}

test('what is learnt otherwise, and other bits, are told by name', async (t) => {
  const expected = { accuracy: 0.8, loss: 0.5, tolerance: { accuracy: 0.03, loss: 0.1 }, hash: 'aa', computeClass: 'old' }
  const got = { accuracy: 0.81, loss: 0.45, hash: 'aa', computeClass: 'old' }
  const both = (ending: typeof got) => [
    ...learningDifferences('conv net', ending, expected),
    ...bitDifferences('conv net', ending, expected),
  ]
  t.deepEqual(both(got), [])
  t.regex(both({ ...got, accuracy: 0.7 }).join(), /^conv net, accuracy: expected 0\.8 ± 0\.03, got 0\.7$/)
  t.regex(both({ ...got, loss: Number.NaN }).join(), /^conv net, loss: .* got NaN$/)
  t.regex(both({ ...got, hash: 'bb' }).join(), /^conv net: expected hash aa, got bb under the same compute class old/)
  t.regex(both({ ...got, hash: 'bb', computeClass: 'new' }).join(), /under compute class new, expected under old.*renew/)
})
