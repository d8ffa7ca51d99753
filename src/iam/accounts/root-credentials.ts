// The credentials of the operator. They come from the settings; where those give none, they are made at
// random once, kept in the `Kv` and the same at every later start. There is no built-in default.

import { randomInt } from 'node:crypto';

import type { Kv } from '../../store/kv.ts';
import { IamError } from '../iam-error.ts';
import { type Credentials, type CredentialsSource, rootIdentity } from '../identity.ts';

export type RootCredentials = { readonly accessKey: string; readonly secretKey: string };

/**
 * Finds the one access key there is. It gives what `root` returns at that moment, so that a restart of the
 * settings needs no new source.
 */
export function rootCredentialsSource(root: () => RootCredentials): CredentialsSource {
  return {
    find(accessKey: string): Credentials | undefined {
      const { accessKey: rootKey, secretKey } = root();
      if (accessKey !== rootKey) return undefined;
      return { accessKey, secretKey, identity: rootIdentity(accessKey) };
    },
  };
}

/** Checks credentials from the settings. Throws `IamError` with `invalid-credentials`. */
export function checkRootCredentials(credentials: RootCredentials): RootCredentials {
  const { accessKey, secretKey } = credentials;
  if (accessKey.length < 3 || /[\s=,]/.test(accessKey)) {
    throw new IamError(
      'invalid-credentials',
      "MINIO_ROOT_USER must have at least 3 characters, and no blank, '=' or ','.",
    );
  }
  if (secretKey.length < 8) {
    throw new IamError(
      'invalid-credentials',
      'MINIO_ROOT_PASSWORD must have at least 8 characters.',
    );
  }
  return credentials;
}

/** New random credentials: 20 and 40 letters and digits, 103 and 238 bits. */
export function generateRootCredentials(): RootCredentials {
  return {
    accessKey: randomText(20, 'ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789'),
    secretKey: randomText(40, 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789'),
  };
}

/** The credentials generated earlier, if any. Throws `IamError` (`corrupt`) and `KvError`. */
export async function findGeneratedCredentials(kv: Kv): Promise<RootCredentials | undefined> {
  const entry = await kv.get(rootEntryKey());
  return entry === undefined ? undefined : decodeCredentials(entry.value);
}

/**
 * The generated credentials: those stored, or new ones, stored before this resolves. `isNew` tells the one
 * process that made them to show them. Several processes starting at once get the same. Throws as
 * `findGeneratedCredentials`.
 */
export async function loadOrGenerateCredentials(
  kv: Kv,
): Promise<{ readonly credentials: RootCredentials; readonly isNew: boolean }> {
  const stored = await findGeneratedCredentials(kv);
  if (stored !== undefined) return { credentials: stored, isNew: false };
  const credentials = generateRootCredentials();
  const entryKey = rootEntryKey();
  const outcome = await kv.commit({
    checks: [{ entryKey, version: 'absent' }],
    puts: [{ entryKey, value: Buffer.from(JSON.stringify({ version: 1, ...credentials })) }],
  });
  if (outcome === 'committed') return { credentials, isNew: true };
  return loadOrGenerateCredentials(kv);
}

/** Table `iam` of the `Kv`: `a`, the kind, `/`, the name. */
function rootEntryKey(): Buffer {
  return Buffer.from('aroot/credentials');
}

function decodeCredentials(value: Uint8Array): RootCredentials {
  let record: unknown;
  try {
    record = JSON.parse(Buffer.from(value).toString('utf8'));
  } catch {
    // The parser's own message would quote what is stored.
    throw corrupt();
  }
  if (typeof record !== 'object' || record === null) throw corrupt();
  const { version, accessKey, secretKey } = record as Readonly<Record<string, unknown>>;
  if (version !== 1 || typeof accessKey !== 'string' || typeof secretKey !== 'string') {
    throw corrupt();
  }
  return { accessKey, secretKey };
}

function corrupt(): IamError {
  return new IamError(
    'corrupt',
    'The stored root credentials cannot be read; set MINIO_ROOT_USER and MINIO_ROOT_PASSWORD.',
  );
}

function randomText(length: number, alphabet: string): string {
  let text = '';
  for (let at = 0; at < length; at++) text += alphabet.charAt(randomInt(alphabet.length));
  return text;
}
