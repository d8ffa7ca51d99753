// What a handler gets and what it gives back. A handler reads one call and returns one reply or throws;
// it never touches the connection. So every handler can be tested with plain values, and everything that
// concerns the wire (100-continue, draining, backpressure, error bodies) is in one place.

import type { Identity, Owner } from '../iam/identity.ts';
import type { BlobReader } from '../store/blob-store.ts';
import type { BodyInput, BucketInfo, ObjectStore } from '../store/types.ts';
import type { CustomerKeys } from './customer-keys.ts';
import type { S3Headers } from './headers.ts';
import type { Permission } from './access/permission.ts';
import { findQuery, type S3Target } from './target.ts';

/** What every call of a server shares. */
export type S3Environment = {
  readonly region: string;
  /** The owner with this id; nobody's has the empty name. */
  describeOwner(ownerId: string): Owner | Promise<Owner>;
  /** Writes without any SSE header are encrypted even where the bucket has no default. */
  readonly autoEncryption: boolean;
  /** Users may do everything with what they own, whatever their policies allow. */
  readonly grantsOwners: boolean;
};

export type DocumentOptions = {
  readonly maxBytes: number;
  /** Refuses (`InvalidRequest`) a body that neither Content-MD5 nor a checksum header protects. */
  readonly isDigestRequired?: boolean;
  /** The checksum headers speak of the object, not of this document (CompleteMultipartUpload). */
  readonly ignoresChecksumHeaders?: boolean;
};

export interface S3Call {
  readonly target: S3Target;
  readonly headers: S3Headers;
  readonly method: string;
  /** The bucket that the request names, as it was when the request was allowed. */
  readonly bucket: BucketInfo | undefined;
  readonly store: ObjectStore;
  readonly environment: S3Environment;
  readonly identity: Identity;
  /** What records keep as the owner of what this call makes. */
  readonly owner: string;
  /** The keys that the client brings with this request. They are wiped once the handler is done. */
  readonly customerKeys: CustomerKeys;
  /** `http://host` or `https://host` as the client sees this server. */
  readonly origin: string;
  /**
   * Whether the caller may do all of that, for operations that learn only from the body what they do. Throws
   * `NoSuchBucket`.
   */
  isAllowed(permissions: readonly Permission[]): Promise<boolean>;
  /** The object data of the request, verified while it is read. Call it once, after all header checks. */
  openBody(): Promise<BodyInput>;
  /**
   * The whole body of a configuration call, verified. Read once, however often it is asked for. Throws `MalformedXML` above `maxBytes`.
   */
  readDocument(options: DocumentOptions): Promise<Uint8Array>;
}

/** Flat list of header names and values, as `writeHead` takes it. */
export type ReplyHeaders = string[];

/**
 * `body` as text is an XML document. Bytes and streams are object data and come with `sizeBytes`, the
 * Content-Length; a reply without a body but with `sizeBytes` answers HEAD.
 */
export type Reply = {
  readonly status: number;
  readonly headers: ReplyHeaders;
  readonly body?: string | Uint8Array | BlobReader;
  readonly sizeBytes?: number;
  /** Changes the content type of a text body. Default: `application/xml`. */
  readonly contentType?: string;
};

export type S3Handler = (call: S3Call) => Promise<Reply>;

const prologue = '<?xml version="1.0" encoding="UTF-8"?>\n';
const namespace = 'http://s3.amazonaws.com/doc/2006-03-01/';

/** A 200 with an XML document: `inner` is already escaped. */
export function xmlReply(root: string, inner: string, headers: ReplyHeaders = []): Reply {
  return {
    status: 200,
    headers,
    body: `${prologue}<${root} xmlns="${namespace}">${inner}</${root}>`,
  };
}

/** A 200 or 204 without a body. */
export function emptyReply(status: 200 | 204, headers: ReplyHeaders = []): Reply {
  return { status, headers };
}

/** The value of a query parameter of the call. */
export function queryOf(call: S3Call, name: string): string | undefined {
  return findQuery(call.target.query, name);
}

/** `2026-01-02T03:04:05.000Z`, as XML bodies have it. */
export function xmlTime(ms: number): string {
  return new Date(ms).toISOString();
}
