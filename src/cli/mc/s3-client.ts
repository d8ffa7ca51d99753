// One server's S3 API as this client uses it: addressing, the region of each bucket (asked once, as the
// reference does), signature, retries, and errors. Rules: a body is a factory, so that a retry sends it
// again from its start; over plain HTTP bodies are signed chunk by chunk, over TLS they are left to TLS.

import { createHash } from 'node:crypto';

import { findChildText, parseXml } from '../../base/xml.ts';
import { canonicalPath, toByteString } from '../../sigv4/canonical.ts';
import {
  encodedChunksSize,
  encodeSignedChunks,
  encodeUnsignedChunks,
  presignTarget,
  signRequest,
} from '../../sigv4/sign.ts';
import type { ChunkTrailer, SigningCredentials, SigningPayload } from '../../sigv4/sign.ts';
import type { Alias } from './config.ts';
import { McError } from './error.ts';
import type { Http, HttpResponse } from './http.ts';
import { isS3Retried, withRetries } from './retry.ts';
import { readBounded, readServerError } from './server-error.ts';

/** A body that can be sent again: its size and a way to read it from the start. */
export type Body = {
  readonly sizeBytes: number;
  open(): AsyncIterable<Uint8Array>;
  /** A checksum to send as a trailer; `value` belongs to the last `open`. */
  readonly trailer?: ChunkTrailer & { readonly valueLength: number };
};

export type S3Request = {
  readonly method: string;
  readonly bucket?: string;
  readonly key?: string;
  /** In any order; sorted before sending. An empty value is sent as `name=`. */
  readonly query?: Readonly<Record<string, string>>;
  readonly headers?: Readonly<Record<string, string>>;
  /** A document (hashed), a stream, or `unsigned` for no body with `UNSIGNED-PAYLOAD`. */
  readonly body?: Uint8Array | Body;
  readonly isUnsigned?: boolean;
  /** Anything else is an error. Default: 200, 204, 206. */
  readonly statuses?: readonly number[];
  readonly regionOverride?: string;
  /** Also sent after an interrupt, once and with little patience. */
  readonly isCleanup?: boolean;
};

export type S3ClientDeps = {
  readonly http: Http;
  readonly alias: Alias;
  readonly signal: AbortSignal;
  /** `MC_REGION`, `AWS_REGION`. */
  readonly region: string | undefined;
  now(): number;
};

const documentBytesMax = 16 * 1024 * 1024;
const defaultRegion = 'us-east-1';
const cleanupMs = 5000;

/** A client of one alias. */
export class S3Client {
  readonly alias: Alias;
  readonly origin: string;
  readonly isTls: boolean;
  readonly #deps: S3ClientDeps;
  readonly #regions = new Map<string, Promise<string>>();

  constructor(deps: S3ClientDeps) {
    this.#deps = deps;
    this.alias = deps.alias;
    this.origin = deps.alias.url.replace(/\/$/, '');
    this.isTls = this.origin.startsWith('https:');
  }

  /** `scheme://host/bucket/key`, not encoded: how the reference names an object. */
  url(bucket: string, key = ''): string {
    return `${this.origin}/${bucket}${key === '' && bucket !== '' ? '' : '/'}${key}`.replace(
      /\/$/,
      key.endsWith('/') ? '/' : '',
    );
  }

