/** A trained network, ready to answer. */
export interface Model {
  close(): Promise<void>
}
export async function openModel(_store: unknown, _run: string, _options: unknown): Promise<Model> {
  throw new Error('soon')
}
