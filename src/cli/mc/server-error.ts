// A refused request as a cause: the server's XML or JSON error document, or what stands in its place when
// there is none (HEAD answers, proxies). Headers `x-minio-error-code` and `-desc` win, since a HEAD answer
// has no other way to say what was wrong.

import { findChildText, parseXml } from '../../base/xml.ts';
import { McError } from './error.ts';
import type { HttpResponse } from './http.ts';

const errorBytesMax = 1024 * 1024;

/** The members of an error document, in the order of the JSON form. */
export type ServerError = {
  readonly Code: string;
  readonly Message: string;
  readonly BucketName: string;
  readonly Key: string;
  readonly Resource: string;
  readonly RequestID: string;
  readonly HostID: string;
  readonly Region: string;
  readonly Server?: string;
};

export type ErrorContext = {
  readonly bucket?: string;
  readonly key?: string;
  /** Admin errors are shown without the server's name. */
  readonly isAdmin?: boolean;
};

/** Reads the rest of a refused answer (bounded) and makes the cause. Never rejects for its content. */
export async function readServerError(
  response: HttpResponse,
  context: ErrorContext,
): Promise<McError> {
  const body = await readBounded(response.body, errorBytesMax);
  const parsed = parseErrorBody(body) ?? emptyBodyError(response, body, context);
  const code = response.headers['x-minio-error-code'] ?? parsed.Code;
  const described = response.headers['x-minio-error-desc']?.replace(/^"(.*)"$/, '$1');
  const fields = { ...parsed, Code: code, Message: described ?? parsed.Message };
  return serverError(fields, response, context);
}

/** An error document that came with status 200 (complete multipart, copy). */
export function parseErrorDocument(
  body: Uint8Array,
  response: HttpResponse,
  context: ErrorContext,
): McError | undefined {
  const parsed = parseErrorBody(body);
  return parsed === undefined ? undefined : serverError(parsed, response, context);
}

function serverError(fields: ServerError, response: HttpResponse, context: ErrorContext): McError {
  const message = fields.Message === '' ? fields.Code : fields.Message;
  const detail = {
    Code: fields.Code,
    Message: fields.Message,
    BucketName: fields.BucketName,
    Key: fields.Key,
    ...(context.isAdmin === true || fields.Resource === '' ? {} : { Resource: fields.Resource }),
    RequestID: fields.RequestID,
    HostID: fields.HostID,
    Region: fields.Region,
    ...(context.isAdmin === true || response.headers['server'] === undefined
      ? {}
      : { Server: response.headers['server'] }),
  };
  return new McError('server', message, {
    detail,
    serverCode: fields.Code,
    status: response.status,
  });
}

function parseErrorBody(body: Uint8Array): ServerError | undefined {
  if (body.length === 0) return undefined;
  const first = String.fromCharCode(body[0] ?? 0);
  try {
    if (first === '{') return fromJson(JSON.parse(Buffer.from(body).toString('utf8')));
    const root = parseXml(body, { maxBytes: errorBytesMax });
    if (root.name !== 'Error') return undefined;
    const field = (name: string) => findChildText(root, name) ?? '';
    return {
      Code: field('Code'),
      Message: field('Message'),
      BucketName: field('BucketName'),
      Key: field('Key'),
      Resource: field('Resource'),
      RequestID: field('RequestId'),
      HostID: field('HostId'),
      Region: field('Region'),
    };
  } catch {
    return undefined;
  }
}

function fromJson(value: unknown): ServerError | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  const fields = value as Readonly<Record<string, unknown>>;
  const field = (name: string) => (typeof fields[name] === 'string' ? fields[name] : '');
  if (field('Code') === '') return undefined;
  return {
    Code: field('Code'),
    Message: field('Message'),
    BucketName: field('BucketName'),
    Key: field('Key'),
    Resource: field('Resource'),
    RequestID: field('RequestId'),
    HostID: field('HostId'),
    Region: field('Region'),
  };
}

function emptyBodyError(
  response: HttpResponse,
  body: Uint8Array,
  context: ErrorContext,
): ServerError {
  const [Code, Message] = describeStatus(response.status, context);
  return {
    Code,
    Message: body.length === 0 ? Message : Buffer.from(body).toString('utf8').slice(0, 1000),
    BucketName: context.bucket ?? '',
    Key: context.key ?? '',
    Resource: '',
    RequestID: response.headers['x-amz-request-id'] ?? '',
    HostID: response.headers['x-amz-id-2'] ?? '',
    Region: response.headers['x-amz-bucket-region'] ?? '',
  };
}

function describeStatus(status: number, context: ErrorContext): readonly [string, string] {
  switch (status) {
    case 403:
      return ['AccessDenied', 'Access Denied.'];
    case 404:
      return context.key === undefined || context.key === ''
        ? ['NoSuchBucket', 'The specified bucket does not exist.']
        : ['NoSuchKey', 'The specified key does not exist.'];
    case 409:
      return ['Conflict', 'Bucket not empty.'];
    case 412:
      return [
        'PreconditionFailed',
        'At least one of the pre-conditions you specified did not hold.',
      ];
    default:
      return [`${status}`, `The server answered ${status} without saying why.`];
  }
}

/** Reads a body to its end, but at most so many bytes; the rest is dropped with the connection. */
export async function readBounded(
  body: AsyncIterable<Uint8Array>,
  bytesMax: number,
): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  let size = 0;
  for await (const part of body) {
    parts.push(part);
    size += part.length;
    if (size >= bytesMax) break;
  }
  return Buffer.concat(parts).subarray(0, bytesMax);
}
