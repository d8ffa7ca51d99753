// Encryption headers: what a request asks for, what is refused, what a response shows. A header that
// asks for protection is honoured or refused, never ignored; a response says what is stored, not what was
// asked for.

import { encodeContext } from '../sse/context.ts';
import {
  dsseKmsMethod,
  parseSseKmsHeaders,
  requestedEncryption,
  sseCAlgorithm,
  sseHeaderNames,
  sseKmsMethod,
  sseS3Method,
} from '../sse/headers.ts';
import { SseError } from '../sse/sse-error.ts';
import type { EncryptionRequest, ObjectEncryption } from '../store/types.ts';
import type { ReplyHeaders, S3Call } from './call.ts';
import type { S3Headers } from './headers.ts';
import { invalidArgument, noKmsText, S3Error } from './errors.ts';

const { method: sseHeader, keyId: keyIdHeader, context: contextHeader } = sseHeaderNames;
const { customerAlgorithm, customerKeyMd5, bucketKey: bucketKeyHeader } = sseHeaderNames;

const methodText =
  'Server Side Encryption with AWS KMS managed key requires HTTP header x-amz-server-side-encryption : aws:kms';
const incompatibleText =
  'Server Side Encryption with Customer provided key is incompatible with the encryption method specified';

/**
 * The encryption that a write asks for (PutObject, CopyObject, CreateMultipartUpload). Throws `S3Error`
 * for contradictions, malformed values and unknown algorithms, and `NotImplemented` for what needs a key
 * service when the store has none.
 */
export function encryptionOfWrite(
  call: S3Call,
  options: { readonly isCopy?: boolean } = {},
): EncryptionRequest {
  const { headers } = call;
  const { sseC, sseCCopySource } = requestedEncryption(headers);
  const algorithm = headers[sseHeader];
  if (algorithm === undefined) refuseKmsHeadersAlone(headers);
  else checkAlgorithm(headers, algorithm);
  if (algorithm !== undefined && sseC)
    throw invalidArgument(sseHeader, algorithm, incompatibleText);
  if (sseCCopySource && options.isCopy !== true) throw copySourceKeyMisplaced();
  const customer = call.customerKeys.ofObject();
  if (customer !== undefined) return { kind: 'sse-c', clientKey: customer.clientKey };
  if (algorithm === undefined) return { kind: 'default' };
  const request = algorithm === sseS3Method ? ({ kind: 'sse-s3' } as const) : kmsRequest(headers);
  if (!call.store.hasKms) throw new S3Error('NotImplemented', noKmsText);
  if (request.kind !== 'sse-s3' && request.keyId === undefined) requireDefaultKey(call);
  return request;
}

type KmsRequest = EncryptionRequest & { readonly kind: 'sse-kms' | 'dsse-kms' };

function kmsRequest(headers: S3Headers): KmsRequest {
  const isDsse = headers[sseHeader] === dsseKmsMethod;
  const hasBucketKey = parseBucketKey(headers, isDsse);
  try {
    const { context } = parseSseKmsHeaders({ ...headers, [sseHeader]: sseKmsMethod });
    const keyId = headers[keyIdHeader] ?? '';
    const asked = {
      ...(keyId === '' ? {} : { keyId }),
      ...(context === undefined ? {} : { context }),
    };
    if (isDsse) return { kind: 'dsse-kms', ...asked };
    return { kind: 'sse-kms', ...asked, ...(hasBucketKey === undefined ? {} : { hasBucketKey }) };
  } catch (cause) {
    if (!(cause instanceof SseError)) throw cause;
    if (cause.code === 'kms-key-id') {
      const text = 'The specified KMS KeyID contains unsupported characters';
      throw new S3Error('InvalidRequest', text, { cause });
    }
    const name = cause.code === 'kms-context' ? contextHeader : sseHeader;
    throw new S3Error('InvalidArgument', cause.message, { details: { ArgumentName: name }, cause });
  }
}

/** Undefined where the bucket decides. */
function parseBucketKey(headers: S3Headers, isDsse: boolean): boolean | undefined {
  const text = headers[bucketKeyHeader];
  if (text === undefined) return undefined;
  const value = text.toLowerCase();
  if (value !== 'true' && value !== 'false') {
    throw invalidArgument(bucketKeyHeader, text, 'The value must be true or false.');
  }
  if (value === 'true' && isDsse) {
    throw invalidArgument(bucketKeyHeader, text, 'Bucket keys do not go with aws:kms:dsse.');
  }
  return value === 'true';
}

