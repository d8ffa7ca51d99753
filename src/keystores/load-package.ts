// Vendor packages are large and most installations need none: each is loaded when a configuration names its
// store, and a missing one is an error that says how to get it.

import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { KeyStoreError } from '../keys/key-store.ts';

/** Versions of packages that are no development dependency, because they are built where they are installed. */
const builtPackages: Readonly<Record<string, string>> = { pkcs11js: '2.1.7' };

/**
 * Runs `load` (`() => import('name')`) and explains a missing package. Throws `KeyStoreError` `failed`.
 */
export async function loadPackage<T>(name: string, load: () => Promise<T>): Promise<T> {
  try {
    return await load();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ERR_MODULE_NOT_FOUND') throw error;
    const root = fileURLToPath(new URL('../..', import.meta.url));
    throw new KeyStoreError(
      'failed',
      `the package ${name} is not installed: run npm install --no-save ${name}@${versionOf(name)} in ${root}`,
      { cause: error },
    );
  }
}

function versionOf(name: string): string {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8');
  const { devDependencies } = JSON.parse(text) as { devDependencies: Record<string, string> };
  return devDependencies[name] ?? builtPackages[name] ?? 'latest';
}
