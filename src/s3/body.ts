// The plaintext body of a request. IN WORK: signatures are final.
import type { HeaderFields } from '../sigv4/canonical.ts';
import type { BodyChecksum } from '../store/types.ts';
import type { Authentication } from './authenticate.ts';

export type BodyOptions = {
  /** Milliseconds without a byte after which the body fails with `RequestTimeout`. Default 60,000. */
  readonly stallMs?: number;
  /** True for object data: neither content-length nor transfer-encoding → MissingContentLength (411). Default false: an empty body. */
  readonly isLengthRequired?: boolean;
};

/** Give this (spread) to `store.putObject`/`putPart`: `{ body, sizeBytes, contentMd5?, checksum? }`. */
export type RequestBody = {
  /** Plaintext; throws AuthError before its normal end when anything about the body is wrong. Iterate once. */
  readonly body: AsyncIterable<Uint8Array>;
  /** Size announced (content-length or x-amz-decoded-content-length); undefined for plain HTTP-chunked. */
  readonly sizeBytes: number | undefined;
  readonly contentMd5?: Uint8Array;
  readonly checksum?: BodyChecksum;
  /** Verified trailers, lower-case names; empty before the end of the body. */
  trailers(): Readonly<Record<string, string>>;
};

/** `source` is the IncomingMessage, or any AsyncIterable. Validates headers synchronously (throws AuthError); reads nothing until `body` is iterated. */
export declare function openBody(source: AsyncIterable<Uint8Array>, auth: Pick<Authentication, 'payload' | 'headers' | 'hoisted'>, options?: BodyOptions): RequestBody;

/** Reads the whole body into one buffer, for configuration bodies and small objects. More than maxBytes: `tooLarge()` decides the error thrown (default AuthError InvalidRequest). Does not check contentMd5/checksum. */
export declare function readSmallBody(body: RequestBody, maxBytes: number): Promise<Buffer>;

/** For configuration bodies: readSmallBody plus Content-MD5 and checksum verification (BadDigest). */
export declare function readConfigBody(body: RequestBody, maxBytes: number): Promise<Buffer>;

export declare function parseBodyChecksum(headers: HeaderFields, hoisted?: ReadonlySet<string>, sizeBytes?: number): { readonly algorithm: BodyChecksum['algorithm']; readonly expected?: string; readonly isTrailer: boolean } | undefined;
export declare function parseContentMd5(headers: HeaderFields): Uint8Array | undefined;
