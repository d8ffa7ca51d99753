// The encryption headers of an S3 request: which kinds of encryption they ask for, and what
// exactly. "Present" includes empty. The kinds overlap on purpose: a value that nobody knows asks
// for two kinds at once and is then refused by the parser of one, so that no header that asks for
// protection is ever ignored.

import { createHash, timingSafeEqual } from 'node:crypto';
import type { KmsContext } from './kms.ts';
import { SseError } from './sse-error.ts';
import { keyNameOf, type SseKmsRequest } from './sse-kms.ts';
import { decodeBase64, decodeBase64Sized } from './strict-base64.ts';

/** By lower-case name, as Node gives them. */
export type RequestHeaders = Readonly<Record<string, string | readonly string[] | undefined>>;

const sse = 'x-amz-server-side-encryption';
const copySource = 'x-amz-copy-source-server-side-encryption';

/** The names of all headers that ask for encryption or carry its keys. */
export const sseHeaderNames = {
  method: sse,
  keyId: `${sse}-aws-kms-key-id`,
  context: `${sse}-context`,
  bucketKey: `${sse}-bucket-key-enabled`,
  customerAlgorithm: `${sse}-customer-algorithm`,
  customerKey: `${sse}-customer-key`,
  customerKeyMd5: `${sse}-customer-key-md5`,
  copySourceAlgorithm: `${copySource}-customer-algorithm`,
  copySourceKey: `${copySource}-customer-key`,
  copySourceKeyMd5: `${copySource}-customer-key-md5`,
} as const;

const triples = {
  request: [
    sseHeaderNames.customerAlgorithm,
    sseHeaderNames.customerKey,
    sseHeaderNames.customerKeyMd5,
  ],
  'copy-source': [
    sseHeaderNames.copySourceAlgorithm,
    sseHeaderNames.copySourceKey,
    sseHeaderNames.copySourceKeyMd5,
  ],
} as const;

/** The values of `x-amz-server-side-encryption`. */
export const sseS3Method = 'AES256';
export const sseKmsMethod = 'aws:kms';
export const dsseKmsMethod = 'aws:kms:dsse';
/** The one value of the customer algorithm headers. */
export const sseCAlgorithm = 'AES256';

const clientKeyBytes = 32;

/** What the headers ask for. More than one may be true. */
export type RequestedEncryption = {
  readonly sseS3: boolean;
  readonly sseKms: boolean;
  readonly sseC: boolean;
  readonly sseCCopySource: boolean;
};

/** Which kinds of encryption the request asks for. */
export function requestedEncryption(headers: RequestHeaders): RequestedEncryption {
  const method = find(headers, sseHeaderNames.method)?.toLowerCase();
  const has = (name: string) => find(headers, name) !== undefined;
  return {
    sseS3: method !== undefined && method !== sseKmsMethod,
    sseKms:
      has(sseHeaderNames.keyId) ||
      has(sseHeaderNames.context) ||
      (method !== undefined && method !== sseS3Method.toLowerCase()),
    sseC: triples.request.some(has),
    sseCCopySource: triples['copy-source'].some(has),
  };
}

/** A client's key. The receiver wipes `clientKey` when done. */
export type SseCKey = {
  /** 32 bytes. */
  readonly clientKey: Buffer;
  /** Base64 as sent, to be echoed. */
  readonly keyMd5: string;
};

/**
 * The client's key of an SSE-C request, or of its copy source. Throws `SseError`, the first code
 * that applies in the order of the table.
 */
export function parseSseCHeaders(
  headers: RequestHeaders,
  triple: keyof typeof triples = 'request',
): SseCKey {
  const [algorithm, key, md5] = triples[triple].map((name) => find(headers, name) ?? '');
  if (algorithm !== sseCAlgorithm) throw new SseError('sse-c-algorithm');
  if (!key) throw new SseError('sse-c-key-missing');
  if (!md5) throw new SseError('sse-c-md5-missing');
  const clientKey = decodeBase64Sized(key, clientKeyBytes);
  if (clientKey === undefined) throw new SseError('sse-c-key-invalid');
  const expected = decodeBase64Sized(md5, 16);
  const actual = createHash('md5').update(clientKey).digest();
  if (expected !== undefined && timingSafeEqual(expected, actual))
    return { clientKey, keyMd5: md5 };
  clientKey.fill(0);
  throw new SseError('sse-c-md5-mismatch');
}

/**
 * What an SSE-KMS request asks for. Throws `SseError`: `kms-method`, `kms-context`, `kms-key-id`.
 */
export function parseSseKmsHeaders(headers: RequestHeaders): SseKmsRequest {
  if (find(headers, sseHeaderNames.method) !== sseKmsMethod) throw new SseError('kms-method');
  const contextText = find(headers, sseHeaderNames.context);
  const context = contextText === undefined ? {} : parseContextHeader(contextText);
  const keyId = find(headers, sseHeaderNames.keyId) ?? '';
  if (keyId.startsWith(' ') || keyId.endsWith(' ')) throw new SseError('kms-key-id');
  const keyName = keyNameOf(keyId);
  return { ...(keyName && { keyName }), ...(Object.keys(context).length > 0 && { context }) };
}

function parseContextHeader(text: string): KmsContext {
  const json = decodeBase64(text);
  const context = json === undefined ? undefined : parseContextJson(json);
  if (context === undefined) throw new SseError('kms-context');
  return context;
}

/**
 * A context from the JSON object of strings that clients send and metadata keep; `null` is none.
 * Undefined when it is anything else.
 */
export function parseContextJson(json: Buffer): KmsContext | undefined {
  let value: unknown;
  try {
    value = JSON.parse(json.toString());
  } catch {
    return undefined;
  }
  if (value === null) return {};
  return isContext(value) ? value : undefined;
}

function isContext(value: unknown): value is KmsContext {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false;
  return Object.values(value).every((entry) => typeof entry === 'string');
}

/**
 * Undefined when the header is absent. One that came several times is joined, so that no value
 * hides another.
 */
function find(headers: RequestHeaders, name: string): string | undefined {
  const value = headers[name];
  return typeof value === 'string' || value === undefined ? value : value.join(', ');
}
