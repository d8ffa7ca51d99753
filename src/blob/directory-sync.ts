// Syncing directories, so that the names of new files survive a crash. Callers that ask for the same
// directory while a sync is running share the next one: it begins after all of them made their entries.

import { open } from 'node:fs/promises';

/** Resolves when every entry made in the directory before the call is durable. */
export type DirectorySync = (dir: string) => Promise<void>;

type State = { running: Promise<void>; next: Promise<void> | undefined };

/** Makes a sync function whose callers share work. */
export function createDirectorySync(): DirectorySync {
  const states = new Map<string, State>();
  const start = (dir: string): Promise<void> => {
    const running = syncDirectory(dir);
    const state: State = { running, next: undefined };
    states.set(dir, state);
    const forget = (): void => {
      if (states.get(dir) === state && !state.next) states.delete(dir);
    };
    running.then(forget, forget);
    return running;
  };
  return (dir) => {
    const state = states.get(dir);
    if (!state) return start(dir);
    // A running sync may have passed our entry already, so wait for it and start one more for all of us.
    state.next ??= state.running.then(
      () => start(dir),
      () => start(dir),
    );
    return state.next;
  };
}

async function syncDirectory(dir: string): Promise<void> {
  const handle = await open(dir, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
