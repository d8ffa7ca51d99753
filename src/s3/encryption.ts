// Encryption headers: what a request asks for, what is refused, what a response shows. A header that
// asks for protection is honoured or refused, never ignored. SSE-KMS and SSE-C are not served yet and
// answer NotImplemented wherever they are asked for.

import { requestedEncryption, sseHeaderNames, sseKmsMethod, sseS3Method } from '../sse/headers.ts';
import type { EncryptionRequest, ObjectEncryption } from '../store/types.ts';
import type { ReplyHeaders, S3Call, S3Headers } from './call.ts';
import { invalidArgument, noKmsText, S3Error } from './errors.ts';

const { method: sseHeader, keyId: keyIdHeader, context: contextHeader } = sseHeaderNames;
const bucketKeyHeader = 'x-amz-server-side-encryption-bucket-key-enabled';

const methodText =
  'Server Side Encryption with AWS KMS managed key requires HTTP header x-amz-server-side-encryption : aws:kms';
const incompatibleText =
  'Server Side Encryption with Customer provided key is incompatible with the encryption method specified';

/**
 * The encryption that a write asks for (PutObject, CopyObject, CreateMultipartUpload). Throws `S3Error`
 * for contradictions and unknown algorithms, and `NotImplemented` for what is not served: SSE-KMS, SSE-C,
 * and any encryption when the store has no key service.
 */
export function encryptionOfWrite(call: S3Call): EncryptionRequest {
  const { headers } = call;
  const algorithm = headers[sseHeader];
  if (algorithm === undefined) {
    refuseKmsHeadersAlone(headers);
    if (asksForCustomerKey(headers)) throw customerKeyNotServed();
    return 'default';
  }
  checkAlgorithm(headers, algorithm);
  const { sseC, sseCCopySource } = requestedEncryption(headers);
  if (sseC) throw invalidArgument(sseHeader, algorithm, incompatibleText);
  if (algorithm !== sseS3Method) throw kmsNotServed();
  if (sseCCopySource) throw customerKeyNotServed();
  if (!call.store.hasKms) throw new S3Error('NotImplemented', noKmsText);
  return 'sse-s3';
}

/** GET and HEAD take no SSE-S3 or SSE-KMS header at all, and no customer key yet. */
export function refuseEncryptionOfRead(headers: S3Headers): void {
  for (const name of [sseHeader, keyIdHeader, contextHeader, bucketKeyHeader]) {
    const value = headers[name];
    if (value !== undefined) {
      throw invalidArgument(name, value, `${name} is not applicable to a read of an object`);
    }
  }
  if (asksForCustomerKey(headers)) {
    throw customerKeyNotServed();
  }
}

/**
 * The parts of an upload and its completion: the encryption was fixed when the upload was created, so
 * `AES256` changes nothing (see `refuseEncryptionOfPlainUpload`); anything else is refused.
 */
export function refuseEncryptionOfPart(headers: S3Headers): void {
  if (asksForCustomerKey(headers)) {
    throw customerKeyNotServed();
  }
  const algorithm = headers[sseHeader];
  if (algorithm === undefined) return refuseKmsHeadersAlone(headers);
  checkAlgorithm(headers, algorithm);
  if (algorithm !== sseS3Method) throw kmsNotServed();
}

/**
 * `AES256` on a part or a completion is a promise that only an encrypted upload keeps. Throws
 * `InvalidRequest` for one that is not.
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

/** Whether a request names an encryption method. */
export function asksForEncryption(headers: S3Headers): boolean {
  return headers[sseHeader] !== undefined;
}

/** Appends the response headers that show how an object or upload is encrypted. */
export function addEncryptionHeaders(
  headers: ReplyHeaders,
  encryption: ObjectEncryption | undefined,
): void {
  if (encryption !== undefined) headers.push(sseHeader, sseS3Method);
}

function asksForCustomerKey(headers: S3Headers): boolean {
  const { sseC, sseCCopySource } = requestedEncryption(headers);
  return sseC || sseCCopySource;
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
  if (algorithm === sseKmsMethod || algorithm === 'aws:kms:dsse') return;
  if (algorithm !== sseS3Method) {
    throw invalidArgument(sseHeader, algorithm, 'The encryption method specified is not supported');
  }
  refuseKmsHeadersAlone(headers);
}

function kmsNotServed(): S3Error {
  return new S3Error(
    'NotImplemented',
    'Server side encryption with aws:kms is not implemented; use AES256',
  );
}

function customerKeyNotServed(): S3Error {
  return new S3Error(
    'NotImplemented',
    'Server side encryption with customer provided keys is not implemented; use AES256',
  );
}
