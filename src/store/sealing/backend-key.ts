// The backend key: 32 bytes from the KMS under the default master key of the day the directory was sealed, stored
// sealed, bound to the deployment, opened once at start and kept in memory only. It seals all metadata.

import { type Kms, KmsError } from '../../sse/kms.ts';
import { BackendError, type SealedBackendKey } from './format.ts';

const keyBytes = 32;

const contextOf = (deploymentId: string): Record<string, string> => ({
  'coffer-backend': deploymentId,
});

/** A new backend key. Throws `KmsError`. The caller wipes the plain form. */
export async function createBackendKey(
  kms: Kms,
  deploymentId: string,
): Promise<{ readonly plaintext: Uint8Array; readonly sealed: SealedBackendKey }> {
  const dataKey = await kms.generateKey(kms.defaultKeyName, contextOf(deploymentId));
  const { plaintext, ciphertext, keyName } = dataKey;
  if (plaintext.length !== keyBytes) {
    throw new KmsError('failed', 'The key service gave a data key that is not 32 bytes long.');
  }
  return { plaintext, sealed: { keyName, ciphertext } };
}

/**
 * The backend key in plain form, under the master key that was recorded, whatever the default is today. Throws
 * `BackendError` `wrong-key` when this key service can never open it, and `KmsError` for everything that may
 * pass (`unreachable`, `key-disabled`, `not-authorized`, …). The caller wipes it.
 */
export async function openBackendKey(
  kms: Kms,
  deploymentId: string,
  sealed: SealedBackendKey,
): Promise<Uint8Array> {
  const { keyName, ciphertext } = sealed;
  try {
    const plaintext = await kms.decrypt(keyName, ciphertext, contextOf(deploymentId));
    if (plaintext.length === keyBytes) return plaintext;
    throw new KmsError('failed', 'The key service gave a data key that is not 32 bytes long.');
  } catch (error) {
    if (error instanceof KmsError && error.code === 'key-not-found') {
      throw new BackendError(
        'wrong-key',
        `The data directory is sealed under the master key '${keyName}', which this key service does not have. Configure the key service that has it, or restore the key there.`,
        { cause: error },
      );
    }
    if (error instanceof KmsError && error.code === 'invalid-ciphertext') {
      throw new BackendError(
        'wrong-key',
        `The data directory is sealed under a master key '${keyName}' that is not the one of this name in this key service. Configure the key service it was sealed with.`,
        { cause: error },
      );
    }
    throw error;
  }
}
