/** An MLP learns on TensorFlow what it always has, within tolerance: another kind of processor adds in another order. */
import { carryOut, learningDifferences, readExpectations } from '../expectations/expected.js'
import { RUN_NAMES, RUNS } from '../expectations/runs.js'
import { onNative } from './native.js'

for (const name of RUN_NAMES.filter((name) => RUNS[name].backend === 'native')) {
  onNative(`${name}: accuracy and loss are within tolerance of what is expected`, async (t) => {
    const [expected, got] = [(await readExpectations())[name], await carryOut(name)]
    t.log(`accuracy ${got.accuracy}, loss ${got.loss}`)
    t.deepEqual(learningDifferences(name, got, expected), [])
  })
}
