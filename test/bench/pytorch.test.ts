/** Where there is no PyTorch the benchmark says so before it begins. */
import { chmod, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import test from 'ava'
import { inPyTorch } from '../../bench/pytorch.js'
import { isSwarmError } from '../../runtime/errors.js'
import { temporaryFolder } from '../support/idx-files.js'

/** A program in place of Python. */
async function python(says: string, status: number): Promise<string> {
  const file = join(await temporaryFolder(), 'python')
  await writeFile(file, `#!/bin/sh\necho '${says}'\nexit ${status}\n`)
  await chmod(file, 0o755)
  return file
}

test('no Python, no PyTorch and an old PyTorch are told apart, and what to do', async (t) => {
  for (const [program, code, pattern] of [
    ['/nowhere/python3', 'backend.missing', /no Python.*\/nowhere\/python3.*pip install torch/],
    [await python('No module named torch', 3), 'backend.missing', /no PyTorch.*No module named torch.*--python/],
    [await python('PyTorch 1.13: fused', 4), 'backend.unsuitable', /too old.*2\.4.*1\.13/],
  ] as const) {
    const error = await t.throwsAsync(inPyTorch(program, 0))
    t.true(isSwarmError(error, code), String(error))
    t.regex(error.message, pattern)
  }
  await t.throwsAsync(inPyTorch(await python('Segmentation fault', 139), 0), { message: /ended with 139: Segmentation fault/ })
  t.like(await inPyTorch(await python('{"torch":"2.15.0"}', 0), 0), { torch: '2.15.0' })
})
