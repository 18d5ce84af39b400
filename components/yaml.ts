/**
 * Definitions in YAML, which is how they look:
 *
 *     input: [28, 28, 1]
 *     target: { categorical: 10 }
 *     use: ./custom.ts                       # a module (or a list) with layers, rules, data sets of one's own
 *     layers:
 *       - flatten                            # each layer reads the one before …
 *       - block:                             # a block is one VNode
 *           - dense: 256                     # short for { units: 256 }
 *           - leakyRelu
 *         name: stem
 *       - dense: { units: 256, bias: false }
 *       - add:                               # … or those that it names; `input` is the network's
 *         from: [stem, dense-2]
 *       - vnode: relu                        # a VNode of its own
 *     rule: predsim                          # or { predsim: { weight: 0.2 } }; optimizer and data likewise
 *     optimizer: adam
 *     data: fashion-mnist
 *     batchSize: 128                         # also epochs, seed, learningRate, validation, nonFinite,
 *                                            # refinement: { passes: 1, inputs: 4 }, augmentation: { crop: 4, flip: true },
 *                                            # schedule: { kind: cosine, warmup: 100 },
 *                                            # convergence: alert, or { policy: lowerRate, patience: 3 }
 *
 * The one file that imports yaml.
 */
import { isAlias, isMap, isScalar, isSeq, LineCounter, parseDocument } from 'yaml'
import type { Document, Node, Pair, Scalar, YAMLMap } from 'yaml'
import { isSwarmError, SwarmError } from '../runtime/errors.js'
import type { ErrorCode, ErrorParts } from '../runtime/errors.js'
import { builtInLayer, describe, specOf } from './define.js'
import type { Call, Layer, Options, Target } from './define.js'
import { DEFINITION_VERSION, SOURCE } from './definition.js'
import { categorical, continuous, isShape, networkOf, tokens } from './network.js'
import type { GraphEntry, Network } from './network.js'
import { resolve } from './resolve.js'
import type { Spec, Specs } from './resolve.js'
import { suggest } from './suggest.js'
import { checkFields, DEFINITION_FIELDS } from './training-fields.js'
import type { LoadedDefinition } from './training-fields.js'

export interface YamlOptions {
  /** Name of the file, for errors. */
  readonly file: string
  readonly layers: Specs<Spec>
  readonly rules: Specs<Spec>
  readonly optimizers: Specs<Spec>
  readonly datasets: Specs<Spec>
  /** Loads a module that `use` names; its exports. Default: `use` is refused. */
  load?(module: string): Promise<{ readonly [name: string]: unknown }>
}

const TRAINING_FIELDS = DEFINITION_FIELDS.filter((field) => field !== 'network')
const TARGETS = { categorical, continuous, tokens }
const KEYS = ['v', 'input', 'target', 'use', 'layers', ...TRAINING_FIELDS]

/**
 * Reads a definition.
 * @throws `definition.invalid`, `definition.version`, `graph.unknown`, each with file:line; what `load` throws
 */
export async function readYaml(text: string, options: YamlOptions): Promise<LoadedDefinition> {
  const lines = new LineCounter()
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false })
  const reader = new Reader(document, lines, options)
  await reader.use()
  return reader.definition()
}

type Maker = (options?: Options) => unknown

class Reader {
  readonly #document: Document
  readonly #lines: LineCounter
  readonly #options: YamlOptions
  readonly #root: YAMLMap
  /** Exports of the modules that `use` names. */
  readonly #exports: unknown[] = []
  #blocks = 0

