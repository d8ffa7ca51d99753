// Which scheduled keys are to be destroyed now. The time at which a key was scheduled may itself come from a
// clock that was wrong, decades behind say: once the clock is right, the key would be long overdue although
// nobody has waited. So a key whose time passed a while ago when this process notices it is kept for a day
// more, or for its own waiting time when that is shorter, counted by this process and not by the time of day.

import type { CalmClock } from './calm-clock.ts';

/** A key that is overdue by no more than this was destroyed late and not by a wrong clock. */
export const lateMsMax = 2 * 3_600_000;
/** The longest an overdue key is kept. */
export const keptMsMax = 24 * 3_600_000;

/** When a key was scheduled, if its text says so, and when it is destroyed; milliseconds since 1970. */
export type Schedule = { readonly scheduledAtMs?: number; readonly destroyAtMs: number };

type Kept = { readonly destroyAtMs: number; readonly since: number };

/** A process has one for each key store, which reloads hand on. */
export class DueKeys {
  readonly #clock: CalmClock;
  readonly #now: () => number;
  readonly #onKept: (name: string, forMs: number) => void;
  /** Overdue keys that wait, by name. */
  readonly #kept = new Map<string, Kept>();

  /** `now` counts milliseconds and never goes back. `onKept` is told once of each key that is kept. */
  constructor(deps: {
    readonly clock: CalmClock;
    readonly now: () => number;
    readonly onKept?: (name: string, forMs: number) => void;
  }) {
    this.#clock = deps.clock;
    this.#now = deps.now;
    this.#onKept = deps.onKept ?? (() => {});
  }

  /** Lets the clock see the time; to be called every minute or so. */
  tick(): void {
    this.#clock.nowMs();
  }

  /** Whether a key is to be destroyed now. Begins the waiting of one that is overdue. */
  isDue(name: string, schedule: Schedule): boolean {
    const { destroyAtMs, scheduledAtMs } = schedule;
    if (!this.#clock.isPast(destroyAtMs)) {
      this.#kept.delete(name);
      return false;
    }
    let kept = this.#kept.get(name);
    if (kept?.destroyAtMs !== destroyAtMs) {
      if (this.#clock.nowMs() - destroyAtMs <= lateMsMax) return true;
      kept = { destroyAtMs, since: this.#now() };
      this.#kept.set(name, kept);
      this.#onKept(name, keptMs(destroyAtMs, scheduledAtMs));
    }
    return this.#now() - kept.since >= keptMs(destroyAtMs, scheduledAtMs);
  }

  /** The key is destroyed, or gone. */
  forget(name: string): void {
    this.#kept.delete(name);
  }
}

function keptMs(destroyAtMs: number, scheduledAtMs: number | undefined): number {
  const waitMs = scheduledAtMs === undefined ? keptMsMax : destroyAtMs - scheduledAtMs;
  return Math.min(keptMsMax, Math.max(0, waitMs));
}
