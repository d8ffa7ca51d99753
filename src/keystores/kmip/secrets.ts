// A KMIP server as a store of named texts. A text is one Secret Data object: Name is the store's name, Object
// Group is `coffer`, the state tells a key (active) from a claim (pre-active, see `create.ts`). Rule kept
// here: only an active object is ever read as a key, and if a server ever has two of one name, every reader
// takes the same one: the oldest, then the smaller id.

import type { Log } from '../../base/log.ts';
import { KeyStoreError, type KeyStoreStatus } from '../../keys/key-store.ts';
import { isGone, KmipClient, KmipRefusal } from './client.ts';
import { KmipPool, type KmipTlsFiles, parseKmipEndpoint } from './connection.ts';
import { KmipCreator, outOfUse } from './create.ts';
import { isKept, KmipDeletions } from './deletion.ts';
import { type KmipVersion, kmipVersions } from './messages.ts';
import type { KmipObject } from './payloads.ts';
import type { SecretStore } from '../secret-store.ts';

/** As in the configuration. Empty texts count as absent. */
export type KmipStoreSettings = {
  /** `HOST[:PORT]`; 5696 by default. */
  readonly endpoint?: string | undefined;
  /** One of `kmipVersions`; without it the newest one the server has. */
  readonly version?: string | undefined;
  readonly credentials?:
    | { readonly username?: string | undefined; readonly password?: string | undefined }
    | undefined;
  readonly tls?: KmipTlsFiles | undefined;
};

export type KmipStoreDeps = {
  readonly log: Log;
  /** For tests: milliseconds after which another creator's claim is given up; 2 s by default. */
  readonly claimMs?: number;
  /** For tests: milliseconds after which a deletion that did not revoke is given up; 60 s by default. */
  readonly markMs?: number;
  /** For tests: as in `KmipPoolSettings`. */
  readonly deadlineMs?: number;
  readonly connectionsMax?: number;
  /** For tests: milliseconds before a busy server is asked again. */
  readonly retryDelayMs?: () => number;
};

/** A name of ours is one of these; anything else in the group is none. */
const namePattern = /^[0-9A-Za-z_-]{1,127}$/;
const claimDefaultMs = 2_000;
const markDefaultMs = 60_000;
/** How often, and after how many milliseconds, an object that is just being deleted is looked at again. */
const deletion = { rounds: 10, pauseMs: 50 };

/**
 * Connects and settles the version. Rejects with `KeyStoreError`: `unreachable` without an answer, `failed`
 * for bad settings, an unknown certificate or a server without a common version.
 */
export async function openKmipSecrets(
  settings: KmipStoreSettings,
  deps: KmipStoreDeps,
): Promise<SecretStore> {
  const { username = '', password = '' } = settings.credentials ?? {};
  const version = readVersion(settings.version ?? '');
  const pool = new KmipPool({
    ...parseKmipEndpoint(settings.endpoint ?? ''),
    tls: settings.tls ?? {},
    ...(deps.deadlineMs === undefined ? {} : { deadlineMs: deps.deadlineMs }),
    ...(deps.connectionsMax === undefined ? {} : { connectionsMax: deps.connectionsMax }),
  });
  const client = new KmipClient(pool, {
    version: version ?? '1.2',
    credentials: username === '' && password === '' ? undefined : { username, password },
    retryDelayMs: deps.retryDelayMs,
  });
  try {
    await asKeyStoreError(async () => (version === undefined ? client.negotiate() : client.ping()));
  } catch (error) {
    client.close();
    throw error;
  }
  deps.log.debug('kmip: connected', { version: client.version });
  return new KmipSecretStore(client, deps);
}

function readVersion(text: string): KmipVersion | undefined {
  if (text === '') return undefined;
  const version = kmipVersions.find((known) => known === text);
  if (version === undefined) {
    throw new KeyStoreError(
      'failed',
      `kmip: version must be one of ${kmipVersions.toReversed().join(', ')}`,
    );
  }
  return version;
}

class KmipSecretStore implements SecretStore {
  readonly #client: KmipClient;
  readonly #creator: KmipCreator;
  readonly #deletions: KmipDeletions;
  /** The last creation of each name in this process: they take turns, so that only processes compete. */
  readonly #creations = new Map<string, Promise<void>>();

