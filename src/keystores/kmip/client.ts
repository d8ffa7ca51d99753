// The KMIP operations a store of named texts uses, as functions on plain values, over the pool of connections.
// What a server refuses is a `KmipRefusal` for the store to judge; what it should not have said is `failed`.
// Rule kept here: message buffers are wiped after use, and no error text holds a value or a credential.

import { KeyStoreError } from '../../keys/key-store.ts';
import type { KmipPool } from './connection.ts';
import {
  decodeKmipResponse,
  encodeKmipRequest,
  type KmipCall,
  type KmipCredentials,
  KmipMessageError,
  type KmipOperation,
  type KmipReason,
  type KmipResult,
  type KmipVersion,
  kmipVersions,
} from './messages.ts';
import {
  checkId,
  discoverCall,
  getAttributesCall,
  type KmipObject,
  kmipGroup,
  locateCall,
  type LocateQuery,
  objectCall,
  readId,
  readLocated,
  readObject,
  readSecret,
  readVersions,
  registerCall,
} from './payloads.ts';
import type { Ttlv } from './ttlv.ts';

type Refused = { readonly reason: KmipReason | number; readonly message: string };

/** The server understood the call and refused it. The text says what to do about it. */
export class KmipRefusal extends Error {
  readonly code: KmipReason | number;
  constructor(operation: KmipOperation, refusal: Refused) {
    super(explain(operation, refusal));
    this.name = 'KmipRefusal';
    this.code = refusal.reason;
  }
}

/** Operations that may be sent twice without a difference. */
const repeatable: ReadonlySet<KmipOperation> = new Set<KmipOperation>([
  'Locate',
  'Get',
  'GetAttributes',
  'DiscoverVersions',
]);

/** How many calls go into one message. */
const batchMax = 64;
const objectsMax = 1_000_000;
const passesMax = 5;
const attemptsMax = 3;

type Located = { readonly ids: readonly string[]; readonly total: number | undefined };

const gone: ReadonlySet<KmipReason | number> = new Set<KmipReason | number>([
  'ItemNotFound',
  'ObjectNotFound',
  'ObjectDestroyed',
]);

/** True when the server refused because the object is not there (any more). */
export function isGone(error: unknown): boolean {
  return error instanceof KmipRefusal && gone.has(error.code);
}

export class KmipClient {
  readonly #pool: KmipPool;
  readonly #credentials: KmipCredentials | undefined;
  readonly #retryDelayMs: () => number;
  #version: KmipVersion;
  /** Some servers take one call per message only. */
  #hasBatches = true;

  constructor(
    pool: KmipPool,
    settings: {
      readonly version: KmipVersion;
      readonly credentials?: KmipCredentials | undefined;
      /** Before a server that is busy is asked again; 200 to 1,000 at random by default. */
      readonly retryDelayMs?: (() => number) | undefined;
    },
  ) {
    this.#retryDelayMs = settings.retryDelayMs ?? (() => 200 + Math.random() * 800);
    this.#pool = pool;
    this.#version = settings.version;
    this.#credentials = settings.credentials;
  }

  get version(): KmipVersion {
    return this.#version;
  }

  /** A round trip that changes nothing. */
  async ping(): Promise<void> {
    await this.#ask(discoverCall(), () => undefined);
  }

  /** Settles on the newest version that both sides have. Throws `KeyStoreError`. */
  async negotiate(): Promise<void> {
    let refusal: unknown;
    for (const version of ['1.2', ...kmipVersions.filter((other) => other !== '1.2')] as const) {
      this.#version = version;
      try {
        const common = await this.#ask(discoverCall(), readVersions);
        if (common === undefined) break;
        this.#version = common;
        return;
      } catch (error) {
        if (!(error instanceof KmipRefusal) || error.code === 'AuthenticationNotSuccessful')
          throw error;
        refusal = error;
      }
    }
    throw new KeyStoreError(
      'failed',
      'kmip: the server speaks none of KMIP 1.2, 1.3, 1.4, 2.0 and 2.1',
      {
        cause: refusal,
      },
    );
  }

  /** The id of a new object, which is pre-active. The caller keeps `value`. */
  async register(name: string, value: Uint8Array): Promise<string> {
    return this.#ask(registerCall(this.#version, { name, value }), readId);
  }

