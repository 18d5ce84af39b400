import test from 'ava'
import { lineAt } from '../../bench/measure.js'

test('a line through points is theirs where they lie on one, goes between them where not, and is flat where all have one place', (t) => {
  const near = (got: number, expected: number) => t.true(Math.abs(got - expected) < 1e-12, `${got}, expected ${expected}`)
  near(lineAt(5, [0, 1, 3], [1, 3, 7]), 11)
  // Worked by hand: through (1, 2) with a slope of 1.
  near(lineAt(0, [0, 1, 2], [2, 0, 4]), 1)
  near(lineAt(7, [2, 2], [1, 3]), 2)
})
