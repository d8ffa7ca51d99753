// Reads only what a configuration file says about its key store, for commands that open stores themselves:
// such a file may hold `keystore` (and `wrapping`) alone, or be the whole configuration of a server.

import { readFile } from 'node:fs/promises';
import type { KesConfig } from '../../kes/config/config.ts';
import { readKeyStore, readWrapping } from '../../kes/config/keystore.ts';
import { configFileSchema } from '../../kes/config/schema.ts';
import {
  type ConfigPath,
  type Environment,
  KesConfigError,
  parseConfigYaml,
} from '../../kes/config/yaml.ts';

/** A key store as a configuration names it. */
export type KeyStoreFile = Pick<KesConfig, 'keyStore' | 'wrapping'>;

/** Throws `KesConfigError`, with the name of the file in front and the line if one is to blame. */
export async function readKeyStoreFile(path: string, env: Environment): Promise<KeyStoreFile> {
  try {
    return parseKeyStoreFile(await readText(path), env);
  } catch (error) {
    if (!(error instanceof KesConfigError)) throw error;
    const place = error.line === undefined ? path : `${path}:${error.line}`;
    throw new KesConfigError(`${place}: ${error.message}`, { cause: error });
  }
}

/** As `readKeyStoreFile`, from its text. */
export function parseKeyStoreFile(text: string, env: Environment): KeyStoreFile {
  const document = parseConfigYaml(text, env);
  const { keystore, wrapping } = document.root;
  const at = (path: ConfigPath) => {
    const line = document.lineOf(path);
    return line === undefined ? {} : { line };
  };
  const parsed = configFileSchema.safeParse({ keystore, wrapping });
  if (!parsed.success) {
    const path = parsed.error.issues[0]?.path ?? [];
    const name = path.map(String).join('.');
    throw new KesConfigError(`kesconf: ${name}: this is not what belongs here`, at(path));
  }
  try {
    const wrappingConfig = readWrapping(parsed.data.wrapping);
    const keyStore = readKeyStore(parsed.data.keystore);
    return { keyStore, ...(wrappingConfig && { wrapping: wrappingConfig }) };
  } catch (error) {
    if (!(error instanceof KesConfigError)) throw error;
    throw new KesConfigError(error.message, { cause: error, ...at(error.at ?? ['keystore']) });
  }
}

async function readText(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const reason = code === 'ENOENT' ? 'no such file or directory' : message;
    throw new KesConfigError(`cannot be read: ${reason}`, { cause: error });
  }
}
