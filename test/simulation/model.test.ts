/** Head, grant and cut, in every order in which things can happen. */
import test from 'ava'
import { explore, type ModelDefects } from './model.js'

for (const losable of [
  { pnodes: 1, control: 1 },
  { pnodes: 2, control: 0 },
]) {
  test.serial(`every order of messages, with ${losable.pnodes} crashes of PNodes and ${losable.control} of control`, (t) => {
    t.timeout(300_000)
    const { states, transitions, ends } = explore(losable)
    t.log(`${states} states, ${transitions} transitions, ${ends} ends`)
    t.true(states > 10_000 && ends > 10)
  })
}

const DEFECTS: { readonly [name in keyof Required<ModelDefects>]: RegExp } = {
  takesOldCommits: /manifest/,
  takesOldFrames: /takes step/,
  takesForeignGrants: /manifest|never come/,
  forgetsToGrantAgain: /never come/,
  keepsTerms: /manifest|never come/,
}

for (const [defect, says] of Object.entries(DEFECTS)) {
  test.serial(`found: ${defect}`, (t) => {
    t.timeout(300_000)
    const error = t.throws(() => explore({ pnodes: 1, control: 1 }, { [defect]: true }))
    t.regex(error.message, says)
  })
}
