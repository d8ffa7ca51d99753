// What this program is and where it runs from, for `kes --version` and `kes update`.

import { existsSync, readFileSync } from 'node:fs';
import { sep } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The version of the package; empty when its manifest has none. */
export function readVersion(): string {
  const manifest: unknown = JSON.parse(readFileSync(`${installFolder()}package.json`, 'utf8'));
  const hasVersion = typeof manifest === 'object' && manifest !== null && 'version' in manifest;
  return hasVersion ? String(manifest.version) : '';
}

/** The folder of the package, ending in a separator. */
export function installFolder(): string {
  return fileURLToPath(new URL('../../../', import.meta.url));
}

/** How a copy in that folder came there: with npm as a package, with git, or in another way. */
export function installKind(folder: string): 'package' | 'checkout' | 'copy' {
  if (folder.includes(`${sep}node_modules${sep}`)) return 'package';
  return existsSync(`${folder}.git`) ? 'checkout' : 'copy';
}
