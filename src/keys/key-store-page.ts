// One page of names out of all of them: for stores that can only list everything.

import type { KeyStorePage } from './key-store.ts';

/** Most names on a page. */
export const keyStorePageMax = 1024;

/** The page of `names` (in any order) that `KeyStore.list` asks for. */
export function pageOf(
  names: readonly string[],
  query: { readonly prefix: string; readonly after?: string },
): KeyStorePage {
  const { prefix, after } = query;
  const matching = names
    .filter((name) => name.startsWith(prefix) && (after === undefined || name > after))
    .toSorted();
  return {
    names: matching.slice(0, keyStorePageMax),
    hasMore: matching.length > keyStorePageMax,
  };
}
