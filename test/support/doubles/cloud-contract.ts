// From a secret store under its contract to a key store under its own.

import { openGenerations } from '../../../src/keystores/generations.ts';
import type { OpenedStore } from '../../contract/key-store.ts';
import type { OpenedSecrets } from '../../contract/secret-store.ts';

/** The key store on an opened secret store; what it waits for is short, as the double is near. */
export function keysOn(opened: OpenedSecrets): OpenedStore {
  const options = { settleMs: 20 };
  return {
    store: openGenerations(opened.store, options),
    openAgain: async () => openGenerations(await opened.openAgain(), options),
    close: opened.close,
  };
}
