/** Single keys of a terminal, without Enter. */

/** Calls the function of a key until the returned one is called, which restores the terminal. Without a terminal: nothing. */
export function listenForKeys(keys: { readonly [key: string]: () => void }): () => void {
  const { stdin } = process
  if (!stdin.isTTY) return () => {}
  const onData = (text: string) => {
    for (const key of text) keys[key]?.()
  }
  const restore = () => {
    stdin.off('data', onData)
    process.off('exit', restore)
    stdin.setRawMode(false)
    stdin.pause()
  }
  stdin.setRawMode(true)
  stdin.setEncoding('utf8')
  stdin.on('data', onData)
  // However the process ends by itself: a shell in raw mode is a broken shell.
  process.on('exit', restore)
  return restore
}