  /** Sends a request and leaves the body to the caller, who must read or destroy it. */
  async send(request: S3Request): Promise<HttpResponse> {
    const region = await this.#regionFor(request);
    const isRetried = request.isCleanup === true ? () => false : isS3Retried;
    const rules = { signal: this.#deps.signal, isRetried };
    return withRetries(rules, async () => {
      try {
        return await this.#attempt(request, region);
      } catch (error) {
        const other = regionHint(error);
        if (other === undefined || other === region || request.bucket === undefined) throw error;
        this.#regions.set(request.bucket, Promise.resolve(other));
        return this.#attempt(request, other);
      }
    });
  }

  /** Sends a request and reads the whole (bounded) answer. */
  async call(request: S3Request): Promise<{ response: HttpResponse; body: Uint8Array }> {
    const response = await this.send(request);
    try {
      return { response, body: await readBounded(response.body, documentBytesMax) };
    } catch (cause) {
      throw new McError('transport', 'the connection broke while reading the answer', { cause });
    }
  }

  /** A signed link that works for seven days. */
  async presign(bucket: string, key: string): Promise<string> {
    const { origin, target, host } = this.#address({ method: 'GET', bucket, key });
    const credentials = this.#credentials();
    if (credentials === undefined) return `${origin}${target}`;
    const signed = presignTarget({
      method: 'GET',
      target,
      headers: { host },
      credentials,
      region: await this.#regionFor({ method: 'GET', bucket }),
      timeMs: this.#deps.now(),
      expiresSeconds: 604_800,
    });
    return `${origin}${signed}`;
  }

  /** The region a bucket is in; also the test that it exists. Cached for the command's life. */
  async location(bucket: string): Promise<string> {
    const known = this.#regions.get(bucket);
    if (known !== undefined) return known;
    const asked = this.#askLocation(bucket);
    this.#regions.set(bucket, asked);
    asked.catch(() => this.#regions.delete(bucket));
    return asked;
  }

  async #askLocation(bucket: string): Promise<string> {
    checkBucketName(bucket);
    try {
      const { body } = await this.call({
        method: 'GET',
        bucket,
        query: { location: '' },
        isUnsigned: this.isTls,
        regionOverride: defaultRegion,
        statuses: [200],
      });
      const text = parseXml(body, { maxBytes: documentBytesMax }).text.trim();
      if (text === 'EU') return 'eu-west-1';
      return text === '' ? defaultRegion : text;
    } catch (error) {
      if (error instanceof McError && error.serverCode === 'AccessDenied') {
        return regionHint(error) ?? defaultRegion;
      }
      throw error;
    }
  }

  async #regionFor(request: S3Request): Promise<string> {
    if (request.regionOverride !== undefined) return request.regionOverride;
    if (this.#deps.region !== undefined) return this.#deps.region;
    if (request.bucket === undefined || request.bucket === '') return defaultRegion;
    return this.location(request.bucket);
  }

  async #attempt(request: S3Request, region: string): Promise<HttpResponse> {
    const { origin, target, host } = this.#address(request);
    const { headers, body } = this.#sign({ request, region, target, host });
    const response = await this.#deps.http.send({
      method: request.method,
      origin,
      target,
      headers,
      ...(body === undefined ? {} : { body }),
      ...(request.isCleanup === true ? { signal: AbortSignal.timeout(cleanupMs) } : {}),
    });
    if ((request.statuses ?? [200, 204, 206]).includes(response.status)) return response;
    throw await readServerError(response, {
      ...(request.bucket === undefined ? {} : { bucket: request.bucket }),
      ...(request.key === undefined ? {} : { key: request.key }),
    });
  }

  #address(request: S3Request): { origin: string; target: string; host: string } {
    const base = new URL(this.origin);
    let host = base.host;
    let path = '/';
    if (request.bucket !== undefined && request.bucket !== '') {
      const key = request.key ?? '';
      if (this.#isVirtualHost(request.bucket, base)) {
        host = `${request.bucket}.${host}`;
        path = `/${encodeKey(key)}`;
      } else path = `/${request.bucket}/${encodeKey(key)}`;
    }
    const query = Object.entries(request.query ?? {})
      .sort(([left], [right]) => (left < right ? -1 : 1))
      .map(([name, value]) => `${encodeURIComponent(name)}=${encodeQuery(value)}`)
      .join('&');
    return {
      origin: `${base.protocol}//${host}`,
      target: query === '' ? path : `${path}?${query}`,
      host,
    };
  }

  #isVirtualHost(bucket: string, base: URL): boolean {
    if (this.alias.path === 'on' || this.alias.path === 'path') return false;
    if (this.alias.path === 'off') return true;
    if (base.protocol === 'https:' && bucket.includes('.')) return false;
    return /(^|\.)(amazonaws\.com(\.cn)?|storage\.googleapis\.com)$/.test(base.hostname);
  }

  #credentials(): SigningCredentials | undefined {
    const { accessKey, secretKey, sessionToken } = this.alias;
    if (accessKey === '' && secretKey === '') return undefined;
    return { accessKey, secretKey, ...(sessionToken === undefined ? {} : { sessionToken }) };
  }

  #sign(input: { request: S3Request; region: string; target: string; host: string }): {
    headers: Record<string, string>;
    body?: Uint8Array | AsyncIterable<Uint8Array>;
  } {
    const { request, region, target, host } = input;
    const payload = this.#payload(request);
    const plain: Record<string, string> = { host };
    for (const [name, value] of Object.entries(request.headers ?? {})) {
      plain[name.toLowerCase()] = toByteString(value);
    }
    plain['accept-encoding'] ??= 'identity';
    const length = contentLength(request, payload);
    if (length !== undefined) plain['content-length'] = String(length);
    if (payload.kind === 'unsigned-chunks') plain['content-encoding'] = 'aws-chunked';
    const credentials = this.#credentials();
    if (credentials === undefined) {
      return { headers: plain, ...openBody(request, payload, undefined) };
    }
    const timeMs = this.#deps.now();
    const unsigned = takeUnsigned(plain, payload);
    const signed = signRequest({
      method: request.method,
      target,
      headers: plain,
      credentials,
      region,
      timeMs,
      payload,
    });
    return {
      headers: { ...signed.headers, ...unsigned },
      ...openBody(request, payload, signed),
    };
  }

  #payload(request: S3Request): SigningPayload {
    const { body } = request;
    if (body === undefined)
      return request.isUnsigned === true ? { kind: 'unsigned' } : { kind: 'empty' };
    if (body instanceof Uint8Array) {
      return request.isUnsigned === true ? { kind: 'unsigned' } : { kind: 'bytes', bytes: body };
    }
    const { sizeBytes, trailer } = body;
    if (this.#credentials() === undefined) return { kind: 'unsigned' };
    if (!this.isTls) {
      return {
        kind: 'signed-chunks',
        sizeBytes,
        ...(trailer === undefined ? {} : { trailer: trailer.name }),
      };
    }
    return trailer === undefined
      ? { kind: 'unsigned' }
      : { kind: 'unsigned-chunks', sizeBytes, trailer: trailer.name };
  }
}