function requireDefaultKey(call: S3Call): void {
  if (call.store.defaultKeyName !== '') return;
  throw invalidArgument(keyIdHeader, '', 'No key id was given and no default key is configured.');
}

/** Refuses an unsigned read of an object that only a signed one may ask the key service for. */
export function refuseUnsignedRead(call: S3Call, encryption: ObjectEncryption | undefined): void {
  const isOfKms = encryption?.kind === 'sse-kms' || encryption?.kind === 'dsse-kms';
  if (!isOfKms || call.identity.kind !== 'anonymous') return;
  throw new S3Error(
    'AccessDenied',
    'An object encrypted with aws:kms is read with a signed request only.',
  );
}

/** GET and HEAD take no SSE-S3 or SSE-KMS header at all, and no key of a copy source. */
export function refuseEncryptionOfRead(headers: S3Headers): void {
  for (const name of [sseHeader, keyIdHeader, contextHeader, bucketKeyHeader]) {
    const value = headers[name];
    if (value !== undefined) {
      throw invalidArgument(name, value, `${name} is not applicable to a read of an object`);
    }
  }
  if (requestedEncryption(headers).sseCCopySource) throw copySourceKeyMisplaced();
}

/**
 * The parts of an upload and its completion: the encryption was fixed when the upload was created, so the
 * headers of SSE-S3 and SSE-KMS change nothing there. They are a promise all the same, which only an encrypted
 * upload keeps. Throws `InvalidRequest` for one that is not.
 */
export function refuseEncryptionOfPlainUpload(
  headers: S3Headers,
  encryption: ObjectEncryption | undefined,
): void {
  if (!asksForEncryption(headers) || encryption !== undefined) return;
  throw new S3Error(
    'InvalidRequest',
    'The upload was created without encryption; ask for it when the upload is created.',
  );
}

/** Whether a request names an encryption method or a key of the key service. */
export function asksForEncryption(headers: S3Headers): boolean {
  const names = [sseHeader, keyIdHeader, contextHeader];
  return names.some((name) => headers[name] !== undefined);
}

/** Refuses the key of a copy source where nothing is copied. Throws `InvalidArgument`. */
export function refuseCopySourceKey(headers: S3Headers): void {
  if (requestedEncryption(headers).sseCCopySource) throw copySourceKeyMisplaced();
}

/**
 * Appends the response headers that show how an object or upload is encrypted. Those of SSE-C echo what the
 * request sent. The context is shown where `hasContext` says so.
 */
export function addEncryptionHeaders(
  headers: ReplyHeaders,
  encryption: ObjectEncryption | undefined,
  how: { readonly call: S3Call; readonly hasContext: boolean },
): void {
  if (encryption === undefined) return;
  if (encryption.kind === 'sse-c') {
    headers.push(customerAlgorithm, sseCAlgorithm);
    const keyMd5 = how.call.customerKeys.ofObject()?.keyMd5;
    if (keyMd5 !== undefined) headers.push(customerKeyMd5, keyMd5);
    return;
  }
  if (encryption.kind === 'sse-s3') {
    headers.push(sseHeader, sseS3Method);
    return;
  }
  const method = encryption.kind === 'dsse-kms' ? dsseKmsMethod : sseKmsMethod;
  headers.push(sseHeader, method, keyIdHeader, encryption.keyId);
  if (encryption.kind === 'sse-kms' && encryption.hasBucketKey === true) {
    headers.push(bucketKeyHeader, 'true');
  }
  if (encryption.context !== undefined && how.hasContext) {
    headers.push(contextHeader, encodeContext(encryption.context).toString('base64'));
  }
}

function refuseKmsHeadersAlone(headers: S3Headers): void {
  for (const name of [keyIdHeader, contextHeader]) {
    const value = headers[name];
    if (value !== undefined) throw invalidArgument(name, value, methodText);
  }
  const bucketKey = headers[bucketKeyHeader];
  if (bucketKey !== undefined && bucketKey.toLowerCase() !== 'false') {
    throw invalidArgument(bucketKeyHeader, bucketKey, methodText);
  }
}

function checkAlgorithm(headers: S3Headers, algorithm: string): void {
  if (algorithm === sseKmsMethod || algorithm === dsseKmsMethod) return;
  if (algorithm !== sseS3Method) {
    throw invalidArgument(sseHeader, algorithm, 'The encryption method specified is not supported');
  }
  refuseKmsHeadersAlone(headers);
}

function copySourceKeyMisplaced(): S3Error {
  return new S3Error(
    'InvalidArgument',
    'The key of a copy source only goes with a request that copies an object.',
    { details: { ArgumentName: sseHeaderNames.copySourceAlgorithm } },
  );
}
