/** Ends the servers of a process that has ended, however it ended. */
import { type ChildProcess, spawn } from 'node:child_process'

/**
 * Reads `+ <pid>` and `- <pid>`. Its input ends when this process does, by SIGKILL too: then it ends what is still listed, first by
 * SIGTERM, after five seconds by SIGKILL.
 */
const SCRIPT = `
trap '' HUP INT TERM
pids=
while read -r sign pid; do
  if [ "$sign" = + ]; then pids="$pids $pid"; continue; fi
  rest=
  for each in $pids; do [ "$each" = "$pid" ] || rest="$rest $each"; done
  pids=$rest
done
[ -n "$pids" ] || exit 0
kill -TERM $pids
tries=50
while [ $tries -gt 0 ]; do
  kill -0 $pids || exit 0
  sleep 0.1
  tries=$((tries - 1))
done
kill -KILL $pids
`

const watched = new Set<number>()
let watchdog: ChildProcess | undefined

/** From now on the process is ended with this one. Does nothing where there is no shell (Windows). */
export function watch(pid: number): void {
  watched.add(pid)
  if (process.platform === 'win32') return
  if (watchdog) tell(`+ ${pid}\n`)
  else begin()
}

/** The process has ended. */
export function unwatch(pid: number): void {
  watched.delete(pid)
  tell(`- ${pid}\n`)
}

function begin(): void {
  // In a session of its own: what a terminal sends to this process and its group does not reach it.
  const begun = spawn('/bin/sh', ['-c', SCRIPT], { stdio: ['pipe', 'ignore', 'ignore'], detached: true })
  const forget = () => {
    if (watchdog === begun) watchdog = undefined
  }
  begun.on('error', forget)
  begun.on('exit', forget)
  begun.stdin.on('error', forget)
  begun.unref()
  // The pipe must not keep this process alive either.
  if ('unref' in begun.stdin) (begun.stdin as unknown as { unref(): void }).unref()
  watchdog = begun
  for (const pid of watched) tell(`+ ${pid}\n`)
}

function tell(line: string): void {
  watchdog?.stdin?.write(line)
}
