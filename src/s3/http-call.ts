// One request as the handlers see it: the parts of `S3Call` filled from `node:http`, with the body opened
// only when a handler asks for it, and `100 Continue` sent no earlier than that.

import type { IncomingMessage } from 'node:http';
import { TLSSocket } from 'node:tls';
import { type Identity, recordedOwner } from '../iam/identity.ts';
import type { BodyInput, BucketInfo, ObjectStore } from '../store/types.ts';
import { RequestAccess } from './access/access.ts';
import type { Authentication } from './auth/authenticate.ts';
import { openBody, readBodyInput, readVerifiedBody } from './body/body.ts';
import type { DocumentOptions, S3Call, S3Environment } from './call.ts';
import type { S3Headers } from './headers.ts';
import { checksumHeaderNames } from './checksum-headers.ts';
import { CustomerKeys } from './customer-keys.ts';
import { S3Error } from './errors.ts';
import type { S3Operation } from './operation.ts';
import type { Permission } from './access/permission.ts';
import type { PolicyCache } from './access/policy-cache.ts';
import type { Exchange } from './respond.ts';
import type { S3Target } from './target.ts';

/** Bodies up to here are read into one buffer before the store is called. */
const smallBodyBytesMax = 128 * 1024;
/** The largest object of one PUT or part. */
const objectBytesMax = 5 * 1024 ** 3;

export type CallParts = {
  readonly exchange: Exchange;
  readonly target: S3Target;
  readonly operation: S3Operation;
  readonly authentication: Authentication;
  readonly store: ObjectStore;
  readonly policies: PolicyCache;
  readonly addressOf: (request: IncomingMessage) => string | undefined;
  readonly environment: S3Environment;
  readonly stallMs: number;
};

export class HttpCall implements S3Call {
  readonly target: S3Target;
  readonly headers: S3Headers;
  readonly method: string;
  readonly store: ObjectStore;
  readonly environment: S3Environment;
  readonly identity: Identity;
  readonly owner: string;
  readonly customerKeys: CustomerKeys;
  /** Decides what this request may do. */
  readonly access: RequestAccess;
  readonly #parts: CallParts;
  #document: Uint8Array | undefined;

  constructor(parts: CallParts) {
    this.#parts = parts;
    this.target = parts.target;
    this.headers = parts.authentication.headers;
    this.customerKeys = new CustomerKeys(this.headers);
    this.method = parts.exchange.request.method ?? '';
    this.store = parts.store;
    this.environment = parts.environment;
    this.identity = parts.authentication.identity;
    this.owner = recordedOwner(this.identity);
    this.access = new RequestAccess({
      operation: parts.operation,
      target: parts.target,
      identity: parts.authentication.identity,
      authentication: parts.authentication,
      socket: parts.exchange.request.socket,
      findAddress: () => parts.addressOf(parts.exchange.request),
      nowMs: Date.now(),
      store: parts.store,
      policies: parts.policies,
      grantsOwners: parts.environment.grantsOwners,
      describeOwner: (ownerId) => parts.environment.describeOwner(ownerId),
      readDocument: (options) => this.readDocument(options),
    });
  }

  get bucket(): BucketInfo | undefined {
    return this.access.bucket;
  }

  isAllowed(permissions: readonly Permission[]): Promise<boolean> {
    return this.access.isAllowed(permissions);
  }

  get origin(): string {
    const { request } = this.#parts.exchange;
    const forwarded = request.headers['x-forwarded-proto'];
    const isSecure = request.socket instanceof TLSSocket || forwarded === 'https';
    return `${isSecure ? 'https' : 'http'}://${request.headers.host ?? ''}`;
  }

  async openBody(): Promise<BodyInput> {
    const { exchange, authentication, stallMs } = this.#parts;
    const body = openBody(exchange.request, authentication, { stallMs, isLengthRequired: true });
    const { sizeBytes } = body;
    if (sizeBytes !== undefined && sizeBytes > objectBytesMax) {
      throw new S3Error('EntityTooLarge', undefined, {
        details: { ProposedSize: String(sizeBytes), MaxSizeAllowed: String(objectBytesMax) },
      });
    }
    if (exchange.isAwaitingContinue) return { ...body, body: this.#afterContinue(body.body) };
    return readBodyInput(body, smallBodyBytesMax);
  }

  async readDocument(options: DocumentOptions): Promise<Uint8Array> {
    const { exchange, authentication, stallMs } = this.#parts;
    if (options.isDigestRequired === true && !hasDigest(this.headers)) {
      throw new S3Error(
        'InvalidRequest',
        'Missing required header for this request: Content-MD5 OR x-amz-checksum-*',
      );
    }
    if (this.#document !== undefined) {
      if (this.#document.length > options.maxBytes) throw new S3Error('MalformedXML');
      return this.#document;
    }
    const body = openBody(exchange.request, authentication, {
      stallMs,
      ignoresChecksums: options.ignoresChecksumHeaders === true,
    });
    if (body.sizeBytes !== undefined && body.sizeBytes > options.maxBytes) {
      throw new S3Error('MalformedXML');
    }
    if (exchange.isAwaitingContinue) this.#sendContinue();
    const document = await readVerifiedBody(body, options.maxBytes);
    if (document === undefined) throw new S3Error('MalformedXML');
    this.#document = document;
    return document;
  }

  /** The store asks for the first byte when it has checked all else: bucket, upload, conditions. */
  async *#afterContinue(body: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    this.#sendContinue();
    yield* body;
  }

  #sendContinue(): void {
    const { exchange } = this.#parts;
    exchange.isAwaitingContinue = false;
    exchange.response.writeContinue();
  }
}

function hasDigest(headers: S3Headers): boolean {
  if (headers['content-md5'] !== undefined || headers['x-amz-trailer'] !== undefined) return true;
  return checksumHeaderNames.some((name) => headers[name] !== undefined);
}

/** True when the request announces that it waits for `100 Continue`. */
export function awaitsContinue(request: IncomingMessage): boolean {
  const expect = request.headers['expect'];
  return expect !== undefined && expect.toLowerCase() === '100-continue';
}
