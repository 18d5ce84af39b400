import { Chalk } from 'chalk'
import test from 'ava'
import { candidateTable } from '../../cli/view/candidates.js'

test('what was weighed is shown with the best first, and of many with how many a reason is true of', (t) => {
  const candidates = [
    { pnode: 'gone', reason: 'it is lost', more: 39 },
    { pnode: 'slow', score: 9, reason: '9.00 ms a step' },
    { pnode: 'fast', score: 3.004, reason: '3.00 ms a step' },
    { pnode: 'next', reason: 'at least 9.00 ms a step', more: 411 },
    { pnode: 'full', reason: '2.0 MB more than its 1.0 MB allow' },
  ]
  const lines = candidateTable(candidates, 'fast', new Chalk({ level: 0 })).split('\n')
  t.deepEqual(
    lines.map((line) => line.trim().replaceAll(/ {2,}/g, ' | ')),
    [
      'PNode | score | reason',
      '✔ | fast | 3.00 | 3.00 ms a step',
      'slow | 9.00 | 9.00 ms a step',
      'gone and 39 more | – | it is lost',
      'next and 411 more | – | at least 9.00 ms a step',
      'full | – | 2.0 MB more than its 1.0 MB allow',
    ],
  )
})
