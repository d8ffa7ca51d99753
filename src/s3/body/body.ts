// From the body as it arrives to the plaintext that is stored: checks the payload hash, takes off the
// `aws-chunked` framing, verifies chunk and trailer signatures and the announced size. The iteration of a
// body throws before its normal end when anything is wrong with it, so a consumer that commits only after
// the end never commits a wrong body. Everything that the headers alone decide is decided in `openBody`,
// before a byte is asked for (and before `100 Continue`).

import { createHash } from 'node:crypto';

import { type ChecksumAlgorithm, createChecksum } from '../../base/checksums.ts';
import { emptySha256, sha256Hex } from '../../sigv4/canonical.ts';
import { AuthError } from '../../sigv4/errors.ts';
import { isSameSignature } from '../../sigv4/signing-key.ts';
import type { BodyChecksum, BodyInput } from '../../store/types.ts';
import type { Authentication } from '../auth/authenticate.ts';
import type { Payload } from '../auth/payload.ts';
import {
  type AnnouncedChecksum,
  parseBodyChecksum,
  parseContentMd5,
  parseTrailerNames,
} from './body-checksum.ts';
import { readPieces, takePieces } from './body-source.ts';
import { ChunkDecoder } from './chunked.ts';

export type BodyOptions = {
  /** Longest silence of the client while we wait for bytes. Default 60,000. */
  readonly stallMs?: number;
  /** True for object data: without any length `MissingContentLength`. Default: no length, no body. */
  readonly isLengthRequired?: boolean;
  /** True where `x-amz-checksum-…` headers speak of the object and not of the body (CompleteMultipartUpload). */
  readonly ignoresChecksums?: boolean;
};

/** A body that was not read yet. Its bytes can be taken once, by one of the functions here or from `body`. */
export type RequestBody = BodyInput & {
  /** Plaintext. Throws `AuthError` before its normal end when anything about it is wrong. */
  readonly body: AsyncIterable<Uint8Array>;
  /** All of it at once; undefined when there are more than `maxBytes`. Throws as `body` does. */
  readAll(maxBytes: number): Promise<Buffer | undefined>;
  /** Verified trailers by lower-case name; empty before the end of the body. */
  trailers(): Readonly<Record<string, string>>;
};

const defaultStallMs = 60_000;

/**
 * Prepares to read the body of an authenticated request; reads nothing yet. `source` is the
 * `IncomingMessage`, which is never destroyed here. Throws `AuthError` for what the headers get wrong.
 */
export function openBody(
  source: AsyncIterable<Uint8Array>,
  auth: Pick<Authentication, 'payload' | 'headers' | 'hoisted'>,
  options: BodyOptions = {},
): RequestBody {
  const { payload, headers, hoisted } = auth;
  const sizeBytes = announcedSize(payload, headers, options.isLengthRequired === true);
  const trailerNames = parseTrailerNames(headers);
  if (trailerNames.length > 0 && !hasTrailer(payload)) {
    throw new AuthError(
      'MalformedTrailerError',
      'x-amz-trailer announces a trailer, but x-amz-content-sha256 names a body without one.',
    );
  }
  const contentMd5 = parseContentMd5(headers);
  const announced =
    options.ignoresChecksums === true
      ? undefined
      : parseBodyChecksum(headers, { hoisted, sizeBytes, trailerNames });
  const filter = bodyFilter(payload, sizeBytes, trailerNames);
  const stallMs = options.stallMs ?? defaultStallMs;
  return {
    body: filterPieces(readPieces(source, stallMs), filter),
    sizeBytes,
    ownsChunks: true,
    ...(contentMd5 === undefined ? {} : { contentMd5 }),
    ...(announced === undefined ? {} : { checksum: bodyChecksum(announced, filter) }),
    readAll: (maxBytes) => readAll(source, filter, { maxBytes, stallMs }),
    trailers: () => filter.trailers,
  };
}

