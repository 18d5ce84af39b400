/** The memory of TensorFlow's backend: parameters and slots are resource variables, which its optimizers change in place. */
import { randomUUID } from 'node:crypto'
import type { Options } from '../define.js'
import type { Tensor } from '../kernels/kernel.js'
import type { Memory, TensorUpdate } from '../memory.js'
import type { Operation, Optimizer } from '../optimizers/index.js'
import type { Attribute, NativeBackend } from './load.js'

/** Numbers of operations that are kept as tensors: some are the same at every step, the others at least for all parameters of a step. */
const MAX_SCALARS = 64

export class NativeMemory implements Memory {
  readonly givesCopies = true
  readonly #backend: NativeBackend
  /** Handle of the variable that holds a tensor's elements, by the tensor's data. */
  readonly #variables = new Map<object, number>()
  readonly #scalars = new Map<number, number>()
  /** Variables are known by name to all of the process. */
  readonly #prefix = randomUUID()
  #made = 0
  readonly #attributes: { readonly float: Attribute; readonly dtype: Attribute; readonly unlocked: Attribute }

  constructor(backend: NativeBackend) {
    this.#backend = backend
    const { TF_ATTR_TYPE, TF_ATTR_BOOL, TF_FLOAT } = backend.binding
    this.#attributes = {
      float: { name: 'T', type: TF_ATTR_TYPE, value: TF_FLOAT },
      dtype: { name: 'dtype', type: TF_ATTR_TYPE, value: TF_FLOAT },
      unlocked: { name: 'use_locking', type: TF_ATTR_BOOL, value: false },
    }
    // A variable ends with its tensor.
    const dispose = backend.disposeData.bind(backend)
    backend.disposeData = (dataId, force) => {
      const isGone = dispose(dataId, force)
      if (isGone) this.#destroy(dataId)
      return isGone
    }
  }

  floats(tensor: Tensor): Float32Array {
    return this.#read(tensor) as Float32Array
  }

  ints(tensor: Tensor): Int32Array {
    return this.#read(tensor) as Int32Array
  }

  write(tensor: Tensor, values: Float32Array | Int32Array): void {
    this.#destroy(tensor.dataId)
    this.#release(tensor)
    // A copy: TensorFlow shares the memory of what it is given.
    this.#backend.tensorMap.get(tensor.dataId).values = values.slice()
  }

  update(optimizer: Optimizer, options: Options, update: TensorUpdate): number {
    const operation = optimizer.operation?.(update, options)
    return operation ? this.#execute(operation, update) : this.#inJavaScript(optimizer, options, update)
  }

  #execute({ name, before, after = [], flags = [] }: Operation, { parameter, gradient, slots }: TensorUpdate): number {
    const { binding } = this.#backend
    const variables = [parameter, ...slots].map((tensor) => this.#variable(tensor))
    const numbers = [...before, ...after]
    if (this.#scalars.size + numbers.length > MAX_SCALARS) this.#forgetScalars()
    const scalars = numbers.map((x) => this.#scalar(x))
    const [first, last] = [scalars.slice(0, before.length), scalars.slice(before.length)]
    const attributes = [this.#attributes.float, this.#attributes.unlocked, ...flags.map((flag) => this.#no(flag))]
    // In place only where nobody else holds the elements; otherwise TensorFlow copies them first.
    for (const tensor of [parameter, ...slots]) this.#release(tensor)
    binding.executeOp(name, attributes, [...variables, ...first, ...this.#backend.getInputTensorIds([gradient]), ...last], 0)
    return this.#settle(parameter, variables[0])
  }

  /** For what TensorFlow has no operation: a copy there and back. */
  #inJavaScript(optimizer: Optimizer, options: Options, update: TensorUpdate): number {
    const { parameter, gradient, slots, learningRate, products } = update
    const values = [parameter, ...slots].map((tensor) => this.floats(tensor).slice())
    const [parameters, ...rest] = values
    const health = optimizer.update({ parameters, gradient: this.floats(gradient), slots: rest, learningRate, products }, options)
    for (const [i, tensor] of [parameter, ...slots].entries()) this.write(tensor, values[i])
    return health
  }

  #read(tensor: Tensor): Float32Array | Int32Array {
    const data = this.#backend.tensorMap.get(tensor.dataId)
    const variable = this.#variables.get(tensor.dataId)
    if (data.id < 0 && data.values === null && variable !== undefined) data.id = this.#valueOf(variable)
    return this.#backend.readSync(tensor.dataId) as Float32Array | Int32Array
  }

  /** Lets the tensor have what its variable holds now: the same memory. Returns NaN if that is not finite. */
  #settle(tensor: Tensor, variable: number): number {
    const value = this.#valueOf(variable)
    this.#backend.tensorMap.get(tensor.dataId).id = value
    // Half the sum of squares: thirty times as fast as CheckNumerics. Squares may be too large where their numbers are not.
    if (Number.isFinite(this.#number('L2Loss', value))) return 0
    return this.floats(tensor).every(Number.isFinite) ? 0 : NaN
  }

  /** What an operation makes of a tensor: one number. */
  #number(operation: string, input: number): number {
    const { binding } = this.#backend
    const [{ id }] = binding.executeOp(operation, [this.#attributes.float], [input], 1)
    const [value] = binding.tensorDataSync(id)
    binding.deleteTensor(id)
    return value
  }

  /** The variable of a tensor, made of its elements if there is none. */
  #variable(tensor: Tensor): number {
    const known = this.#variables.get(tensor.dataId)
    if (known !== undefined) return known
    const { binding } = this.#backend
    const { TF_ATTR_STRING, TF_ATTR_SHAPE, TF_FLOAT } = binding
    const text = (name: string, value: string): Attribute => ({ name, type: TF_ATTR_STRING, value })
    const names = [text('container', ''), text('shared_name', `${this.#prefix}-${this.#made++}`)]
    const shape = { name: 'shape', type: TF_ATTR_SHAPE, value: tensor.shape }
    const [{ id: handle }] = binding.executeOp('VarHandleOp', [...names, this.#attributes.dtype, shape], [], 1)
    const initial = binding.createTensor(tensor.shape, TF_FLOAT, this.floats(tensor).slice())
    binding.executeOp('AssignVariableOp', [this.#attributes.dtype], [handle, initial], 0)
    binding.deleteTensor(initial)
    this.#variables.set(tensor.dataId, handle)
    return handle
  }

  #valueOf(variable: number): number {
    return this.#backend.binding.executeOp('ReadVariableOp', [this.#attributes.dtype], [variable], 1)[0].id
  }

  /** Takes a tensor's elements from it; its variable may have them. */
  #release({ dataId }: Tensor): void {
    const data = this.#backend.tensorMap.get(dataId)
    if (data.id >= 0) this.#backend.binding.deleteTensor(data.id)
    data.id = -1
    data.values = null
  }

  #destroy(dataId: object): void {
    const variable = this.#variables.get(dataId)
    if (variable === undefined) return
    const { binding } = this.#backend
    this.#variables.delete(dataId)
    binding.executeOp('DestroyResourceOp', [{ name: 'ignore_lookup_error', type: binding.TF_ATTR_BOOL, value: true }], [variable], 0)
    binding.deleteTensor(variable)
  }

  /** A number as a tensor that is ours: not to be deleted. */
  #scalar(value: number): number {
    const { binding } = this.#backend
    const known = this.#scalars.get(value)
    if (known !== undefined) return known
    const made = binding.createTensor([], binding.TF_FLOAT, Float32Array.of(value))
    this.#scalars.set(value, made)
    return made
  }

  #forgetScalars(): void {
    for (const id of this.#scalars.values()) this.#backend.binding.deleteTensor(id)
    this.#scalars.clear()
  }

  #no(name: string): Attribute {
    return { name, type: this.#backend.binding.TF_ATTR_BOOL, value: false }
  }
}
