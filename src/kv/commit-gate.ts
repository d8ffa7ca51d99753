// Stops the commits of this process for a moment. LMDB's open writes the transaction number it read from the
// file into the memory that all processes share, without any lock: a commit of another process in between is
// forgotten and overwritten by the next one. So nothing may commit, in any process, while a process opens the
// store; whoever coordinates the processes holds every gate meanwhile.

/** Lets commits through, except while it is held. */
export class CommitGate {
  #underWay = 0;
  #released: PromiseWithResolvers<void> | undefined;
  #quiet: PromiseWithResolvers<void> | undefined;

  /** Runs the commit, after the gate is released if it is held. */
  async pass<T>(commit: () => Promise<T>): Promise<T> {
    while (this.#released) await this.#released.promise;
    this.#underWay += 1;
    try {
      return await commit();
    } finally {
      this.#underWay -= 1;
      if (this.#underWay === 0) this.#quiet?.resolve();
    }
  }

  /** Resolves when no commit is under way; none begins until `release`. */
  async hold(): Promise<void> {
    this.#released ??= Promise.withResolvers<void>();
    if (this.#underWay === 0) return;
    this.#quiet ??= Promise.withResolvers<void>();
    await this.#quiet.promise;
  }

  /** Lets the commits that wait begin. */
  release(): void {
    const released = this.#released;
    this.#released = undefined;
    this.#quiet = undefined;
    released?.resolve();
  }
}