/**
 * The body as the store takes it: in one piece when its size is known and at most `smallBytesMax`, else as
 * a stream.
 */
export async function readBodyInput(body: RequestBody, smallBytesMax: number): Promise<BodyInput> {
  if (body.sizeBytes === undefined || body.sizeBytes > smallBytesMax) return body;
  const bytes = await body.readAll(body.sizeBytes);
  if (bytes === undefined) throw wrongSize();
  return { ...body, body: bytes };
}

/**
 * The whole body in one buffer, or undefined when it is larger than `maxBytes`. Checks everything but
 * `contentMd5` and `checksum`. Throws `AuthError`.
 */
export async function readSmallBody(
  body: RequestBody,
  maxBytes: number,
): Promise<Buffer | undefined> {
  if (body.sizeBytes !== undefined && body.sizeBytes > maxBytes) return undefined;
  return body.readAll(maxBytes);
}

/** As `readSmallBody`, and checks `contentMd5` and `checksum` too (`BadDigest`): for configuration bodies. */
export async function readVerifiedBody(
  body: RequestBody,
  maxBytes: number,
): Promise<Buffer | undefined> {
  const bytes = await readSmallBody(body, maxBytes);
  if (bytes === undefined) return undefined;
  if (body.contentMd5 !== undefined) {
    const md5 = createHash('md5').update(bytes).digest();
    if (!md5.equals(body.contentMd5)) throw badDigest('Content-MD5');
  }
  if (body.checksum !== undefined) verifyChecksum(bytes, body.checksum);
  return bytes;
}

/** Synchronous steps between the bytes that arrive and the plaintext. */
interface BodyFilter {
  readonly trailers: Readonly<Record<string, string>>;
  push(piece: Uint8Array): readonly Uint8Array[];
  end(): void;
}

function bodyFilter(
  payload: Payload,
  sizeBytes: number | undefined,
  trailerNames: readonly string[],
): BodyFilter {
  switch (payload.kind) {
    case 'hashed':
      return new PlainFilter(sizeBytes, payload.sha256);
    case 'unsigned':
      return new PlainFilter(sizeBytes, undefined);
    case 'signed-chunks':
      return new ChunkDecoder({
        signing: payload,
        hasTrailer: payload.hasTrailer,
        trailerNames,
        sizeBytes: sizeBytes ?? 0,
      });
    case 'unsigned-chunks':
      return new ChunkDecoder({ hasTrailer: true, trailerNames, sizeBytes: sizeBytes ?? 0 });
  }
}

/** A body without framing: counts it and, when its SHA-256 was signed, hashes it. */
class PlainFilter implements BodyFilter {
  readonly trailers = {};
  readonly #sizeBytes: number | undefined;
  readonly #sha256: string | undefined;
  #digest: string | undefined;
  #hash: ReturnType<typeof createHash> | undefined;
  #receivedBytes = 0;

  constructor(sizeBytes: number | undefined, sha256: string | undefined) {
    this.#sizeBytes = sizeBytes;
    this.#sha256 = sha256;
  }

