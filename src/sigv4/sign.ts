// Signing on the client's side: headers, presigned targets, and bodies in signed or unsigned chunks.
// The caller sends exactly the method, target, headers and bytes that were signed.
//
// Every text is a byte string (see `canonical.ts`): a header value with characters beyond ASCII goes
// through `toByteString` first.

import type { KeyObject } from 'node:crypto';

import {
  canonicalPath,
  canonicalQuery,
  canonicalRequest,
  canonicalValue,
  emptySha256,
  encodeQueryText,
  parseCanonicalQuery,
  sha256Hex,
  splitSignedTarget,
} from './canonical.ts';
import type { CredentialScope, SigningContext } from './signing-key.ts';
import {
  chunkSignature,
  deriveSigningKey,
  formatScope,
  requestSignature,
  trailerSignature,
} from './signing-key.ts';
import { formatAmzDate } from './time.ts';

/** Who signs. */
export type SigningCredentials = {
  readonly accessKey: string;
  readonly secretKey: string;
  readonly sessionToken?: string;
};

/**
 * How the body is covered by the signature. `trailer` is the name of the one trailer header that will end
 * the body. `sizeBytes` of chunked payloads is the size of the data inside the chunks.
 */
export type SigningPayload =
  | { readonly kind: 'empty' }
  | { readonly kind: 'bytes'; readonly bytes: Uint8Array }
  | { readonly kind: 'hash'; readonly sha256: string }
  | { readonly kind: 'unsigned' }
  | { readonly kind: 'signed-chunks'; readonly sizeBytes: number; readonly trailer?: string }
  | { readonly kind: 'unsigned-chunks'; readonly sizeBytes: number; readonly trailer: string };

export type SignInput = {
  readonly method: string;
  /** Path and query exactly as they will be sent, percent-encoded. */
  readonly target: string;
  /** By lower-case name; `host` must be there. Never `authorization`. */
  readonly headers: Readonly<Record<string, string>>;
  readonly credentials: SigningCredentials;
  /** May be empty (admin API). */
  readonly region: string;
  /** Default `s3`. */
  readonly service?: string;
  readonly timeMs: number;
  readonly payload: SigningPayload;
};

export type SignedRequest = {
  /** Everything to send: what was given, plus the `x-amz-…` headers and `authorization`. */
  readonly headers: Record<string, string>;
  readonly signature: string;
  /** For `encodeSignedChunks`. */
  readonly context: SigningContext;
};

/** Headers that proxies and HTTP libraries change or add, so they are never signed. */
const neverSigned: ReadonlySet<string> = new Set([
  'authorization',
  'user-agent',
  'accept-encoding',
  'connection',
  'expect',
  'transfer-encoding',
]);

/** Signs a request by headers. Pure: the same input gives the same signature. */
export function signRequest(input: SignInput): SignedRequest {
  const timestamp = formatAmzDate(input.timeMs);
  const payloadHash = contentSha256(input.payload);
  const headers: Record<string, string> = {
    ...input.headers,
    ...payloadHeaders(input.payload),
    'x-amz-date': timestamp,
    'x-amz-content-sha256': payloadHash,
  };
  if (input.credentials.sessionToken !== undefined) {
    headers['x-amz-security-token'] = input.credentials.sessionToken;
  }
  const names = Object.keys(headers)
    .filter((name) => !neverSigned.has(name))
    .sort();
  const { path, query } = splitSignedTarget(input.target);
  const context = signingContext(input, timestamp);
  const signature = requestSignature(
    context,
    canonicalRequest({
      method: input.method,
      path: canonicalPath(path),
      query: canonicalQuery(parseCanonicalQuery(query)),
      headerLines: headerLines(names, headers),
      signedHeaders: names.join(';'),
      payloadHash,
    }),
  );
  headers['authorization'] =
    `AWS4-HMAC-SHA256 Credential=${input.credentials.accessKey}/${context.scope}, SignedHeaders=${names.join(';')}, Signature=${signature}`;
  return { headers, signature, context };
}

export type PresignInput = Omit<SignInput, 'payload'> & {
  /** 1 to 604,800. */
  readonly expiresSeconds: number;
};

/**
 * Signs a request into its query, for anybody who holds the target. Returns the target with the
 * signature; the headers given (at least `host`) must be sent as they were signed. The body is unsigned.
 */
export function presignTarget(input: PresignInput): string {
  const timestamp = formatAmzDate(input.timeMs);
  const context = signingContext(input, timestamp);
  const names = Object.keys(input.headers)
    .filter((name) => !neverSigned.has(name))
    .sort();
  const { path, query } = splitSignedTarget(input.target);
  const signedQuery: [string, string][] = [
    ['X-Amz-Algorithm', 'AWS4-HMAC-SHA256'],
    ['X-Amz-Credential', `${input.credentials.accessKey}/${context.scope}`],
    ['X-Amz-Date', timestamp],
    ['X-Amz-Expires', String(input.expiresSeconds)],
    ['X-Amz-SignedHeaders', names.join(';')],
  ];
  if (input.credentials.sessionToken !== undefined) {
    signedQuery.push(['X-Amz-Security-Token', input.credentials.sessionToken]);
  }
  const added = signedQuery.map(([name, value]) => ({ name, value: encodeQueryText(value) }));
  const fullQuery = canonicalQuery([...parseCanonicalQuery(query), ...added]);
  const signature = requestSignature(
    context,
    canonicalRequest({
      method: input.method,
      path: canonicalPath(path),
      query: fullQuery,
      headerLines: headerLines(names, input.headers),
      signedHeaders: names.join(';'),
      payloadHash: 'UNSIGNED-PAYLOAD',
    }),
  );
  return `${path}?${fullQuery}&X-Amz-Signature=${signature}`;
}

