// From a configuration to an open key store: the adapter of the product, the generations that let keys
// change there, and the wrapping key in front. An adapter and its packages are loaded only when a
// configuration names it.

import type { Log } from '../../base/log.ts';
import type { KesConfig } from '../../kes/config/config.ts';
import type { KeyStoreConfig, WrappingConfig } from '../../kes/config/keystore.ts';
import type { KeyStore } from '../../keys/key-store.ts';
import { openFileKeyStore } from '../../keystores/files/key-store.ts';
import { openGenerations } from '../../keystores/generations.ts';
import { MemoryKeyStore } from '../../keystores/memory.ts';
import type { SecretStore } from '../../keystores/secret-store.ts';
import { openWrapped } from '../../keystores/wrapping/wrapped.ts';
import type { WrappingKey } from '../../keystores/wrapping/wrapping-key.ts';

export type KeyStoreDeps = { readonly log: Log };

/**
 * Opens the store and reaches its product once. Rejects with `KeyStoreError`, leaving nothing open. Closing the store
 * closes everything.
 */
export async function openKeyStore(
  config: Pick<KesConfig, 'keyStore' | 'wrapping'>,
  deps: KeyStoreDeps,
): Promise<KeyStore> {
  const store = await openProduct(config.keyStore, deps);
  if (config.wrapping === undefined) return store;
  try {
    return openWrapped(store, await openWrappingKey(config.wrapping));
  } catch (error) {
    await store.close();
    throw error;
  }
}

async function openProduct(config: KeyStoreConfig, deps: KeyStoreDeps): Promise<KeyStore> {
  if (config.type === 'fs') return openFileKeyStore(config.path);
  if (config.type === 'memory') return new MemoryKeyStore();
  return openGenerations(await openSecrets(config, deps));
}

type RemoteConfig = Exclude<KeyStoreConfig, { readonly type: 'fs' | 'memory' }>;

async function openSecrets(config: RemoteConfig, deps: KeyStoreDeps): Promise<SecretStore> {
  switch (config.type) {
    case 'vault':
      return (await import('../../keystores/vault/secrets.ts')).openVaultSecrets(
        config.settings,
        deps,
      );
    case 'aws':
      return (await import('../../keystores/aws/secrets.ts')).openAwsSecrets(config.settings, deps);
    case 'gcp':
      return (await import('../../keystores/gcp/secrets.ts')).openGcpSecrets(config.settings, deps);
    case 'azure':
      return (await import('../../keystores/azure/secrets.ts')).openAzureSecrets(
        config.settings,
        deps,
      );
    case 'gemalto':
      return (await import('../../keystores/vendors/gemalto.ts')).openGemaltoSecrets(
        config.settings,
        deps,
      );
    case 'fortanix':
      return (await import('../../keystores/vendors/fortanix.ts')).openFortanixSecrets(
        config.settings,
        deps,
      );
    case 'entrust':
      return (await import('../../keystores/vendors/entrust.ts')).openEntrustSecrets(
        config.settings,
        deps,
      );
    case 'kmip':
      return (await import('../../keystores/kmip/secrets.ts')).openKmipSecrets(
        config.settings,
        deps,
      );
    default:
      return config satisfies never;
  }
}

async function openWrappingKey(config: WrappingConfig): Promise<WrappingKey> {
  switch (config.type) {
    case 'aws':
      return (await import('../../keystores/wrapping/aws-kms.ts')).openAwsKms(config.settings);
    case 'gcp':
      return (await import('../../keystores/wrapping/gcp-kms.ts')).openGcpKms(config.settings);
    case 'azure':
      return (await import('../../keystores/wrapping/azure-key.ts')).openAzureKey(config.settings);
    case 'pkcs11':
      return (await import('../../keystores/wrapping/pkcs11.ts')).openPkcs11(config.settings);
    default:
      return config satisfies never;
  }
}
