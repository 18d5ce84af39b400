import test from 'ava'
import { Standing } from '../../actors/pnode/standing.js'

test('who stands because of an older word goes on, and stands again if it was asked to after that', (t) => {
  const standing = new Standing(2)
  t.true(standing.hold(5))
  standing.saw(7)
  t.is(standing.asOf, 5)
  // Something was lost: everybody goes on. It wants to leave all the same, and that is heard first.
  t.true(standing.hold(9))
  t.is(standing.asOf, 5, 'where it stands it stands as it was asked to before')
  t.deepEqual(standing.release(9), ['release', 'hold'])
  standing.saw(undefined)
  standing.saw(12)
  t.is(standing.asOf, 9)
  t.deepEqual(standing.release(9), [], 'heard again')
  t.deepEqual(standing.release(10), ['release'])
})

test('a word that comes late asks for nothing', (t) => {
  const standing = new Standing(9)
  t.false(standing.hold(5), 'meant for the owner before this one')
  t.true(standing.hold(11))
  t.true(standing.hold(10))
  standing.saw(3)
  t.is(standing.asOf, 11, 'the newest counts')
  standing.promoted(14)
  t.false(standing.hold(13))
})