  constructor(client: KmipClient, deps: KmipStoreDeps) {
    this.#client = client;
    this.#deletions = new KmipDeletions({
      client,
      log: deps.log,
      now: () => performance.now(),
      markMs: deps.markMs ?? markDefaultMs,
    });
    this.#creator = new KmipCreator({
      client,
      log: deps.log,
      now: () => performance.now(),
      wait,
      random: Math.random,
      claimMs: deps.claimMs ?? claimDefaultMs,
      look: async (name) => this.#look(name),
      finishBegun: async (object) => this.#deletions.finishBegun(object),
    });
  }

  async create(name: string, value: string): Promise<void> {
    const before = this.#creations.get(name);
    const turn = (async () => {
      await before?.catch(() => undefined);
      await asKeyStoreError(async () => this.#creator.create(name, value));
    })();
    this.#creations.set(name, turn);
    try {
      await turn;
    } finally {
      if (this.#creations.get(name) === turn) this.#creations.delete(name);
    }
  }

  async get(name: string): Promise<string> {
    return asKeyStoreError(async () => {
      for (let round = 1; ; round += 1) {
        const object = await this.#counting(name);
        if (object === undefined) throw new KeyStoreError('not-found', `${name} does not exist`);
        const value = object.state === 'active' ? await this.#read(object.id) : undefined;
        if (value !== undefined) return value;
        if (round >= deletion.rounds) throw outOfUse(name, object);
        await wait(deletion.pauseMs);
      }
    });
  }

  async delete(name: string): Promise<void> {
    await asKeyStoreError(async () => {
      const objects = (await this.#look(name)).filter(({ state }) => state !== 'pre-active');
      // The one that counts goes last: until then nobody may take another one for the key.
      for (const object of objects.toReversed()) await this.#deletions.delete(object);
    });
  }

  async list(): Promise<string[]> {
    return asKeyStoreError(async () => {
      const objects = await this.#client.describe(await this.#client.locate());
      const counting = await this.#deletions.sweep(objects);
      const keys = counting.filter((object) => isKept(object) && object.state !== 'pre-active');
      return [...new Set(keys.flatMap((object) => object.names))].filter((name) =>
        namePattern.test(name),
      );
    });
  }

  async status(): Promise<KeyStoreStatus> {
    const startedAt = performance.now();
    try {
      await asKeyStoreError(async () => this.#client.ping());
    } catch (error) {
      if (!(error instanceof KeyStoreError)) throw error;
      const state = error.code === 'unreachable' ? 'unreachable' : 'unavailable';
      return { state, reason: error.message };
    }
    return {
      state: 'available',
      latencyMs: Math.max(1, Math.round(performance.now() - startedAt)),
    };
  }

  async close(): Promise<void> {
    this.#client.close();
  }

  /** Our objects of this name that are not destroyed: active ones first, then the oldest, then the smallest id. */
  async #look(name: string): Promise<readonly KmipObject[]> {
    const objects = await this.#client.describe(await this.#client.locate(name));
    return objects
      .filter((object) => isKept(object) && object.names.includes(name))
      .toSorted(byPrecedence);
  }

  /** The object that stands for this name, active or not; claims and what is deleted do not. */
  async #counting(name: string): Promise<KmipObject | undefined> {
    for (const object of await this.#look(name)) {
      if (object.state === 'active') return object;
      if (object.state === 'pre-active') continue;
      if (!(await this.#deletions.isDeleted(object))) return object;
    }
    return undefined;
  }

  /** Undefined when it was deleted a moment ago. */
  async #read(id: string): Promise<string | undefined> {
    try {
      return await this.#client.read(id);
    } catch (error) {
      if (isGone(error)) return undefined;
      throw error;
    }
  }
}

function byPrecedence(a: KmipObject, b: KmipObject): number {
  const rank = ({ state }: KmipObject): number => (state === 'active' ? 0 : 1);
  if (rank(a) !== rank(b)) return rank(a) - rank(b);
  if (a.createdAt !== b.createdAt) return a.createdAt < b.createdAt ? -1 : 1;
  return a.id < b.id ? -1 : 1;
}

async function wait(ms: number): Promise<void> {
  await new Promise((resolve) => {
    setTimeout(resolve, ms);
  });
}

/** A refusal nobody had a use for is an error of the store. */
async function asKeyStoreError<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof KmipRefusal)) throw error;
    const isBusy = error.code === 'ServerLimitExceeded' || error.code === 'InternalServerError';
    throw new KeyStoreError(isBusy ? 'unreachable' : 'failed', error.message, { cause: error });
  }
}