  push(piece: Uint8Array): readonly Uint8Array[] {
    this.#receivedBytes += piece.length;
    if (this.#sizeBytes !== undefined && this.#receivedBytes > this.#sizeBytes) throw wrongSize();
    if (this.#sha256 !== undefined) this.#hashPiece(piece);
    return [piece];
  }

  end(): void {
    if (this.#sizeBytes !== undefined && this.#receivedBytes !== this.#sizeBytes) throw wrongSize();
    if (this.#sha256 === undefined) return;
    const digest = this.#digest ?? this.#hash?.digest('hex') ?? emptySha256;
    if (isSameSignature(digest, this.#sha256)) return;
    throw new AuthError(
      'XAmzContentSHA256Mismatch',
      "The provided 'x-amz-content-sha256' header does not match what was computed.",
    );
  }

  /** A body of one piece, which most are, is hashed in one call. */
  #hashPiece(piece: Uint8Array): void {
    if (piece.length === this.#sizeBytes) {
      this.#digest = sha256Hex(piece);
      return;
    }
    this.#hash ??= createHash('sha256');
    this.#hash.update(piece);
  }
}

async function* filterPieces(
  pieces: AsyncIterable<Uint8Array>,
  filter: BodyFilter,
): AsyncGenerator<Uint8Array> {
  for await (const piece of pieces) {
    for (const data of filter.push(piece)) yield data;
  }
  filter.end();
}

async function readAll(
  source: AsyncIterable<Uint8Array>,
  filter: BodyFilter,
  limits: { readonly maxBytes: number; readonly stallMs: number },
): Promise<Buffer | undefined> {
  const held: Uint8Array[] = [];
  let heldBytes = 0;
  const isWhole = await takePieces(source, limits.stallMs, (piece) => {
    for (const data of filter.push(piece)) {
      held.push(data);
      heldBytes += data.length;
    }
    return heldBytes <= limits.maxBytes;
  });
  if (!isWhole) return undefined;
  filter.end();
  const [first] = held;
  if (held.length === 1 && Buffer.isBuffer(first)) return first;
  return Buffer.concat(held);
}

function bodyChecksum(announced: AnnouncedChecksum, filter: BodyFilter): BodyChecksum {
  const { algorithm, expected, trailerName } = announced;
  if (expected !== undefined) return { algorithm, expected };
  return { algorithm, expected: () => filter.trailers[trailerName] };
}

function verifyChecksum(bytes: Uint8Array, checksum: BodyChecksum): void {
  const { expected } = checksum;
  const text = typeof expected === 'function' ? expected() : expected;
  if (text === undefined) return;
  const state = createChecksum(checksum.algorithm satisfies ChecksumAlgorithm);
  state.update(bytes);
  if (state.digest().toString('base64') !== text) throw badDigest(checksum.algorithm);
}

function hasTrailer(payload: Payload): boolean {
  return (
    payload.kind === 'unsigned-chunks' || (payload.kind === 'signed-chunks' && payload.hasTrailer)
  );
}

function announcedSize(
  payload: Payload,
  headers: Authentication['headers'],
  isLengthRequired: boolean,
): number | undefined {
  const decoded = headers['x-amz-decoded-content-length'];
  if (payload.kind === 'signed-chunks' || payload.kind === 'unsigned-chunks') {
    const sizeBytes = parseSize(decoded);
    if (sizeBytes === undefined) {
      throw new AuthError(
        'MissingContentLength',
        'A body in chunks needs its size in the x-amz-decoded-content-length header.',
      );
    }
    return sizeBytes;
  }
  if (decoded !== undefined && /\baws-chunked\b/i.test(headers['content-encoding'] ?? '')) {
    throw new AuthError(
      'InvalidRequest',
      'A body in aws-chunked encoding needs a STREAMING-… value in x-amz-content-sha256.',
    );
  }
  const length = headers['content-length'];
  if (length !== undefined) {
    const sizeBytes = parseSize(length);
    if (sizeBytes === undefined) {
      throw new AuthError('InvalidRequest', 'The Content-Length header must be a number.');
    }
    return sizeBytes;
  }
  if (headers['transfer-encoding'] !== undefined) return undefined;
  if (isLengthRequired) {
    throw new AuthError('MissingContentLength', 'You must provide the Content-Length HTTP header.');
  }
  return 0;
}

function parseSize(text: string | undefined): number | undefined {
  if (text === undefined || !/^\d{1,15}$/.test(text)) return undefined;
  return Number(text);
}

function wrongSize(): AuthError {
  return new AuthError(
    'IncompleteBody',
    'You did not provide the number of bytes specified by the Content-Length HTTP header',
  );
}

function badDigest(what: string): AuthError {
  return new AuthError('BadDigest', `The ${what} you specified did not match what we received.`);
}
