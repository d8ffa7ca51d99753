// Lets a contract that uses any name of a `SecretStore` run on a product that knows only letters, digits and
// `-`, and does not tell case apart: every other character is written as `-x` and two hex digits.

import type { SecretStore } from '../../../src/keystores/secret-store.ts';

/** The same store under escaped names. */
export function withEscapedNames(store: SecretStore): SecretStore {
  return {
    ...(store.keepsDeleted === undefined ? {} : { keepsDeleted: store.keepsDeleted }),
    create: (name, value) => store.create(escape(name), value),
    get: (name) => store.get(escape(name)),
    delete: (name) => store.delete(escape(name)),
    list: async () => (await store.list()).map(unescape),
    status: () => store.status(),
    close: () => store.close(),
  };
}

function escape(name: string): string {
  return name.replaceAll(/[A-Z_]|-x/g, (text) => {
    return `-x${text.charCodeAt(0).toString(16)}${text.slice(1)}`;
  });
}

function unescape(name: string): string {
  return name.replaceAll(/-x([0-9a-f]{2})/g, (_, hex: string) => {
    return String.fromCharCode(Number.parseInt(hex, 16));
  });
}
