// The configurations that the documentation shows, so that tests open what operators copy.

import { readFileSync } from 'node:fs';
import path from 'node:path';
import { parseKesConfig } from '../../src/kes/config/config.ts';
import type { KeyStoreConfig } from '../../src/kes/config/keystore.ts';
import { projectRoot } from './programs.ts';

/** The key store of the first whole configuration in `docs/<page>`, with references filled in from `env`. */
export function documentedKeyStore(
  page: string,
  env: Readonly<Record<string, string>>,
): KeyStoreConfig {
  const text = readFileSync(path.join(projectRoot, 'docs', page), 'utf8');
  const block = [...text.matchAll(/```yaml\n(.*?)```/gs)].find(([, yaml]) => {
    return yaml?.startsWith('version: v1');
  });
  return parseKesConfig(block?.[1] ?? '', { KES_ADMIN: 'a'.repeat(64), ...env }).keyStore;
}
