// The keys of a running key service: the open store, the cache in front, what is known of each key, the
// nodes to tell of changes, and the service on top. A reload keeps what the next configuration says the same
// about, so that neither connections nor knowledge are lost.

import type { Log } from '../../base/log.ts';
import type { KesConfig } from '../../kes/config/config.ts';
import { CachedKeyStore } from '../../keys/cached-key-store.ts';
import { CalmClock } from '../../keys/calm-clock.ts';
import { DueKeys } from '../../keys/due-keys.ts';
import { KeyError } from '../../keys/key-error.ts';
import { KeyService } from '../../keys/key-service.ts';
import type { KeyStore } from '../../keys/key-store.ts';
import { KnownKeys } from '../../keys/known-keys.ts';
import { loadKnownKeys } from '../../keys/known-keys-file.ts';
import { openPeers, type PeerNotifier } from './peers.ts';
import { openKeyStore } from './key-stores.ts';

export type KesKeys = {
  readonly config: KesConfig;
  readonly store: KeyStore;
  readonly cache: CachedKeyStore;
  readonly known: KnownKeys;
  /** Absent when there are no other nodes to tell. */
  readonly peers?: PeerNotifier;
  /** One for the whole process. */
  readonly clock: CalmClock;
  /** As long as the key store is the same. */
  readonly due: DueKeys;
  readonly service: KeyService;
};

export type KesKeysDeps = {
  readonly log: Log;
  /** Used instead of the store that the configuration names. */
  readonly keyStore?: KeyStore;
  /** Counts milliseconds and never goes back; the process's own clock by default. */
  readonly now?: () => number;
};

/**
 * Opens what a configuration names, or takes it from `previous`. Rejects with `KeyStoreError`,
 * `KesConfigError` or `KnownKeysError`, leaving nothing new open.
 */
export async function openKesKeys(
  config: KesConfig,
  deps: KesKeysDeps,
  previous?: KesKeys,
): Promise<KesKeys> {
  const known = await knownFor(config, deps, previous);
  let peers: PeerNotifier | undefined;
  try {
    peers = await peersFor(config, deps, previous);
    const store = deps.keyStore ?? reusable(config, previous) ?? (await openKeyStore(config, deps));
    return assemble(config, deps, { store, known, previous, ...(peers && { peers }) });
  } catch (error) {
    if (known !== previous?.known) await known.close();
    if (peers !== previous?.peers) peers?.close();
    throw error;
  }
}

/** Closes what `next` does not go on using. */
export async function closeKesKeys(keys: KesKeys, next?: KesKeys): Promise<void> {
  keys.cache.clear();
  if (keys.peers !== next?.peers) keys.peers?.close();
  if (keys.store !== next?.store) await keys.store.close();
  if (keys.known !== next?.known) await keys.known.close();
}

/**
 * Makes the keys that the configuration wants to exist. A destroyed one stays destroyed, and one that the
 * store lost is not replaced by a new one.
 */
export async function createPredefinedKeys(
  { config, service, known }: KesKeys,
  deps: { readonly log: Log },
): Promise<void> {
  for (const name of config.keys) {
    try {
      const { versions = 0, fingerprint } = known.find(name) ?? {};
      if (versions === 0) await service.create(name, config.admin);
      else if (!(await isThere(service, name))) {
        deps.log.error(
          `key ${name} of the configuration is not made anew: this node knows one of that name, fingerprint ` +
            `${fingerprint}, and the key store lost it. Restore it, or, if it was deleted on purpose, ` +
            `give it up with 'coffer kes key accept ${name}' and send SIGHUP`,
        );
      }
    } catch (error) {
      if (!(error instanceof KeyError)) throw error;
      if (error.code === 'name-destroyed') {
        deps.log.error(`key ${name} of the configuration is destroyed: remove it from 'keys'`);
      } else if (error.code !== 'exists') throw error;
    }
  }
}

async function isThere(service: KeyService, name: string): Promise<boolean> {
  try {
    await service.describe(name);
  } catch (error) {
    if (!(error instanceof KeyError)) throw error;
    if (error.code === 'not-found') return false;
    // Whatever is wrong with the key, its name is taken.
    if (error.code === 'store-unreachable' || error.code === 'store-failed') throw error;
  }
  return true;
}