  /** The ids of all of our objects, with this name if one is given, each once. */
  async locate(name?: string): Promise<readonly string[]> {
    const query = name === undefined ? {} : { name };
    const first = await this.#page(query);
    if (first.total === undefined || first.total <= first.ids.length) return first.ids;
    if (this.#version === '1.2') {
      throw new KeyStoreError(
        'failed',
        'kmip: the server lists only some of the objects, and KMIP 1.2 has no pages: set version to 1.4 or newer, or raise the limit of the server',
      );
    }
    return this.#allPages(query);
  }

  async #page(query: LocateQuery): Promise<Located> {
    return this.#ask(locateCall(this.#version, query), readLocated);
  }

  /** What is removed meanwhile moves the rest to earlier pages; then everything is read again. */
  async #allPages(query: LocateQuery): Promise<readonly string[]> {
    const ids = new Set<string>();
    for (let pass = 0; pass < passesMax; pass += 1) {
      if (await this.#pass(query, ids)) return [...ids];
    }
    throw new KeyStoreError('failed', 'kmip: the list of objects changes faster than it is read');
  }

  /** Adds all pages; false when the number of objects changed on the way. */
  async #pass(query: LocateQuery, ids: Set<string>): Promise<boolean> {
    let total: number | undefined;
    for (let offset = 0; offset <= objectsMax; ) {
      const page = await this.#page({ ...query, offset });
      total ??= page.total;
      for (const id of page.ids) ids.add(id);
      offset += page.ids.length;
      if (page.total !== total) return false;
      if (page.ids.length === 0 || offset >= (total ?? 0)) return offset >= (total ?? 0);
    }
    throw new KeyStoreError('failed', 'kmip: the list of objects does not end');
  }

  /** What is known about each object that is still there. */
  async describe(ids: readonly string[]): Promise<readonly KmipObject[]> {
    const groups: (readonly string[])[] = [];
    for (let at = 0; at < ids.length; at += batchMax) groups.push(ids.slice(at, at + batchMax));
    const described = await Promise.all(groups.map(async (group) => this.#describeGroup(group)));
    return described.flat().filter(({ groups: of }) => of.includes(kmipGroup));
  }

  async #describeGroup(ids: readonly string[]): Promise<readonly KmipObject[]> {
    const calls = ids.map((id) => getAttributesCall(this.#version, id));
    const described = await this.#askAll(calls, (result, index) => {
      if (result.isOk) return [readObject(this.#version, ids[index] ?? '', result.payload)];
      const refusal = new KmipRefusal('GetAttributes', result);
      if (isGone(refusal)) return [];
      throw refusal;
    });
    return described.flat();
  }

  /** The value as text. */
  async read(id: string): Promise<string> {
    return this.#ask(objectCall('Get', id), (payload) =>
      Buffer.from(readSecret(id, payload)).toString('utf8'),
    );
  }

  /** From pre-active to active. */
  async activate(id: string): Promise<void> {
    await this.#askAbout('Activate', id);
  }

  /** From active to deactivated. */
  async revoke(id: string): Promise<void> {
    await this.#askAbout('Revoke', id);
  }

  /** Resolves also when it is gone already. */
  async destroy(id: string): Promise<void> {
    try {
      await this.#askAbout('Destroy', id);
    } catch (error) {
      if (!isGone(error)) throw error;
    }
  }

  close(): void {
    this.#pool.close();
  }

  async #askAbout(operation: 'Activate' | 'Revoke' | 'Destroy', id: string): Promise<void> {
    await this.#ask(objectCall(operation, id), (payload) => {
      checkId(id, payload);
    });
  }

  async #ask<T>(call: KmipCall, read: (payload: readonly Ttlv[]) => T): Promise<T> {
    const [value] = await this.#exchange([call], (result) => {
      if (!result.isOk) throw new KmipRefusal(call.operation, this.#withoutSecrets(call, result));
      return { read: read(result.payload) };
    });
    if (value === undefined) throw new KmipMessageError('the answer is empty');
    return value.read;
  }

  /** Several calls in one message, or in one each where the server wants that. */
  async #askAll<T>(calls: readonly KmipCall[], read: ReadResult<T>): Promise<readonly T[]> {
    if (this.#hasBatches || calls.length < 2) {
      const results = await this.#exchange(calls, (result, index) =>
        calls.length > 1 && !result.isOk && batchRefusals.has(result.reason)
          ? undefined
          : { value: read(result, index) },
      );
      const values = results.filter((result) => result !== undefined);
      if (values.length === results.length) return values.map(({ value }) => value);
      this.#hasBatches = false;
    }
    const values: T[] = [];
    for (const [index, call] of calls.entries()) {
      values.push(...(await this.#exchange([call], (result) => read(result, index))));
    }
    return values;
  }

  /** The server's words are left out where they could repeat a value or a credential. */
  #withoutSecrets<R extends { readonly message: string }>(call: KmipCall, refusal: R): R {
    const { username = '', password = '' } = this.#credentials ?? {};
    const isRepeating = [username, password].some(
      (text) => text !== '' && refusal.message.includes(text),
    );
    return call.operation === 'Register' || isRepeating ? { ...refusal, message: '' } : refusal;
  }

  /** Asks again, twice at most, a server that says it cannot do it now; it has not done it then. */
  async #exchange<T>(calls: readonly KmipCall[], read: ReadResult<T>): Promise<T[]> {
    for (let attempt = 1; attempt < attemptsMax; attempt += 1) {
      const values = await this.#exchangeOnce(calls, (result, index) =>
        !result.isOk && busy.has(result.reason) ? undefined : { value: read(result, index) },
      );
      const good = values.filter((value) => value !== undefined);
      if (good.length === values.length) return good.map(({ value }) => value);
      await new Promise((resolve) => setTimeout(resolve, this.#retryDelayMs()));
    }
    return this.#exchangeOnce(calls, read);
  }

  async #exchangeOnce<T>(calls: readonly KmipCall[], read: ReadResult<T>): Promise<T[]> {
    const request = encodeKmipRequest({
      version: this.#version,
      credentials: this.#credentials,
      calls,
    });
    let answer: Buffer | undefined;
    try {
      answer = await this.#pool.call(request, {
        isRepeatable: calls.every(({ operation }) => repeatable.has(operation)),
      });
      const response = decodeKmipResponse(answer, calls);
      if (response.version !== this.#version && response.results.some(({ isOk }) => isOk)) {
        throw new KmipMessageError(
          `asked in KMIP ${this.#version}, answered in ${response.version}`,
        );
      }
      return response.results.map(read);
    } catch (error) {
      if (!(error instanceof KmipMessageError)) throw error;
      throw new KeyStoreError('failed', `kmip: ${error.message}`, { cause: error });
    } finally {
      request.fill(0);
      answer?.fill(0);
    }
  }
}

