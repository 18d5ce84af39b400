/** Who is trusted: whoever asks, asks this, at the moment at which it matters. */
export interface Trust {
  /** Whether whoever runs the swarm answers for this PNode now. */
  isTrusted(pnode: string): boolean
  /** Resolves when what `isTrusted` says is not older than a second. @throws codes of the store, retryable */
  refresh(): Promise<void>
}

/** As a function says, which is always right. Default: nobody. */
export function trustBy(isTrusted: (pnode: string) => boolean = () => false): Trust {
  return { isTrusted, refresh: async () => undefined }
}
