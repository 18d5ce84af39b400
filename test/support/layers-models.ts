/** Models as TensorFlow.js itself loads and saves them, on our backend. */
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import * as tfjs from '@tensorflow/tfjs'
import { startBackend } from '../../components/tf.js'

export { tfjs }

/** `tf.loadLayersModel` of a `model.json` on disk: without tfjs-node it has no handler of its own for files. */
export async function loadLayersModel(path: string): Promise<tfjs.LayersModel> {
  await startBackend()
  const { modelTopology, weightsManifest, ...rest } = JSON.parse(await readFile(path, 'utf8')) as tfjs.io.ModelJSON
  const paths = weightsManifest.flatMap((group) => group.paths)
  const data = Buffer.concat(await Promise.all(paths.map((file) => readFile(join(dirname(path), file)))))
  const weightSpecs = weightsManifest.flatMap(({ weights }) => weights)
  return tfjs.loadLayersModel(tfjs.io.fromMemory({ ...rest, modelTopology, weightSpecs, weightData: new Uint8Array(data).buffer }))
}

/** `model.save` into a folder, as the browser's download or tfjs-node write it. */
export async function saveLayersModel(model: tfjs.LayersModel, folder: string): Promise<string> {
  await mkdir(folder, { recursive: true })
  const path = join(folder, 'model.json')
  const onSave = async ({ weightData, weightSpecs, ...artifacts }: tfjs.io.ModelArtifacts): Promise<tfjs.io.SaveResult> => {
    const weightsManifest = [{ paths: ['weights.bin'], weights: weightSpecs }]
    await writeFile(path, JSON.stringify({ ...artifacts, weightsManifest }))
    await writeFile(join(folder, 'weights.bin'), new Uint8Array(weightData as ArrayBuffer))
    return { modelArtifactsInfo: { dateSaved: new Date(0), modelTopologyType: 'JSON' } }
  }
  await model.save(tfjs.io.withSaveHandler(onSave))
  return path
}

/** Answers float32 [n × width] to inputs that are normalised already. */
export function answersOf(model: tfjs.LayersModel, inputs: Float32Array): Float32Array {
  const [, ...shape] = model.inputs[0].shape as [null, ...number[]]
  const size = shape.reduce((a, b) => a * b, 1)
  return tfjs.tidy(() =>
    (model.predict(tfjs.tensor(inputs, [inputs.length / size, ...shape])) as tfjs.Tensor).dataSync().slice(),
  ) as Float32Array
}