  constructor(document: Document.Parsed, lines: LineCounter, options: YamlOptions) {
    this.#document = document
    this.#lines = lines
    this.#options = options
    const [error] = document.errors
    if (error) {
      const { line, col } = lines.linePos(error.pos[0])
      throw new SwarmError('definition.invalid', { what: error.message, where: `${options.file}:${line}:${col}` })
    }
    if (!isMap(document.contents)) throw this.#invalid(document.contents, 'the file', 'a mapping with input, target and layers')
    this.#root = document.contents
    for (const { key } of this.#root.items as Pair<Scalar>[]) {
      if (KEYS.includes(String(key.value))) continue
      throw this.#error(key, 'graph.unknown', { what: `unknown key '${String(key.value)}'`, fix: suggest(String(key.value), KEYS) })
    }
    const version = this.#plain(this.#get('v')) ?? DEFINITION_VERSION
    if (version !== DEFINITION_VERSION) {
      const fix = 'Use the version of swarmgrad that it was written for'
      throw this.#error(this.#get('v'), 'definition.version', {
        what: 'version of the definition',
        expected: DEFINITION_VERSION,
        got: describe(version),
        fix,
      })
    }
  }

  /** Loads the modules that `use` names. */
  async use(): Promise<void> {
    const node = this.#get('use')
    const value = this.#plain(node)
    for (const module of value === undefined ? [] : [value].flat()) {
      if (typeof module !== 'string' || !this.#options.load) throw this.#invalid(node, "'use'", 'a file, or a list of files')
      this.#exports.push(...Object.values(await this.#options.load(module)))
    }
  }

  definition(): LoadedDefinition {
    const fields = Object.fromEntries(TRAINING_FIELDS.map((field) => [field, this.#plain(this.#get(field))]))
    const { rules, optimizers, datasets } = this.#options
    const calls = {
      rule: this.#setting('rule', 'rule', rules),
      optimizer: this.#setting('optimizer', 'optimizer', optimizers),
      data: this.#setting('data', 'dataset', datasets),
    }
    return checkFields({ ...fields, ...calls, network: this.#network() }, (field) => this.#place(this.#get(field)))
  }

  #network(): Network {
    const input = this.#plain(this.#get('input'))
    if (!isShape(input)) throw this.#invalid(this.#get('input'), "'input'", 'a shape such as [28, 28, 1]')
    const layers = this.#get('layers')
    if (!isSeq(layers) || layers.items.length === 0) throw this.#invalid(layers, "'layers'", 'a list of layers')
    const entries = layers.items.flatMap((item) => this.#entries(item as Node))
    return this.#located(layers, () => networkOf({ input, target: this.#target() }, entries))
  }

  #target(): Target {
    const node = this.#get('target')
    const value = this.#plain(node)
    const [entry, ...more] = typeof value === 'object' && value !== null ? Object.entries(value) : []
    const [kind, size] = entry ?? ['', undefined]
    const make = Object.hasOwn(TARGETS, kind) ? TARGETS[kind as keyof typeof TARGETS] : undefined
    if (more.length > 0 || !make) throw this.#invalid(node, "'target'", '{ categorical: 10 }, { tokens: 65 } or { continuous: 1 }')
    return this.#located(node, () => make(size as number))
  }

  /** The layers of one item of a list: one, or those of a block. */
  #entries(item: Node, vnode?: GraphEntry['vnode']): GraphEntry[] {
    const { key, name, from, value } = this.#item(item)
    const place = this.#place(item)
    const kind = String(key.value)
    if (kind !== 'block' && kind !== 'vnode') {
      return [{ layer: this.#layer(key, value), place, ...(name && { name }), ...(from && { from }), ...(vnode && { vnode }) }]
    }
    const members = kind === 'vnode' ? [value] : isSeq(value) ? (value.items as Node[]) : []
    if (members.length === 0 || !members[0])
      throw this.#invalid(value ?? key, `'${kind}'`, kind === 'block' ? 'a list of layers' : 'a layer')
    const own = vnode ?? { key: ++this.#blocks, ...(name && { name }) }
    const [first, ...rest] = members.flatMap((member) => this.#entries(member as Node, own))
    return [{ ...(from && { from }), ...first }, ...rest]
  }

  /** An item's parts: `dense`, or a mapping of one layer with `name` and `from`. */
  #item(item: Node): { key: Scalar; value?: Node; name?: string; from?: string[] } {
    const node = this.#follow(item)
    if (isScalar(node) && typeof node.value === 'string') return { key: node }
    if (!isMap(node)) throw this.#invalid(item, 'a layer', 'its name, or its name with options')
    const pairs = node.items as Pair<Scalar, Node | null>[]
    const kinds = pairs.filter(({ key }) => key.value !== 'name' && key.value !== 'from')
    if (kinds.length !== 1) {
      const got = kinds.map(({ key }) => String(key.value)).join(' and ') || 'none'
      throw this.#error(item, 'definition.invalid', { what: 'an item of the list', expected: "one layer besides 'name' and 'from'", got })
    }
    const name = this.#plain(node.get('name', true))
    const from = this.#plain(node.get('from', true))
    if (name !== undefined && (typeof name !== 'string' || name === 'input'))
      throw this.#invalid(item, "'name'", "a string that is not 'input'")
    const sources = from === undefined ? undefined : [from].flat()
    if (sources && (sources.length === 0 || !sources.every((source) => typeof source === 'string'))) {
      throw this.#invalid(node.get('from', true), "'from'", 'the name of a layer, or a list of them')
    }
    const { key, value } = kinds[0]
    return { key, value: this.#follow(value), name, from: sources?.map((source) => (source === 'input' ? SOURCE : source)) }
  }

  #layer(key: Scalar, value?: Node): Layer {
    const name = String(key.value)
    const own = this.#own('block', name)
    const options = this.#callOptions(key, value, own?.spec ?? this.#options.layers[name])
    return own ? (this.#located(key, () => own.maker(options)) as Layer) : builtInLayer(name, options)
  }

  /** A rule, an optimizer or a data set: its name, or its name with options. */
  #setting(field: string, kind: Call['kind'], specs: Specs<Spec>): Call | undefined {
    const node = this.#follow(this.#get(field))
    if (!node || (isScalar(node) && node.value === null)) return undefined
    const [key, value] =
      isScalar(node) && typeof node.value === 'string'
        ? [node]
        : isMap(node) && node.items.length === 1
          ? [(node.items[0] as Pair<Scalar>).key, node.items[0].value as Node | undefined]
          : []
    if (!key) throw this.#invalid(node, `'${field}'`, 'a name, or one name with options')
    const name = String(key.value)
    const own = kind === 'rule' || kind === 'dataset' ? this.#own(kind, name) : undefined
    const options = this.#callOptions(key, value, own?.spec ?? specs[name])
    if (own) return this.#located(key, () => own.maker(options)) as Call
    const call = { kind, name, options }
    const { ref } = resolve(call, specs, {}, this.#place(key))
    return { ...call, options: ref.options }
  }

  /** A definition of one's own. */
  #own(kind: 'block' | 'rule' | 'dataset', name: string): { spec: Spec; maker: Maker } | undefined {
    const maker = this.#exports.find((value) => specOf(value, kind)?.name === name)
    return maker === undefined ? undefined : { spec: specOf(maker, kind) as Spec, maker: maker as Maker }
  }

  #callOptions(key: Scalar, value: Node | undefined, spec: Spec | undefined): Options {
    const plain = this.#plain(value)
    if (plain === undefined) return {}
    if (typeof plain === 'object' && !Array.isArray(plain)) return plain as Options
    if (!spec) return {} // An unknown name: refused with its place when the network is compiled.
    if (spec.positional) return { [spec.positional]: plain as string }
    throw this.#invalid(value ?? key, `options of '${String(key.value)}'`, 'none, or a mapping of options by name')
  }

  #get(key: string): Node | undefined {
    return this.#root.get(key, true)
  }

  #follow(node: Node | undefined | null): Node | undefined {
    return (isAlias(node) ? node.resolve(this.#document) : node) ?? undefined
  }

  /** A node's value; null, which is what `key:` alone gives, counts as nothing. */
  #plain(node: unknown): unknown {
    return ((node as Node | undefined)?.toJS(this.#document) as unknown) ?? undefined
  }

  #place(node: Node | undefined | null): string {
    const start = node?.range?.[0]
    return start === undefined ? this.#options.file : `${this.#options.file}:${this.#lines.linePos(start).line}`
  }

  #located<T>(node: Node | undefined, make: () => T): T {
    try {
      return make()
    } catch (error) {
      throw isSwarmError(error) ? this.#error(node, error.code, { what: error.message, cause: error }) : error
    }
  }

  #error(node: Node | undefined | null, code: ErrorCode, parts: ErrorParts): SwarmError {
    return new SwarmError(code, { where: this.#place(node), ...parts })
  }

  #invalid(node: unknown, what: string, expected: string): SwarmError {
    const got = node ? describe(this.#plain(node)) : 'nothing'
    return this.#error(node as Node | undefined, 'definition.invalid', { what, expected, got })
  }
}
