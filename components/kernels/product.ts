/** Matrix products on the heap of tfjs's backend, of matrices that lie there with any strides. */
import type { BackendWasm, TensorInfo } from './kernel.js'
import { type Product, assembleProduct, scratchBytes } from './product-module.js'

/** Where a matrix lies on the heap, in bytes. */
export interface Matrix {
  readonly address: number
  readonly rowBytes: number
  readonly columnBytes: number
}

export interface Sizes {
  /** a is [m, k], b is [k, n], c is [m, n]; all at least 1. */
  readonly m: number
  readonly n: number
  readonly k: number
}

const FLOAT_BYTES = 4

/** Products of equal sizes, one after another, with room for their common scratch; `close` gives it back. */
export class Products {
  readonly #backend: BackendWasm
  readonly #sizes: Sizes
  readonly #vector: Product | undefined
  readonly #scratch: TensorInfo
  readonly #scratchAddress: number

  constructor(backend: BackendWasm, sizes: Sizes, vector: Product | undefined) {
    this.#backend = backend
    this.#sizes = sizes
    this.#vector = vector
    this.#scratch = backend.makeOutput([scratchBytes(sizes.m, sizes.k) / FLOAT_BYTES], 'float32')
    this.#scratchAddress = viewOf(backend, this.#scratch).byteOffset
  }

  /** c = a·b; the columns of c lie side by side. */
  multiply(a: Matrix, b: Matrix, c: Omit<Matrix, 'columnBytes'>): void {
    const { m, n, k } = this.#sizes
    if (this.#vector) {
      this.#vector(
        ...([a.address, b.address, c.address, m, n, k] as const),
        ...([a.rowBytes, a.columnBytes, b.rowBytes, b.columnBytes, c.rowBytes, this.#scratchAddress] as const),
      )
    } else multiplyInOrder(new Float32Array(viewOf(this.#backend, this.#scratch).buffer), this.#sizes, a, b, c)
  }

  close(): void {
    this.#backend.disposeData(this.#scratch.dataId)
  }
}

/** Makes `Products` that use vectors where the machine has them. @param memory the backend's */
export function productsOn(memory: unknown): (backend: BackendWasm, sizes: Sizes) => Products {
  const vector = assembleProduct(memory)
  return (backend, sizes) => new Products(backend, sizes, vector)
}

/** The same bits, number by number. */
export function multiplyInOrder(heap: Float32Array, { m, n, k }: Sizes, a: Matrix, b: Matrix, c: Omit<Matrix, 'columnBytes'>): void {
  const round = Math.fround
  const at = (address: number): number => address / FLOAT_BYTES
  const [aRow, aColumn, bRow, bColumn] = [a.rowBytes, a.columnBytes, b.rowBytes, b.columnBytes].map(at)
  for (let row = 0; row < m; row++) {
    for (let column = 0; column < n; column++) {
      let sum = 0
      let [left, right] = [at(a.address) + row * aRow, at(b.address) + column * bColumn]
      for (let i = 0; i < k; i++, left += aColumn, right += bRow) sum = round(sum + round(heap[left] * heap[right]))
      heap[at(c.address) + row * at(c.rowBytes) + column] = sum
    }
  }
}

/** Elements on the heap, not a copy: any allocation may detach it. */
export function viewOf(backend: BackendWasm, tensor: TensorInfo): Float32Array {
  return backend.typedArrayFromHeap(tensor) as Float32Array
}