/** Headers of a chunked body that the reference sends unsigned. */
function takeUnsigned(
  headers: Record<string, string>,
  payload: SigningPayload,
): Record<string, string> {
  const taken: Record<string, string> = {};
  if (payload.kind !== 'signed-chunks') return taken;
  for (const name of ['content-type', 'content-length']) {
    const value = headers[name];
    if (value === undefined) continue;
    taken[name] = value;
    delete headers[name];
  }
  return taken;
}

function contentLength(request: S3Request, payload: SigningPayload): number | undefined {
  const { body } = request;
  if (body === undefined)
    return request.method === 'PUT' || request.method === 'POST' ? 0 : undefined;
  if (body instanceof Uint8Array) return body.length;
  if (payload.kind === 'signed-chunks' || payload.kind === 'unsigned-chunks') {
    return encodedChunksSize(payload, body.trailer?.valueLength ?? 0);
  }
  return body.sizeBytes;
}

function openBody(
  request: S3Request,
  payload: SigningPayload,
  signed: Parameters<typeof encodeSignedChunks>[0] | undefined,
): { body?: Uint8Array | AsyncIterable<Uint8Array> } {
  const { body } = request;
  if (body === undefined) return {};
  if (body instanceof Uint8Array) return { body };
  if (payload.kind === 'signed-chunks' && signed !== undefined) {
    return { body: encodeSignedChunks(signed, body.open(), body.trailer) };
  }
  if (payload.kind === 'unsigned-chunks' && body.trailer !== undefined) {
    return { body: encodeUnsignedChunks(body.open(), body.trailer) };
  }
  return body.sizeBytes === 0 ? {} : { body: body.open() };
}

/** A key as it stands in a path. */
export function encodeKey(key: string): string {
  return canonicalPath(`/${encodeURIComponent(key).replaceAll('%2F', '/')}`).slice(1);
}

function encodeQuery(value: string): string {
  return encodeURIComponent(value).replace(
    /[!'()*]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}

function regionHint(error: unknown): string | undefined {
  if (!(error instanceof McError)) return undefined;
  const codes = ['AuthorizationHeaderMalformed', 'InvalidRegion', 'AccessDenied'];
  if (!codes.includes(error.serverCode ?? '')) return undefined;
  const region = error.detail['Region'];
  return typeof region === 'string' && region !== '' ? region : undefined;
}

/** Throws `bucket-name` for a name that no server has, before anything is sent. */
export function checkBucketName(bucket: string): void {
  const complain = (text: string) => new McError('bucket-name', text);
  if (bucket.trim() === '') throw complain('Bucket name cannot be empty');
  if (bucket.length < 3) throw complain('Bucket name cannot be shorter than 3 characters');
  if (bucket.length > 63) throw complain('Bucket name cannot be longer than 63 characters');
  if (/^\d+\.\d+\.\d+\.\d+$/.test(bucket)) throw complain('Bucket name cannot be an ip address');
  if (/\.\.|\.-|-\./.test(bucket) || !/^[a-zA-Z0-9][a-zA-Z0-9.\-_:]+[a-zA-Z0-9]$/.test(bucket)) {
    throw complain('Bucket name contains invalid characters');
  }
}

/** `Content-MD5` of a document. */
export function contentMd5(document: Uint8Array): string {
  return createHash('md5').update(document).digest('base64');
}

/** The text of an answer's element, for callers that need one value. */
export function documentText(body: Uint8Array, name: string): string | undefined {
  return findChildText(parseXml(body, { maxBytes: documentBytesMax }), name);
}
