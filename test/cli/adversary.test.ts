/** A host that lies is started by who says so twice, and says so itself. */
import test from 'ava'
import { ADVERSARIES } from '../../adversaries/adversaries.js'
import { adversaryOf, ALLOW_VARIABLE } from '../../cli/cluster/adversary.js'
import { folderOf, swarmgrad } from './command.js'

const NOWHERE = 'http://127.0.0.1:2'
/** Nobody answers there. */
const UNREACHABLE = 4
const LOADED = '/adversaries/adversaries.js'

test('without the second condition nobody lies, whatever the first one says', async (t) => {
  t.is(await adversaryOf({}, { [ALLOW_VARIABLE]: '1' }), undefined)
  for (const value of [undefined, '', '0', 'true'])
    await t.throwsAsync(adversaryOf({ adversary: 'sign-flip' }, { [ALLOW_VARIABLE]: value }), { code: 'usage', message: /ADVERSARIES=1/ })
  t.is(await adversaryOf({ adversary: 'sign-flip' }, { [ALLOW_VARIABLE]: '1' }), ADVERSARIES['sign-flip'])
  const mistyped = adversaryOf({ adversary: 'sign-flop' }, { [ALLOW_VARIABLE]: '1' })
  await t.throwsAsync(mistyped, { code: 'usage', message: /expected sign-flip or .*Did you mean 'sign-flip'/ })
})

test('one that lies says so loudly; of one that does not the attacks are not even loaded', async (t) => {
  const folder = await folderOf(t)
  const env = { NODE_DEBUG: 'esm' }
  const honest = await swarmgrad(t, folder, ['host', NOWHERE, '--yes'], { env: { ...env, [ALLOW_VARIABLE]: '1' } })
  t.is(honest.status, UNREACHABLE, honest.stderr)
  t.true(honest.stderr.includes('/cli/commands/host.js'), 'the log names what is loaded')
  t.false(honest.stderr.includes(LOADED))
  const words = ['host', NOWHERE, '--yes', '--adversary', 'forger']
  const liar = await swarmgrad(t, folder, words, { env: { ...env, [ALLOW_VARIABLE]: '1' } })
  t.is(liar.status, UNREACHABLE, liar.stderr)
  t.true(liar.stderr.includes(LOADED))
  t.regex(liar.stderr, /THIS HOST LIES ON PURPOSE \(--adversary forger\)/)
  const { status, lines } = await swarmgrad(t, folder, [...words, '--json'], { env: { [ALLOW_VARIABLE]: '1' } })
  t.is(status, UNREACHABLE)
  t.like(lines[0], { type: 'adversary', adversary: 'forger' })
})
