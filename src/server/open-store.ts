// Opens a data directory: metadata under `meta/`, blobs under `blobs/`, sealed when a key service is
// configured, with the root credentials of the settings or those made on first start. And the S3 edge on
// top of it.

import { join } from 'node:path';

import type { Log } from '../base/log.ts';
import { openFileBlobStore } from '../blob/files.ts';
import { Accounts } from '../iam/accounts/accounts.ts';
import { AccountCredentials } from '../iam/accounts/credentials.ts';
import { loadOrGenerateCredentials } from '../iam/accounts/root-credentials.ts';
import type { CommitGate } from '../kv/commit-gate.ts';
import { openLmdbKv } from '../kv/lmdb.ts';
import { hasRemnants, noteRemnants, removeRemnants } from '../kv/lmdb-remnants.ts';
import { createS3Handler } from '../s3/handler.ts';
import { SigningKeyCache } from '../sigv4/signing-key.ts';
import type { Kms } from '../sse/kms.ts';
import { type Backend, openBackend } from '../store/sealing/backend.ts';
import { decodeFormat, formatEntryKey } from '../store/sealing/format.ts';
import type { Kv } from '../store/kv.ts';
import { startLifecycle } from '../store/lifecycle/lifecycle-schedule.ts';
import { openObjectStore } from '../store/object-store.ts';
import type { ObjectStore } from '../store/types.ts';
import { clientAddressOf } from './client-address.ts';
import type { RequestHandler } from './connections.ts';
import type { ServerMetrics } from './metrics.ts';
import type { WorkerConfig } from './protocol.ts';
import type { RootCredentials, ServerSettings } from './settings.ts';

/** Pause between two looks for blobs to remove, in worker 0. */
const sweepIntervalMs = 60_000;

export type OpenedStore = {
  readonly store: ObjectStore;
  readonly credentials: AccountCredentials;
  readonly accounts: Accounts;
  readonly root: RootCredentials;
  readonly deploymentId: string;
  /** The directory is under a backend key, for good. */
  readonly isSealed: boolean;
  /** Root credentials that this call made: to be shown once. */
  readonly madeCredentials: RootCredentials | undefined;
  close(): Promise<void>;
};

/** How the metadata may be opened beside other workers. */
export type MetadataAccess = {
  readonly gate: CommitGate;
  /** Runs `open` while no worker commits. */
  alone<T>(open: () => Promise<T>): Promise<T>;
};

export type OpenStoreDeps = {
  readonly config: WorkerConfig;
  readonly access: MetadataAccess;
  readonly settings: ServerSettings;
  readonly kms: Kms | undefined;
  readonly log: Log;
  readonly metrics: ServerMetrics;
};

/** Opens everything, or nothing. Throws `KmsError` when the key service does not open the backend key. */
export async function openStore(deps: OpenStoreDeps): Promise<OpenedStore> {
  const { config, settings, kms, log } = deps;
  await using opened = new AsyncDisposableStack();
  const { engine, backend } = await openMetadata(deps);
  opened.defer(() => engine.close());
  const { kv, deploymentId, isSealed } = backend;
  const blobs = await openFileBlobStore(join(config.directory, 'blobs'));
  opened.defer(() => blobs.close());
  const store = await openObjectStore({
    kv,
    blobs,
    kms,
    log,
    settings: {
      isAutoEncrypting: settings.isAutoEncryption,
      blocksSseC: settings.blocksSseC,
      dsseKeyName: settings.dsseKeyName,
      bucketKeyMs: settings.bucketKeyMs,
      ...(settings.inlineMaxBytes === undefined ? {} : { inlineMaxBytes: settings.inlineMaxBytes }),
      ...(config.index === 0 ? { sweepIntervalMs } : {}),
    },
  });
  opened.defer(() => store.close());
  if (config.index === 0) {
    const lifecycle = runLifecycle(deps, store);
    if (lifecycle) opened.defer(() => lifecycle.stop());
  }
  const configured = settings.rootCredentials;
  const generated = configured ? undefined : await loadOrGenerateCredentials(kv);
  const root = configured ?? generated?.credentials;
  if (!root) throw new Error('root credentials are either configured or generated');
  const { rootOwner } = settings;
  const accounts = new Accounts({
    kv,
    rootAccessKey: () => root.accessKey,
    rootOwnerId: rootOwner.ownerId,
    now: Date.now,
  });
  const credentials = new AccountCredentials({ kv, accounts, root: () => root, rootOwner });
  const resources = opened.move();
  return {
    store,
    credentials,
    accounts,
    root,
    deploymentId,
    isSealed,
    madeCredentials: generated?.isNew ? generated.credentials : undefined,
    close: () => resources.disposeAsync(),
  };
}