/** The value of `x-amz-content-sha256`. */
export function contentSha256(payload: SigningPayload): string {
  switch (payload.kind) {
    case 'empty':
      return emptySha256;
    case 'bytes':
      return sha256Hex(payload.bytes);
    case 'hash':
      return payload.sha256;
    case 'unsigned':
      return 'UNSIGNED-PAYLOAD';
    case 'signed-chunks':
      return payload.trailer === undefined
        ? 'STREAMING-AWS4-HMAC-SHA256-PAYLOAD'
        : 'STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER';
    case 'unsigned-chunks':
      return 'STREAMING-UNSIGNED-PAYLOAD-TRAILER';
  }
}

/** Data bytes per chunk of the encoders below; the last one may be shorter. */
export const chunkBytes = 65536;

/** A trailer to end the body with; `value` is called after the last data byte was taken from the source. */
export type ChunkTrailer = { readonly name: string; value(): string };

/**
 * Frames a body in signed chunks, in the order and sizes of `signRequest` with `kind: 'signed-chunks'`.
 * The source's bytes are yielded as they are, between the frames; they may come in pieces of any size.
 */
export async function* encodeSignedChunks(
  signed: Pick<SignedRequest, 'signature' | 'context'>,
  source: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  trailer?: ChunkTrailer,
): AsyncGenerator<Uint8Array> {
  let previous = signed.signature;
  for await (const data of inChunks(source)) {
    previous = chunkSignature(signed.context, previous, sha256Hex(data));
    yield Buffer.from(`${data.length.toString(16)};chunk-signature=${previous}\r\n`, 'latin1');
    yield data;
    yield Buffer.from('\r\n');
  }
  previous = chunkSignature(signed.context, previous, emptySha256);
  const last = `0;chunk-signature=${previous}\r\n`;
  if (trailer === undefined) {
    yield Buffer.from(`${last}\r\n`, 'latin1');
    return;
  }
  const line = `${trailer.name.toLowerCase()}:${trailer.value()}`;
  const signature = trailerSignature(signed.context, previous, `${line}\n`);
  yield Buffer.from(`${last}${line}\r\nx-amz-trailer-signature:${signature}\r\n\r\n`, 'latin1');
}

/** Frames a body in unsigned chunks with a trailer, for `kind: 'unsigned-chunks'`. */
export async function* encodeUnsignedChunks(
  source: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  trailer: ChunkTrailer,
): AsyncGenerator<Uint8Array> {
  for await (const data of inChunks(source)) {
    yield Buffer.from(`${data.length.toString(16)}\r\n`, 'latin1');
    yield data;
    yield Buffer.from('\r\n');
  }
  yield Buffer.from(`0\r\n${trailer.name.toLowerCase()}:${trailer.value()}\r\n\r\n`, 'latin1');
}

/**
 * The length of what the encoders yield, for `content-length`. `trailerValueLength` is the number of
 * characters of the trailer's value (base64 checksums have a fixed one).
 */
export function encodedChunksSize(
  payload: Extract<SigningPayload, { kind: 'signed-chunks' | 'unsigned-chunks' }>,
  trailerValueLength = 0,
): number {
  const isSigned = payload.kind === 'signed-chunks';
  const extension = isSigned ? ';chunk-signature='.length + 64 : 0;
  const frame = (size: number) => size.toString(16).length + extension + 2;
  const whole = Math.floor(payload.sizeBytes / chunkBytes);
  const rest = payload.sizeBytes % chunkBytes;
  let total = whole * (frame(chunkBytes) + chunkBytes + 2) + frame(0) + 2;
  if (rest > 0) total += frame(rest) + rest + 2;
  if (payload.trailer !== undefined) {
    total += payload.trailer.length + 1 + trailerValueLength + 2;
    if (isSigned) total += 'x-amz-trailer-signature:'.length + 64 + 2;
  }
  return total;
}

/** Regroups a stream into pieces of `chunkBytes`, the last one shorter. Copies only what spans pieces. */
async function* inChunks(
  source: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
): AsyncGenerator<Uint8Array> {
  let held: Uint8Array[] = [];
  let heldBytes = 0;
  for await (const piece of source) {
    let rest = piece;
    while (heldBytes + rest.length >= chunkBytes) {
      const taken = rest.subarray(0, chunkBytes - heldBytes);
      rest = rest.subarray(taken.length);
      yield held.length === 0 ? taken : Buffer.concat([...held, taken]);
      held = [];
      heldBytes = 0;
    }
    if (rest.length > 0) {
      held.push(rest);
      heldBytes += rest.length;
    }
  }
  if (heldBytes > 0) yield Buffer.concat(held);
}

function payloadHeaders(payload: SigningPayload): Record<string, string> {
  if (payload.kind !== 'signed-chunks' && payload.kind !== 'unsigned-chunks') return {};
  const headers: Record<string, string> = {
    'x-amz-decoded-content-length': String(payload.sizeBytes),
  };
  if (payload.trailer !== undefined) headers['x-amz-trailer'] = payload.trailer.toLowerCase();
  return headers;
}

function headerLines(names: readonly string[], headers: Readonly<Record<string, string>>): string {
  let lines = '';
  // Every name is a key of `headers`.
  for (const name of names) lines += `${name}:${canonicalValue(headers[name] as string)}\n`;
  return lines;
}

function signingContext(
  input: Pick<SignInput, 'credentials' | 'region' | 'service'>,
  timestamp: string,
): SigningContext {
  const scope: CredentialScope = {
    date: timestamp.slice(0, 8),
    region: input.region,
    service: input.service ?? 's3',
  };
  const signingKey: KeyObject = deriveSigningKey(input.credentials.secretKey, scope);
  return { signingKey, timestamp, scope: formatScope(scope) };
}
