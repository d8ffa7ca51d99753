// Opening the metadata of a data directory, plain or sealed. The first start with a KMS seals the directory for
// good: it records a new backend key and the state `sealing`, seals every plain value, and records `sealed`. A
// crash in between resumes at the next start. Several processes may do all of this at once.

import { randomUUID } from 'node:crypto';
import type { Log } from '../../base/log.ts';
import type { Kms } from '../../sse/kms.ts';
import { createBackendKey, openBackendKey } from './backend-key.ts';
import {
  assertFormatMac,
  BackendError,
  decodeFormat,
  encodeFormat,
  type Format,
  formatEntryKey,
} from './format.ts';
import { tables } from '../keys.ts';
import type { Kv, KvEntry } from '../kv.ts';
import { PlainKv } from './plain-kv.ts';
import { SealedKv, ValueSealer } from './sealed-kv.ts';
import { hasSealedValues, sealAllValues } from './sealing.ts';

export type Backend = {
  /** What everything above works with. Closing it closes the engine. */
  readonly kv: Kv;
  readonly deploymentId: string;
  readonly isSealed: boolean;
  /** The master key that seals the backend key. */
  readonly keyName?: string;
};

export type BackendDeps = {
  /** The engine, unwrapped. */
  readonly kv: Kv;
  readonly kms: Kms | undefined;
  readonly log: Log;
};

/**
 * Opens the metadata; on an error the engine stays open. Throws `BackendError` when this directory and this
 * configuration will never fit, `KmsError` when the KMS is the obstacle and trying again may help, `KvError`.
 */
export async function openBackend(deps: BackendDeps): Promise<Backend> {
  for (;;) {
    const entry = await deps.kv.get(formatEntryKey);
    const opened = entry ? await openFormat(deps, entry) : await createFormat(deps);
    if (opened) return opened;
    // Another process changed the format, or we did: look again.
  }
}

async function createFormat(deps: BackendDeps): Promise<undefined> {
  const { kv, kms } = deps;
  const some = await kv.list({ start: Buffer.from([0]), end: Buffer.from([0xff]), limit: 1 });
  if (some.length > 0 && !(await kv.get(formatEntryKey))) {
    throw new BackendError(
      'corrupt',
      'The data directory has entries but no format entry. It is damaged, or not a data directory of this program.',
    );
  }
  const deploymentId = randomUUID();
  if (!kms) {
    await writeFormat(kv, undefined, { deploymentId, state: 'plain' }, undefined);
    return;
  }
  const made = await createBackendKey(kms, deploymentId);
  try {
    const format: Format = { deploymentId, state: 'sealed', backendKey: made.sealed };
    await writeFormat(kv, undefined, format, made.plaintext);
  } finally {
    made.plaintext.fill(0);
  }
}

/** Undefined when the format changed and has to be looked at again. */
async function openFormat(deps: BackendDeps, entry: KvEntry): Promise<Backend | undefined> {
  const { kv, kms } = deps;
  const format = decodeFormat(entry);
  const { deploymentId, backendKey } = format;
  if (!backendKey) {
    if (kms) return beginSealing(deps, kms, entry, format);
    const check = { entryKey: formatEntryKey, version: entry.version };
    return { kv: new PlainKv(kv, check), deploymentId, isSealed: false };
  }
  if (!kms) throw kmsRequired(backendKey.keyName);
  const plaintext = await openBackendKey(kms, deploymentId, backendKey);
  try {
    assertFormatMac(entry, plaintext);
    const sealer = new ValueSealer(plaintext);
    if (format.state === 'sealing') {
      deps.log.info('sealing the metadata of the data directory', { keyName: backendKey.keyName });
      const count = await sealAllValues(kv, sealer, tables.system);
      await writeFormat(kv, entry, { ...format, state: 'sealed' }, plaintext);
      deps.log.info('the metadata is sealed', { entries: count });
      return undefined;
    }
    const { keyName } = backendKey;
    const sealedKv = new SealedKv(kv, sealer);
    return { kv: sealedKv, deploymentId, isSealed: true, keyName };
  } finally {
    plaintext.fill(0);
  }
}

/** From this commit on no plain value can be written any more. */
async function beginSealing(
  deps: BackendDeps,
  kms: Kms,
  entry: KvEntry,
  format: Format,
): Promise<undefined> {
  // A new backend key would replace the one that opens what is sealed already.
  if (await hasSealedValues(deps.kv, tables.system)) {
    const found = await deps.kv.get(formatEntryKey);
    // Another process began to seal meanwhile: its format counts.
    if (found?.version !== entry.version) return;
    throw new BackendError(
      'corrupt',
      'The format entry of the data directory says that nothing is sealed, but there are sealed entries: it was replaced. Restore it from a backup; nothing was changed.',
    );
  }
  const made = await createBackendKey(kms, format.deploymentId);
  try {
    const sealing: Format = { ...format, state: 'sealing', backendKey: made.sealed };
    await writeFormat(deps.kv, entry, sealing, made.plaintext);
  } finally {
    made.plaintext.fill(0);
  }
}

/** When another process was faster, its format counts. */
async function writeFormat(
  kv: Kv,
  before: KvEntry | undefined,
  format: Format,
  backendKey: Uint8Array | undefined,
): Promise<void> {
  await kv.commit({
    checks: [{ entryKey: formatEntryKey, version: before?.version ?? 'absent' }],
    puts: [{ entryKey: formatEntryKey, value: encodeFormat(format, backendKey) }],
  });
}

function kmsRequired(keyName: string): BackendError {
  return new BackendError(
    'kms-required',
    `The data directory is sealed under the master key '${keyName}' and opens only with its key service. Set MINIO_KMS_KES_ENDPOINT (with MINIO_KMS_KES_API_KEY or a key and certificate), or MINIO_KMS_SECRET_KEY, as it was when the directory was sealed.`,
  );
}
