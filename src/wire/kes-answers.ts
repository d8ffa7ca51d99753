// The answers of the key service, checked before anything believes them. Rule kept here: whatever the
// bytes are, the only thing thrown is `KesClientError`, and its text does not quote an answer that may
// hold key material.

import type {
  KesBatchResult,
  KesUseResult,
  KesDestroyResponse,
  KesKeyInfo,
  KesKeyState,
  KesKeyVersionInfo,
} from './kes.ts';
import { kesRoutes } from './kes.ts';
import { KesClientError, kesAnswerError, kesErrorText } from './kes-error.ts';

/** One route of `/v1/api`; `timeout` in seconds, 0 for none. */
export type KesApi = {
  readonly method: string;
  readonly path: string;
  readonly max_body: number;
  readonly timeout: number;
};

/** An answer that is shown rather than used. */
export type KesDocument = Readonly<Record<string, unknown>>;

/** A whole answer. */
export type KesResponse = {
  readonly status: number;
  readonly contentType: string | undefined;
  readonly body: Buffer;
};

/** The answer if it is a success; throws the error it names otherwise. */
export function checked<Answer extends KesResponse>(response: Answer): Answer {
  if (response.status >= 200 && response.status < 300) return response;
  throw kesAnswerError(response.status, kesErrorText(response.contentType, response.body));
}

function parseJson(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString('utf8'));
  } catch {
    throw nonsense(); // without the cause: its text quotes the answer
  }
}

/** The JSON object of an answer. */
export function parseObject(body: Buffer): KesDocument {
  const value = parseJson(body);
  if (!isObject(value)) throw nonsense();
  return value;
}

function isObject(value: unknown): value is KesDocument {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** A byte string of an answer, standard base64. */
export function bytesOf(answer: KesDocument, member: string): Buffer {
  const text = answer[member];
  if (typeof text !== 'string') throw nonsense();
  return Buffer.from(text, 'base64');
}

/** The texts of a list; empty for anything else. */
export function stringsOf(value: unknown): string[] {
  return Array.isArray(value) ? value.filter((each) => typeof each === 'string') : [];
}

/** A described key; members that are missing get their documented defaults. */
export function parseKeyInfo(answer: KesDocument, name: string): KesKeyInfo {
  const { algorithm, created_at: createdAt, created_by: createdBy, version } = answer;
  const { id, fingerprint, destroy_at: destroyAt } = answer;
  const state = keyStates.find((each) => each === answer['state']);
  const versions = Array.isArray(answer['versions']) ? answer['versions'].filter(isObject) : [];
  return {
    name: typeof answer['name'] === 'string' ? answer['name'] : name,
    ...(typeof algorithm === 'string' && algorithm !== '' && { algorithm }),
    created_at: typeof createdAt === 'string' ? createdAt : zeroTime,
    ...(typeof createdBy === 'string' && createdBy !== '' && { created_by: createdBy }),
    ...(state && { state }),
    ...(typeof id === 'string' && { id }),
    ...(typeof fingerprint === 'string' && { fingerprint }),
    ...(typeof version === 'number' && { version }),
    ...(versions.length > 0 && { versions: versions.map(parseKeyVersion) }),
    ...(typeof destroyAt === 'string' && { destroy_at: destroyAt }),
  };
}

const keyStates: readonly Exclude<KesKeyState, 'enabled'>[] = [
  'disabled',
  'scheduled',
  'destroyed',
];
const zeroTime = '0001-01-01T00:00:00Z';

function parseKeyVersion(version: KesDocument): KesKeyVersionInfo {
  const createdBy = textOf(version['created_by']);
  return {
    version: Number(version['version'] ?? 0),
    fingerprint: textOf(version['fingerprint']),
    created_at: textOf(version['created_at']) || zeroTime,
    ...(createdBy !== '' && { created_by: createdBy }),
  };
}

/** What became of a key that was to be destroyed. */
export function parseDestroyed(answer: KesDocument): KesDestroyResponse {
  const { state, destroy_at: destroyAt, note } = answer;
  if ((state !== 'scheduled' && state !== 'destroyed') || typeof destroyAt !== 'string') {
    throw nonsense();
  }
  return { state, destroy_at: destroyAt, ...(typeof note === 'string' && note !== '' && { note }) };
}

/** A version number of an answer. */
export function versionOf(answer: KesDocument): number {
  const { version } = answer;
  if (typeof version !== 'number' || !Number.isInteger(version)) throw nonsense();
  return version;
}

/** The list of `/v1/api`. */
export function parseApis(body: Buffer): KesApi[] {
  const list = parseJson(body);
  if (!Array.isArray(list)) throw nonsense();
  return list.filter(isObject).map((api) => ({
    method: textOf(api['method']),
    path: textOf(api['path']),
    max_body: Number(api['max_body'] ?? 0),
    timeout: Number(api['timeout'] ?? 0),
  }));
}

/** Whether that list holds the batch route. Never throws. */
export function listsBatch(response: KesResponse): boolean {
  if (response.status !== 200) return false;
  try {
    return parseApis(response.body).some((api) => api.path === batchPath);
  } catch {
    return false;
  }
}

/** Lists of servers up to 2023: one JSON object a line; an error in the middle is a line of its own. */
export function parseLegacyList(body: Buffer): string[] {
  const names: string[] = [];
  for (const line of body.toString('utf8').split('\n')) {
    if (line.trim() === '') continue;
    const entry = parseObject(Buffer.from(line));
    if (typeof entry['error'] === 'string') throw kesAnswerError(500, entry['error']);
    const name = entry['name'] ?? entry['identity'];
    if (typeof name === 'string') names.push(name);
  }
  return names;
}

/** The answer of a generate or decrypt route as a batch would have it. */
export function parseSingle(response: KesResponse): KesBatchResult {
  if (response.status !== 200) {
    const message = kesErrorText(response.contentType, response.body);
    return { status: response.status, message };
  }
  return successOf(parseObject(response.body));
}

/** The results of a batch of `count` calls. */
export function parseBatch(body: Buffer, count: number): KesBatchResult[] {
  const { results } = parseObject(body);
  if (!Array.isArray(results) || results.length !== count) throw nonsense();
  return results.map((result: unknown) => {
    if (!isObject(result)) throw nonsense();
    if (result['status'] === 200) return successOf(result);
    return { status: Number(result['status']) || 500, message: textOf(result['message']) };
  });
}

/** The statuses of a batch of `count` calls, whatever else is in the answer. */
export function parseStatuses(body: Buffer, count: number): KesUseResult[] {
  const { results } = parseObject(body);
  if (!Array.isArray(results) || results.length !== count) throw nonsense();
  return results.map((result: unknown) => {
    if (!isObject(result)) throw nonsense();
    return { status: Number(result['status']) || 500, message: textOf(result['message']) };
  });
}

function successOf(answer: KesDocument): KesBatchResult {
  const { plaintext, ciphertext } = answer;
  if (typeof plaintext !== 'string') throw nonsense();
  return { status: 200, plaintext, ...(typeof ciphertext === 'string' && { ciphertext }) };
}

const batchPath = kesRoutes.find((route) => route.name === 'key-batch')?.prefix;

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : '';
}

function nonsense(): KesClientError {
  return new KesClientError('protocol', 'kes: the answer of the key service makes no sense');
}

/** Orders names by their UTF-8 bytes. */
export function byBytes(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}
