/**
 * Bugs as patches of the sources, one at a time: what the simulator must find. Each is a line as somebody might have written it. A patch that
 * does not fit its source any more fails the test, so that none is forgotten when the source changes.
 */
export interface PlantedBug {
  readonly name: string
  /** Path from the root of the repository. */
  readonly file: string
  /** Stands there exactly once. */
  readonly find: string
  readonly replace: string
  /** Found it last, and is tried before all others: that is quicker. Any other seed may find it as well. */
  readonly seed?: number
}

export const PLANTED_BUGS: readonly PlantedBug[] = [
  {
    name: 'frames of an older term are taken',
    file: 'runtime/step-log.ts',
    find: "      if (event.term < input.term) return drop('term')\n      if (event.term > input.term) return drop('ungranted')\n      if (entry.position",
    replace: '      if (entry.position',
    seed: 77,
  },
  {
    name: 'commits of older terms count',
    file: 'actors/run/report-gate.ts',
    find: 'generation === current && directory[vnode]?.term === term',
    replace: 'generation === current && directory[vnode] !== undefined && term > 0',
    seed: 43,
  },
  {
    name: 'what is asked for again begins one step late',
    file: 'runtime/step-log.ts',
    find: 'output.sent = event.resend ? output.next - 1 :',
    replace: 'output.sent = event.resend ? output.next :',
    seed: 1,
  },
  {
    name: 'a credit that was lost is not given again',
    file: 'runtime/step-log.ts',
    find: 'this.#grant(out, this.#applied === this.#appliedAtTick && this.#isStarved())',
    replace: 'if (this.#applied < 0) this.#grant(out, false)',
    seed: 35,
  },
  {
    name: 'the head names a manifest before it is stored',
    file: 'actors/run/checkpoints.ts',
    find: 'await Promise.all([store.put(manifest.trace!',
    replace: 'void Promise.allSettled([store.put(manifest.trace!',
    seed: 1,
  },
  {
    name: 'a commit is told before its state is stored',
    file: 'actors/pnode/vnode-reports.ts',
    find: 'await storeState(host.store',
    replace: 'void storeState(host.store',
    seed: 4,
  },
  {
    name: 'kept outputs are evicted by age',
    file: 'runtime/step-log.ts',
    find: 'this.#retained.keep(entry, ref)\n',
    replace: '(this.#retained.keep(entry, ref), this.#retained.release(position - 2 * this.window - 1, position - 2 * this.window))\n',
    seed: 1,
  },
  {
    name: 'a file is not synced before it is renamed',
    file: 'runtime/object-store/file-store.ts',
    find: 'await file.sync().catch(',
    replace: 'await Promise.resolve().catch(',
    seed: 4,
  },
  {
    name: 'the name of a file is not synced',
    file: 'runtime/object-store/file-store.ts',
    find: '      throw error\n    }\n    await this.#syncFolder(dirname(path))\n  }',
    replace: '      throw error\n    }\n  }',
    seed: 4,
  },
  {
    name: 'a head is written without looking whether another has written it',
    file: 'runtime/head-store.ts',
    find: 'encodeRecord(next), { ifMatch: this.#etag })',
    replace: 'encodeRecord(next))',
    seed: 39,
  },
  {
    name: 'a VNode keeps its term when it moves',
    file: 'runtime/head.ts',
    find: 'term: ++termCounter',
    replace: 'term: directory[vnode]?.term ?? ++termCounter',
    seed: 1,
  },
  {
    name: 'a snapshot is taken a moment late',
    file: 'actors/pnode/vnode-driver.ts',
    find: 'void this.#commit(command.entry)',
    replace: 'void this.#host.clock.sleep(1).then(() => this.#commit(command.entry))',
    seed: 2,
  },
  {
    name: 'the loss of a worker is not told',
    file: 'actors/pnode/hosted-vnodes.ts',
    find: 'if (others.length > 0 || !guilty) this.#tellLoss(',
    replace: 'if (others.length < 0) this.#tellLoss(',
    seed: 177,
  },
  {
    name: 'a grant is taken again by a PNode that has lost what it granted',
    file: 'actors/pnode/terms.ts',
    find: 'if (term < newest || (term === newest && !isHere))',
    replace: 'if (term < newest)',
    seed: 256,
  },
  {
    name: 'a grant of a process that has ended is taken by the one after it',
    file: 'actors/pnode/terms.ts',
    find: 'if (meant !== undefined && meant !== here.incarnation)',
    replace: 'if (meant === "")',
    seed: 83,
  },
  {
    name: 'a grant that is repeated does not tell where the neighbours are',
    file: 'actors/pnode/hosted-vnodes.ts',
    find: 'for (const peer of [...grant.inputs, ...grant.outputs]) current.neighbour(peer)',
    replace: '',
    seed: 395,
  },
  {
    name: 'an end that could not be written down is not tried again',
    file: 'actors/run/run-owner.ts',
    find: "if (this.head.status !== 'running') return\n    this.checks.reviews.lookAgain()",
    replace: "if (this.head.status !== 'running' || Reflect.get(this, 'hasTried')) return\n    Reflect.set(this, 'hasTried', true)",
    seed: 98,
  },
  {
    name: 'each loss asks for everything again',
    file: 'runtime/step-log.ts',
    find: 'if (!this.#hasAsked) this.#grant(out, true)',
    replace: 'this.#grant(out, true)',
    seed: 650,
  },
  {
    name: 'outputs are kept for as long as no checkpoint is heard of',
    file: 'runtime/step-log.ts',
    find: 'if (position > this.#manifest + this.#maxAhead) return false\n',
    replace: '',
    seed: 114,
  },
  {
    name: 'PNodes of different compute classes share a run',
    file: 'actors/placement/assignment.ts',
    find: 'if (computeClass !== undefined) return [computeClass]\n',
    replace: 'if (members.length > 0) return [computeClass]\n',
    seed: 21,
  },
  {
    name: 'evaluations are followed by updates, too',
    file: 'actors/pnode/refinement-queue.ts',
    find: 'const count = isTraining(entry) ? updatesAfter(',
    replace: 'const count = entry.evaluation < 2 ? updatesAfter(',
    seed: 17,
  },
  {
    name: 'what was given against the graph before a checkpoint is forgotten',
    file: 'actors/pnode/vnode-frames.ts',
    find: 'framesGiven(state, ',
    replace: 'framesGiven(undefined, ',
    seed: 1,
  },
  {
    name: 'a checkpoint is in the middle of a step',
    file: 'actors/pnode/source.ts',
    find: 'if (!this.#endsStep(entry)) return entry',
    replace: 'if (entry.evaluation > 0) return entry',
    seed: 889,
  },
  {
    name: 'updates are asked for a moment late',
    file: 'actors/pnode/vnode-driver.ts',
    find: 'const refining = this.#refinement.after(entry)',
    replace: 'const refining = Promise.resolve().then(() => this.#refinement.after(entry))',
    seed: 2,
  },
  {
    name: 'what a standby has kept goes out under the term that it had',
    file: 'actors/pnode/vnode-driver.ts',
    find: 'underTerm(command.ref, this.grant.term)',
    replace: 'underTerm(command.ref, 1) && command.ref',
    seed: 1,
  },
  {
    name: 'a standby that lacks what nobody keeps takes over',
    file: 'actors/pnode/vnode-driver.ts',
    find: 'if (generation !== this.#grant.generation || this.#log.applied <',
    replace: 'if (generation !== this.#grant.generation || this.#log.applied < 0 *',
    seed: 115,
  },
  {
    name: 'a VNode waits for standbys of its consumers',
    file: 'runtime/step-log.ts',
    find: 'isFollower || position < next',
    replace: 'position < next',
    seed: 307,
  },
  {
    name: 'who takes over says nothing of the checkpoint that it has just passed',
    file: 'actors/pnode/vnode-reports.ts',
    find: 'if (one.blob) this.#store(one)',
    replace: 'if (one.blob) Promise.resolve()',
    seed: 163,
  },
  {
    name: 'a standby may be on the machine that it stands by for',
    file: 'actors/run/run-placing.ts',
    find: 'near: undefined, spread: vnodeOf(id)',
    replace: 'near: vnodeOf(id)',
    seed: 2,
  },
  {
    name: 'what a VNode has decided is told with the next checkpoint, too',
    file: 'actors/run/open-cuts.ts',
    find: 'step > after',
    replace: 'step > 0 * after',
    seed: 1,
  },
  {
    name: 'a cut that somebody missed takes decisions with it',
    file: 'actors/pnode/vnode-reports.ts',
    find: 'this.#stalls.filter((one) => one.position <= position)',
    replace: 'this.#stalls.splice(0).filter((one) => one.position <= position)',
    seed: 77,
  },
  {
    name: 'a standby forgets what it has decided in silence',
    file: 'actors/pnode/vnode-reports.ts',
    find: 'isTraining(entry) ? stallOf',
    replace: 'isTraining(entry) && !this.#isSilent ? stallOf',
    seed: 37,
  },
  {
    name: 'who audits a segment takes over the VNode',
    file: 'actors/pnode/vnode-driver.ts',
    find: 'this.#isAudit || !this.#isStarted',
    replace: '!this.#isStarted',
    seed: 75,
  },
]