/** In worker 0, like the sweep. Should two run during a restart, they do no harm to one another. */
function runLifecycle(
  { settings, log, metrics }: OpenStoreDeps,
  store: ObjectStore,
): { stop(): Promise<void> } | undefined {
  if (settings.lifecycleIntervalMs === 0) return undefined;
  return startLifecycle({
    store,
    log,
    now: Date.now,
    dayMs: settings.lifecycleDayMs,
    intervalMs: settings.lifecycleIntervalMs,
    count: (kind) => metrics.countExpired(kind),
    finished: ({ failures }) => metrics.countLifecycleScan({ endMs: Date.now(), failures }),
  });
}

/**
 * Opens the metadata. The first worker is alone with the directory: when it is the one that seals it, it also
 * rewrites the file, so that no plain value stays in its free pages.
 */
async function openMetadata(deps: OpenStoreDeps): Promise<{ engine: Kv; backend: Backend }> {
  const { config, access, kms, log } = deps;
  const path = metadataPath(config);
  const open = async (): Promise<Kv> => access.alone(async () => openLmdbKv(path, access));
  // One environment at a time: LMDB's locks are the process's, and closing a second one would drop those of the first.
  let engine = await open();
  try {
    if (config.isFirst && kms) await noteIfPlain(engine, path);
    let backend = await openBackend({ kv: engine, kms, log });
    if (config.isFirst && backend.isSealed && hasRemnants(path)) {
      await engine.close();
      await removeRemnants(path);
      log.info('rewrote the metadata, so that nothing plain is left of it on the disk');
      engine = await open();
      backend = await openBackend({ kv: engine, kms, log });
    }
    return { engine, backend };
  } catch (error) {
    await engine.close();
    throw error;
  }
}

async function noteIfPlain(engine: Kv, path: string): Promise<void> {
  const entry = await engine.get(formatEntryKey);
  if (entry && decodeFormat(entry).state !== 'sealed') await noteRemnants(path);
}

/**
 * The master key that the directory is sealed under, or undefined while it is not sealed. Needs no key
 * service. Throws `KvError`, `BackendError`.
 */
export async function findSealingKey(
  config: WorkerConfig,
  access: MetadataAccess,
): Promise<string | undefined> {
  return access.alone(async () => {
    const engine = openLmdbKv(metadataPath(config));
    try {
      const entry = await engine.get(formatEntryKey);
      return entry && decodeFormat(entry).backendKey?.keyName;
    } finally {
      await engine.close();
    }
  });
}

function metadataPath(config: WorkerConfig): string {
  return join(config.directory, 'meta');
}

export type S3EdgeDeps = {
  readonly opened: OpenedStore;
  readonly settings: ServerSettings;
  readonly log: Log;
  readonly metrics: ServerMetrics;
  /** Of `WorkerConfig`. */
  readonly forwardKey: string;
};

/** The request handler of the S3 protocol over an open store. */
export function createS3Edge(deps: S3EdgeDeps): RequestHandler {
  const { opened, settings, log, metrics, forwardKey } = deps;
  return createS3Handler({
    store: opened.store,
    auth: {
      credentials: opened.credentials,
      signingKeys: new SigningKeyCache(),
      region: settings.region,
      now: Date.now,
    },
    region: settings.region,
    domains: settings.domains,
    describeOwner: (ownerId) => opened.credentials.describeOwner(ownerId),
    autoEncryption: settings.isAutoEncryption,
    grantsOwners: settings.grantsOwners,
    addressOf: (request) => clientAddressOf(forwardKey, request),
    allowsKeysInClear: settings.allowsKeysInClear,
    log,
    observe: ({ operation, status, durationMs }) =>
      metrics.countRequest(operation ?? 'unknown', status, durationMs / 1000),
  });
}
