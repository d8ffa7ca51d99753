// The client of the key service, used by the store and by the commands: one method per call of the
// protocol. Failover and retries are in `kes-endpoints.ts`, connections in `kes-transport.ts`. Rules kept
// here: answers are checked before they are believed, and are at most 1 MiB; nothing secret is in an error.

import { Readable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import type {
  KesBatchCall,
  KesBatchResult,
  KesUseCall,
  KesUseResult,
  KesDestroyResponse,
  KesKeyInfo,
  KesKeyState,
  KesRouteName,
} from './kes.ts';
import type { KesApi, KesDocument } from './kes-answers.ts';
import {
  byBytes,
  bytesOf,
  checked,
  listsBatch,
  parseApis,
  parseBatch,
  parseDestroyed,
  parseKeyInfo,
  parseLegacyList,
  parseObject,
  parseSingle,
  parseStatuses,
  stringsOf,
  versionOf,
} from './kes-answers.ts';
import type { KesEndpoint, KesRetryDeps } from './kes-endpoints.ts';
import { KesEndpoints } from './kes-endpoints.ts';
import { KesClientError, kesAbortedError } from './kes-error.ts';
import {
  kesGet as get,
  kesPath as pathOf,
  kesPost as post,
  kesPut as put,
  parseKesEndpoint,
} from './kes-paths.ts';
import { parseLog } from './kes-stream.ts';
import type { KesResponse } from './kes-answers.ts';
import type { KesRequest, KesTls } from './kes-transport.ts';

/** A page of names is followed by the next one this often at most. */
const pagesMax = 10_000;
const responseBytesMax = 1_048_576;

export type KesClientOptions = {
  /** `https://host:port`, at least one. */
  readonly endpoints: readonly string[];
  readonly tls: KesTls;
  /** Milliseconds for one call with all its retries; 15 s by default. */
  readonly timeoutMs?: number;
  /** More rounds after network errors and 503; 2 by default. */
  readonly retriesMax?: number;
  /** Asks each endpoint, once per connection, whether it takes batches. Off by default. */
  readonly usesBatches?: boolean;
  readonly deps?: Partial<KesRetryDeps>;
};

export type KesCallOptions = { readonly signal?: AbortSignal | undefined };

/** `timeoutMs` shortens the limit of one call. */
export type KesBatchOptions = KesCallOptions & { readonly timeoutMs?: number };

/** All names with the prefix, sorted by bytes; the sets hold those of them that are in that state. */
export type KesNames = {
  readonly names: string[];
  readonly disabled: ReadonlySet<string>;
  readonly scheduled: ReadonlySet<string>;
  readonly destroyed: ReadonlySet<string>;
};

/** The state of one of the names. */
export function kesKeyStateOf(found: KesNames, name: string): KesKeyState {
  if (found.destroyed.has(name)) return 'destroyed';
  if (found.scheduled.has(name)) return 'scheduled';
  return found.disabled.has(name) ? 'disabled' : 'enabled';
}

type Call = KesBatchOptions & {
  readonly method: string;
  readonly path: string;
  readonly body?: object;
  /** True by default. */
  readonly isRepeatable?: boolean;
};

/** Every method throws `KesClientError` and nothing else. Close it when done. */
export class KesClient {
  readonly #endpoints: KesEndpoints;
  readonly #timeoutMs: number;
  readonly #usesBatches: boolean;

  /** Throws TypeError for an endpoint that is no https URL, and on a certificate or key that TLS refuses. */
  constructor(options: KesClientOptions) {
    const urls = options.endpoints.map(parseKesEndpoint);
    if (urls.length === 0) throw new TypeError('kes: no server endpoint');
    const deps = { now: monotonicMs, random: Math.random, sleep, ...options.deps };
    const retriesMax = options.retriesMax ?? 2;
    this.#endpoints = new KesEndpoints(urls, { tls: options.tls, retriesMax, deps });
    this.#timeoutMs = options.timeoutMs ?? 15_000;
    this.#usesBatches = options.usesBatches ?? false;
  }

  /** The endpoints, as origins. */
  get origins(): string[] {
    return this.#endpoints.all.map((endpoint) => endpoint.url.origin);
  }

  /** Takes over a renewed certificate: running calls finish, new connections use it. */
  setTls(tls: KesTls): void {
    this.#endpoints.setTls(tls);
  }

  close(): void {
    this.#endpoints.close();
  }

  // ---- the service --------------------------------------------------------------------------------

  async version(options?: KesCallOptions): Promise<string> {
    const answer = await this.#json({ ...get('version'), ...options });
    return typeof answer['version'] === 'string' ? answer['version'] : '';
  }

  async status(options?: KesCallOptions): Promise<KesDocument> {
    return this.#json({ ...get('status'), ...options });
  }

  /** Asks one endpoint, once, for its status. Throws `KesClientError`, also when it is not reachable. */
  async statusOf(origin: string, options?: KesCallOptions): Promise<KesDocument> {
    const endpoint = this.#endpoints.all.find((each) => each.url.origin === origin);
    if (!endpoint) throw new KesClientError('protocol', 'kes: no such endpoint');
    const { method, path } = get('status');
    const timeoutMs = this.#timeoutMs;
    const request = { method, path, responseBytesMax, timeoutMs, signal: options?.signal };
    return parseObject(checked(await this.#endpoints.sendTo(endpoint, request)).body);
  }

  async apis(options?: KesCallOptions): Promise<KesApi[]> {
    return parseApis((await this.#answer({ ...get('api'), ...options })).body);
  }

  /** Resolves when the key store of the service answers. */
  async ready(options?: KesCallOptions): Promise<void> {
    await this.#answer({ ...get('ready'), ...options });
  }

  /** Prometheus text. */
  async metrics(options?: KesCallOptions): Promise<string> {
    return (await this.#answer({ ...get('metrics'), ...options })).body.toString('utf8');
  }

  /**
   * The events of a log from now on, until the server ends the stream: each as the object that was sent.
   * Resolves when the stream is there; leaving the loop closes it.
   */
  async openLog(
    log: 'audit' | 'error',
    options?: KesCallOptions,
  ): Promise<AsyncGenerator<KesDocument, void, undefined>> {
    const { path } = get(log === 'audit' ? 'log-audit' : 'log-error');
    const signal = options?.signal;
    const { stream } = checked(
      await this.#endpoints.attempt(
        (endpoint, timeoutMs) => this.#endpoints.openTo(endpoint, { path, timeoutMs, signal }),
        { timeoutMs: this.#timeoutMs, signal, isRepeatable: true },
      ),
    );
    return parseLog(stream ?? Readable.from([]), signal);
  }

  // ---- keys ---------------------------------------------------------------------------------------

  async createKey(name: string, options?: KesCallOptions): Promise<void> {
    await this.#answer({ ...post('key-create', name), isRepeatable: false, ...options });
  }

  /** `cipher` is `AES256` or `ChaCha20`. */
  async importKey(
    name: string,
    material: { readonly key: Uint8Array; readonly cipher: string },
    options?: KesCallOptions,
  ): Promise<void> {
    const body = { key: base64(material.key), cipher: material.cipher };
    await this.#answer({ ...post('key-import', name), body, isRepeatable: false, ...options });
  }

  async describeKey(name: string, options?: KesCallOptions): Promise<KesKeyInfo> {
    return parseKeyInfo(await this.#json({ ...get('key-describe', name), ...options }), name);
  }

  async deleteKey(name: string, options?: KesCallOptions): Promise<void> {
    const path = pathOf('key-delete', name);
    await this.#answer({ method: 'DELETE', path, isRepeatable: false, ...options });
  }

  /** Locks the key; repeating it is harmless. */
  async disableKey(name: string, options?: KesCallOptions): Promise<void> {
    await this.#answer({ ...put('key-disable', name), ...options });
  }

  async enableKey(name: string, options?: KesCallOptions): Promise<void> {
    await this.#answer({ ...put('key-enable', name), ...options });
  }

  /** Adds a version, which new ciphertexts use; its number. */
  async rotateKey(name: string, options?: KesCallOptions): Promise<number> {
    const call = { ...put('key-rotate', name), isRepeatable: false };
    return versionOf(await this.#json({ ...call, ...options }));
  }

  /** Destroys the key after so many seconds, at once for 0, in a week by default. */
  async destroyKey(
    name: string,
    afterSeconds: number | undefined,
    options?: KesCallOptions,
  ): Promise<KesDestroyResponse> {
    const body = afterSeconds === undefined ? {} : { after: afterSeconds };
    const call = { ...put('key-destroy', name), body, isRepeatable: false };
    return parseDestroyed(await this.#json({ ...call, ...options }));
  }

  /** Takes back a scheduled destruction. */
  async cancelKey(name: string, options?: KesCallOptions): Promise<void> {
    await this.#answer({ ...put('key-cancel', name), isRepeatable: false, ...options });
  }

  /** Accepts that another key has this name now. */
  async acceptKey(name: string, options?: KesCallOptions): Promise<void> {
    await this.#answer({ ...put('key-accept', name), ...options });
  }

  /** Tells another node that a key has changed in the shared store. */
  async peerChanged(name: string, options?: KesBatchOptions): Promise<void> {
    await this.#answer({ ...put('peer-changed', name), ...options });
  }

  async generateKey(
    name: string,
    context: Uint8Array,
    options?: KesCallOptions,
  ): Promise<{ plaintext: Buffer; ciphertext: Buffer }> {
    const body = context.length > 0 ? { context: base64(context) } : undefined;
    const call = post('key-generate', name);
    const answer = await this.#json({ ...call, ...(body && { body }), ...options });
    return { plaintext: bytesOf(answer, 'plaintext'), ciphertext: bytesOf(answer, 'ciphertext') };
  }

  async encrypt(
    name: string,
    message: { readonly plaintext: Uint8Array; readonly context?: Uint8Array },
    options?: KesCallOptions,
  ): Promise<Buffer> {
    const body = { plaintext: base64(message.plaintext), ...contextOf(message.context) };
    const answer = await this.#json({ ...post('key-encrypt', name), body, ...options });
    return bytesOf(answer, 'ciphertext');
  }

  async decrypt(
    name: string,
    sealed: { readonly ciphertext: Uint8Array; readonly context?: Uint8Array },
    options?: KesCallOptions,
  ): Promise<Buffer> {
    const body = { ciphertext: base64(sealed.ciphertext), ...contextOf(sealed.context) };
    const answer = await this.#json({ ...post('key-decrypt', name), body, ...options });
    return bytesOf(answer, 'plaintext');
  }

  /** Seals what the ciphertext holds again, under the newest version; nothing of it is shown. */
  async rewrap(
    name: string,
    sealed: { readonly ciphertext: Uint8Array; readonly context?: Uint8Array },
    options?: KesCallOptions,
  ): Promise<{ readonly ciphertext: Buffer; readonly version: number }> {
    const body = { ciphertext: base64(sealed.ciphertext), ...contextOf(sealed.context) };
    const answer = await this.#json({ ...put('key-rewrap', name), body, ...options });
    return { ciphertext: bytesOf(answer, 'ciphertext'), version: versionOf(answer) };
  }

  async hmac(name: string, message: Uint8Array, options?: KesCallOptions): Promise<Buffer> {
    const body = { message: base64(message) };
    return bytesOf(await this.#json({ ...put('key-hmac', name), body, ...options }), 'hmac');
  }

  async listKeys(prefix: string, options?: KesCallOptions): Promise<KesNames> {
    return this.#list({ route: 'key-list', member: 'names', prefix }, options);
  }

  // ---- batches ------------------------------------------------------------------------------------

  /** True while the endpoint that is asked next is known to take batches. */
  isBatching(): boolean {
    return this.#usesBatches && this.#endpoints.peek()?.batching === 'yes';
  }

  /** One generate or decrypt call, on its own route. A refusal is a result, not an error. */
  async callKey(call: KesBatchCall, options?: KesBatchOptions): Promise<KesBatchResult> {
    const context = call.context === undefined ? {} : { context: call.context };
    const request: Call =
      call.op === 'generate'
        ? { ...post('key-generate', call.name), body: context }
        : { ...post('key-decrypt', call.name), body: { ciphertext: call.ciphertext, ...context } };
    return parseSingle(await this.#send({ ...request, ...options }));
  }

  /**
   * Several generate and decrypt calls in one request, at most `kesBatchCallsMax`: one result per call, in
   * order. Undefined when the endpoint turned out to take no batches: then nothing was done.
   */
  async callKeys(
    calls: readonly KesBatchCall[],
    options?: KesBatchOptions,
  ): Promise<KesBatchResult[] | undefined> {
    const { response, isRefused } = await this.#sendBatch(calls, options);
    return isRefused ? undefined : parseBatch(checked(response).body, calls.length);
  }

  async #sendBatch(
    calls: readonly (KesBatchCall | KesUseCall)[],
    options: KesBatchOptions | undefined,
  ): Promise<{ readonly response: KesResponse; readonly isRefused: boolean }> {
    let isRefused = false;
    const path = pathOf('key-batch');
    const call: Call = { method: 'PUT', path, body: { calls }, ...options };
    const response = await this.#send(call, (endpoint, answer) => {
      isRefused = [403, 404, 405, 501].includes(answer.status);
      if (isRefused) endpoint.batching = 'no';
    });
    return { response, isRefused };
  }

  /** Tells of at most `kesBatchCallsMax` uses. Undefined when the endpoint takes no batches. */
  async noteUses(
    uses: readonly KesUseCall[],
    options?: KesBatchOptions,
  ): Promise<KesUseResult[] | undefined> {
    if (!this.#usesBatches || this.#endpoints.peek()?.batching === 'no') return undefined;
    const { response, isRefused } = await this.#sendBatch(uses, options);
    return isRefused ? undefined : parseStatuses(checked(response).body, uses.length);
  }

  #askForBatching(endpoint: KesEndpoint): void {
    if (!this.#usesBatches || endpoint.batching !== 'unknown') return;
    endpoint.batching = 'asking';
    const { method, path } = get('api');
    const request: KesRequest = { method, path, responseBytesMax, timeoutMs: this.#timeoutMs };
    this.#endpoints.sendTo(endpoint, request).then(
      (response) => {
        if (endpoint.batching !== 'asking') return;
        endpoint.batching = listsBatch(response) ? 'yes' : 'no';
      },
      () => {
        if (endpoint.batching === 'asking') endpoint.batching = 'unknown';
      },
    );
  }

  // ---- policies and identities --------------------------------------------------------------------

  async describePolicy(name: string, options?: KesCallOptions): Promise<KesDocument> {
    return this.#json({ ...get('policy-describe', name), ...options });
  }

  async readPolicy(name: string, options?: KesCallOptions): Promise<KesDocument> {
    return this.#json({ ...get('policy-read', name), ...options });
  }

  async listPolicies(prefix: string, options?: KesCallOptions): Promise<KesNames> {
    return this.#list({ route: 'policy-list', member: 'names', prefix }, options);
  }

  async describeIdentity(identity: string, options?: KesCallOptions): Promise<KesDocument> {
    return this.#json({ ...get('identity-describe', identity), ...options });
  }

  async describeSelf(options?: KesCallOptions): Promise<KesDocument> {
    return this.#json({ ...get('identity-self'), ...options });
  }

  async listIdentities(prefix: string, options?: KesCallOptions): Promise<KesNames> {
    return this.#list({ route: 'identity-list', member: 'identities', prefix }, options);
  }

  // ---- one call -----------------------------------------------------------------------------------

  /**
   * Pages until there are no more. A prefix that ends in `-` is no valid pattern by itself; with a `*` it
   * is, but older servers take that for a character, so a shorter prefix is asked for then.
   */
  async #list(
    list: { readonly route: KesRouteName; readonly member: string; readonly prefix: string },
    options?: KesCallOptions,
  ): Promise<KesNames> {
    const { prefix } = list;
    const bare = prefix.replace(/-+$/, '');
    let found = await this.#pages(
      { ...list, pattern: bare === prefix ? prefix || '*' : `${prefix}*` },
      options,
    );
    if (bare !== prefix && found.names.length === 0) {
      found = await this.#pages({ ...list, pattern: bare || '*' }, options);
    }
    const names = [...new Set(found.names)].filter((name) => name.startsWith(prefix));
    return { ...found, names: names.sort(byBytes) };
  }

  async #pages(
    list: { readonly route: KesRouteName; readonly member: string; readonly pattern: string },
    options?: KesCallOptions,
  ): Promise<KesNames> {
    const names: string[] = [];
    const states = {
      disabled: new Set<string>(),
      scheduled: new Set<string>(),
      destroyed: new Set<string>(),
    };
    let pattern = list.pattern;
    for (let page = 0; page < pagesMax; page += 1) {
      const response = await this.#answer({ ...get(list.route, pattern), ...options });
      if (response.contentType?.startsWith('application/x-ndjson')) {
        return { ...states, names: parseLegacyList(response.body) };
      }
      const answer = parseObject(response.body);
      names.push(...stringsOf(answer[list.member]));
      for (const [state, found] of Object.entries(states)) {
        for (const name of stringsOf(answer[state])) found.add(name);
      }
      const next = answer['continue_at'];
      if (typeof next !== 'string' || next === '' || next === pattern) break;
      pattern = next;
    }
    return { ...states, names };
  }

  async #json(call: Call): Promise<KesDocument> {
    return parseObject((await this.#answer(call)).body);
  }

  async #answer(call: Call): Promise<KesResponse> {
    return checked(await this.#send(call));
  }

  #send(
    call: Call,
    seen?: (endpoint: KesEndpoint, response: KesResponse) => void,
  ): Promise<KesResponse> {
    const { method, path, signal } = call;
    const request = {
      method,
      path,
      responseBytesMax,
      signal,
      ...(call.body && { body: Buffer.from(JSON.stringify(call.body)) }),
    };
    const timeoutMs = call.timeoutMs ?? this.#timeoutMs;
    const options = { timeoutMs, signal, isRepeatable: call.isRepeatable ?? true };
    return this.#endpoints.attempt(async (endpoint, attemptMs) => {
      const sent = { ...request, timeoutMs: attemptMs };
      const response = await this.#endpoints.sendTo(endpoint, sent);
      this.#askForBatching(endpoint);
      seen?.(endpoint, response);
      return response;
    }, options);
  }
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64');
}

function contextOf(context: Uint8Array | undefined): { context?: string } {
  return context && context.length > 0 ? { context: base64(context) } : {};
}

/** Not the time of day, which may be set while a call is under way. */
function monotonicMs(): number {
  return performance.now();
}

async function sleep(ms: number, signal: AbortSignal | undefined): Promise<void> {
  try {
    await delay(ms, undefined, signal ? { signal } : {});
  } catch {
    if (signal) throw kesAbortedError(signal);
  }
}
