/** Flags of Node for processes that simulate: frames and messages live for a moment, and with more room for what is new most are gone before they are looked at. */
export const SIMULATING: readonly string[] = ['--max-semi-space-size=64']
