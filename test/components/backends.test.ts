/** Which backend is meant, and what is said where it is not there; nothing here needs TensorFlow. */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { backendOf, backendOfClass, BACKENDS, isBitwise, machineModule } from '../../components/backends.js'
import { findInstalled, nativeFolder } from '../../components/native/installed.js'
import { local } from '../../index.js'
import { isSwarmError } from '../../runtime/errors.js'

async function folderWith(t: ExecutionContext, installed?: string): Promise<{ SWARMGRAD_NATIVE: string }> {
  const folder = await mkdtemp(join(tmpdir(), 'swarmgrad-native-'))
  t.teardown(() => rm(folder, { recursive: true }))
  if (installed !== undefined) {
    await mkdir(join(folder, 'cpu'))
    await writeFile(join(folder, 'cpu', 'installed.json'), installed)
  }
  return { SWARMGRAD_NATIVE: folder }
}

test('auto is wasm, and each backend has a module', (t) => {
  t.is(backendOf(), 'wasm')
  t.is(backendOf('auto'), 'wasm')
  t.is(backendOf('native'), 'native')
  for (const name of BACKENDS) t.regex(machineModule(name).pathname, /machines?\.js$/)
})

test('the backend of a compute class is its second part', (t) => {
  t.is(backendOfClass('4.22.0 | wasm | simd | 0'), 'wasm')
  t.is(backendOfClass('4.22.0 | native | tensorflow 2.18.0, processor | 0'), 'native')
  t.is(backendOfClass('4.22.0 | gpu | tensorflow 2.18.0, gpu | 0'), 'gpu')
  t.is(backendOfClass(undefined), 'wasm')
  t.false(isBitwise('4.22.0 | gpu | tensorflow 2.18.0, gpu | 0'))
  t.true(isBitwise(undefined))
})

test('what is installed is sought where SWARMGRAD_NATIVE says, else in the cache of the user', async (t) => {
  t.is(nativeFolder({ SWARMGRAD_NATIVE: '/elsewhere' }), '/elsewhere')
  t.is(nativeFolder({ XDG_CACHE_HOME: '/caches' }), '/caches/swarmgrad/native')
  t.regex(nativeFolder({}), /\.cache\/swarmgrad\/native$/)
  const environment = await folderWith(t, '{"v":1,"tensorflow":"2.18.0"}')
  t.deepEqual(findInstalled('cpu', environment), { folder: join(environment.SWARMGRAD_NATIVE, 'cpu'), tensorflow: '2.18.0' })
})

test('a backend that is not there says how to get it', async (t) => {
  const environment = await folderWith(t)
  const cpu = t.throws(() => findInstalled('cpu', environment))
  t.true(isSwarmError(cpu, 'backend.missing'))
  t.regex(cpu.message, /'native' is not installed .*native\/install\.sh \(or npm run native:install\).*--backend wasm/)
  t.regex(t.throws(() => findInstalled('gpu', environment)).message, /'gpu' is not installed .*install\.sh --gpu/)
})

for (const [what, text] of Object.entries({
  'of a later version': '{"v":2,"tensorflow":"2.18.0"}',
  'that is cut short': '{"v":1,"tens',
  'that names no version': '{"v":1}',
})) {
  test(`an installation ${what} says how to replace it`, async (t) => {
    const environment = await folderWith(t, text)
    const found = t.throws(() => findInstalled('cpu', environment))
    t.true(isSwarmError(found, 'backend.unsuitable'), found.message)
    t.regex(found.message, /Install it anew: rm -r .*cpu; bash .*install\.sh/)
  })
}

test('a backend that nobody knows is refused at once', (t) => {
  t.regex(t.throws(() => local({ backend: 'cuda' as never })).message, /backend: expected wasm, native, gpu, auto, got cuda/)
  t.is(local().backend, 'auto')
})