type Parts = Pick<KesKeys, 'store' | 'known' | 'peers'> & {
  readonly previous: KesKeys | undefined;
};

function assemble(config: KesConfig, deps: KesKeysDeps, parts: Parts): KesKeys {
  const { store, known, peers, previous } = parts;
  const { now = () => performance.now() } = deps;
  const cache = openCache(config, deps, parts);
  takeOverCache({ config, store, cache }, previous);
  const clock = previous?.clock ?? new CalmClock({ nowMs: Date.now, now });
  const isSameStore = previous?.store === store;
  const due = isSameStore ? previous.due : openDueKeys({ clock, now }, deps.log);
  const service = new KeyService({
    store: cache,
    nowMs: Date.now,
    now,
    due,
    log: deps.log,
    ...(peers && { onChange: (name: string) => peers.changed(name) }),
  });
  return { config, store, cache, known, clock, due, service, ...(peers && { peers }) };
}

/**
 * Keys that may be used while the store is unreachable stay so over a reload that leaves the store as it is.
 * With another store, path or credentials the cache begins empty.
 */
export function takeOverCache(
  { config, store, cache }: Pick<KesKeys, 'config' | 'store' | 'cache'>,
  previous: KesKeys | undefined,
): void {
  if (previous?.store !== store) return;
  previous.cache.setNext(cache);
  if (config.cache.offlineMs > 0) cache.takeOver(previous.cache);
}

function openDueKeys(
  times: { readonly clock: CalmClock; readonly now: () => number },
  log: Log,
): DueKeys {
  return new DueKeys({
    ...times,
    onKept: (name, forMs) => {
      log.warn(
        `key ${name} was to be destroyed a while ago: it is kept for ${Math.round(forMs / 60_000)} minutes more. ` +
          `If the clock of a node was wrong, call it off: coffer kes key cancel ${name}`,
      );
    },
  });
}

function openCache(
  config: KesConfig,
  deps: KesKeysDeps,
  { store, known }: Pick<KesKeys, 'store' | 'known'>,
): CachedKeyStore {
  const cache: CachedKeyStore = new CachedKeyStore({
    store,
    known,
    rules: config.cache,
    now: deps.now ?? (() => performance.now()),
    onReplaced: (error) => deps.log.error(error.message),
    onOffline: (isOffline, error) => {
      if (!isOffline) deps.log.info('the key store answers again');
      else deps.log.warn(describeOutage(cache), { error: error?.message ?? '' });
    },
  });
  return cache;
}

function describeOutage(cache: CachedKeyStore): string {
  const leftMs = cache.offlineLeftMs();
  if (leftMs === undefined) return 'the key store does not answer: keys are refused until it does';
  const until = new Date(Date.now() + leftMs).toISOString();
  return `the key store does not answer: cached keys are used until ${until}`;
}

/** Without a file, another key store begins with nothing known: its keys are others on purpose. */
async function knownFor(
  config: KesConfig,
  { log, keyStore }: KesKeysDeps,
  previous: KesKeys | undefined,
): Promise<KnownKeys> {
  const file = config.knownKeysFile;
  const isSameFile = previous !== undefined && previous.config.knownKeysFile === file;
  const isSameStore = keyStore !== undefined || reusable(config, previous) !== undefined;
  if (isSameFile && (file !== undefined || isSameStore)) return previous.known;
  if (file === undefined) return new KnownKeys();
  return loadKnownKeys(file, {
    onError: (error) => {
      log.error(`cannot write known keys to ${file}: they are lost at a restart`, {
        error: error.message,
      });
    },
  });
}

async function peersFor(
  { peers }: KesConfig,
  { log }: KesKeysDeps,
  previous: KesKeys | undefined,
): Promise<PeerNotifier | undefined> {
  if (peers === undefined) return undefined;
  const isSame = JSON.stringify(peers) === JSON.stringify(previous?.config.peers);
  return isSame ? previous?.peers : openPeers(peers, { log });
}

/** The open store when the new configuration names the same one. */
function reusable(config: KesConfig, previous: KesKeys | undefined): KeyStore | undefined {
  if (previous === undefined) return undefined;
  const storeOf = ({ keyStore, wrapping }: KesConfig) => JSON.stringify({ keyStore, wrapping });
  return storeOf(config) === storeOf(previous.config) ? previous.store : undefined;
}
