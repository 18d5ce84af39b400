/** Who was convicted in a simulation beside hosts that lie, and whether that was just. */
import { decodeHostRecord } from '../../actors/trust/host-record.js'
import { type Evidence, evidencePrefix } from '../../actors/checks/evidence.js'
import type { AdversaryName } from '../../adversaries/adversaries.js'

/** Hosts that lie, and what holds all the same. */
export interface Liars {
  /** By name of the host. */
  readonly attacks: ReadonlyMap<string, AdversaryName>
  /**
   * Which checkpoints say what an honest run says: `all`; those that are left at the `end`; those as well, but only if all who have lied about a state were `found` out;
   * `none`, where liars may agree with each other.
   */
  readonly promise: 'all' | 'end' | 'found' | 'none'
  /** Nobody is there whose word settles disputes, and liars may be a majority of a panel: that honest hosts are convicted is counted, and no violation. */
  readonly mayWrong: boolean
}

/** What became of disputes. */
export interface Tally {
  /** In which somebody was convicted; each VNode, step and generation once. */
  readonly disputes: number
  readonly convicted: number
  /** Of them: honest ones. */
  readonly wronged: number
  /** Settled by panels; of them, with an honest host convicted; and how many such are to be expected at most, as the evidence says. */
  readonly panels: number
  readonly wrongPanels: number
  readonly expectedWrongPanels: number
}

export class Justice {
  readonly #liars: Liars
  readonly #run: string
  readonly #fail: (what: string) => void
  readonly #evidence = new Map<string, Evidence>()

  constructor(liars: Liars, run: string, fail: (what: string) => void) {
    this.#liars = liars
    this.#run = run
    this.#fail = fail
  }

  /** An object is stored. */
  onPut(key: string, bytes: Uint8Array): void {
    const { mayWrong } = this.#liars
    if (key.startsWith(evidencePrefix(this.#run))) {
      const evidence = JSON.parse(new TextDecoder().decode(bytes)) as Evidence
      this.#evidence.set(key, evidence)
      const wronged = this.#wronged(evidence)
      if (wronged.length > 0 && !mayWrong) this.#fail(`honest hosts are convicted: ${wronged.join(', ')} by ${JSON.stringify(evidence)}`)
    } else if (key.startsWith('trust/hosts/')) {
      const { pnode, convictions } = decodeHostRecord(bytes, key)
      if (convictions.length > 0 && !mayWrong && !this.#liars.attacks.has(pnode)) this.#fail(`${pnode} is honest and has a record`)
    }
  }

  get evidence(): readonly Evidence[] {
    return [...this.#evidence.values()]
  }

  get tally(): Tally {
    const all = this.evidence
    const panels = all.filter(({ by }) => by === 'panel')
    const isWrong = (evidence: Evidence) => this.#wronged(evidence).length > 0
    return {
      disputes: all.length,
      convicted: new Set(all.flatMap(({ convicted }) => convicted.map(({ host }) => host))).size,
      wronged: new Set(all.flatMap((evidence) => this.#wronged(evidence))).size,
      panels: panels.length,
      wrongPanels: panels.filter(isWrong).length,
      expectedWrongPanels: panels.reduce((sum, { wrongWith }) => sum + wrongWith, 0),
    }
  }

  #wronged({ convicted }: Evidence): string[] {
    return convicted.flatMap(({ host }) => (this.#liars.attacks.has(host) ? [] : [host]))
  }
}