type ReadResult<T> = (result: KmipResult, index: number) => T;

/** Reasons that may be others in a moment. */
const busy: ReadonlySet<KmipReason | number> = new Set<KmipReason | number>([
  'ServerLimitExceeded',
  'InternalServerError',
  'GeneralFailure',
]);

/** Reasons to refuse a message for having several calls. */
const batchRefusals: ReadonlySet<KmipReason | number> = new Set<KmipReason | number>([
  'InvalidMessage',
  'FeatureNotSupported',
  'OperationNotSupported',
  'ResponseTooLarge',
]);

const grants =
  'Register, Locate, GetAttributes, Get, Activate, Revoke and Destroy on its own Secret Data objects';

/** What an operator can do about a refusal. */
function explain(operation: KmipOperation, { reason, message }: Refused): string {
  const words = message.replaceAll(/[^\x20-\x7e]/g, '?').slice(0, 200);
  const said = `kmip: ${operation} was refused: ${typeof reason === 'number' ? `reason ${reason}` : reason}${words === '' ? '' : ` (${words})`}`;
  switch (reason) {
    case 'PermissionDenied':
    case 'NotAuthorised':
      return `${said}: grant the client ${grants}`;
    case 'AuthenticationNotSuccessful':
      return `${said}: check tls.cert, its client authentication usage, and the credentials`;
    case 'Sensitive':
    case 'NotExtractable':
      return `${said}: the server must let the client read Secret Data in clear`;
    case 'ResponseTooLarge':
      return `${said}: raise the largest response the server allows`;
    default:
      return said;
  }
}
