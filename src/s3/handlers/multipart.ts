// Multipart uploads: create, parts, part copies, completion, abort.

import { checksumAlgorithms } from '../../base/checksums.ts';
import {
  findChildText,
  listChildren,
  parseXml,
  type XmlElement,
  xmlElement,
} from '../../base/xml.ts';
import {
  type CompletedPart,
  type CompleteUploadInput,
  StoreError,
  type UploadRef,
} from '../../store/types.ts';
import {
  attributesOf,
  refuseUnservedAbortHeaders,
  refuseUnservedWriteHeaders,
} from '../attributes.ts';
import {
  emptyReply,
  queryOf,
  type Reply,
  type ReplyHeaders,
  type S3Call,
  xmlReply,
} from '../call.ts';
import { declaredChecksum, parseChecksumType, statedChecksum } from '../checksum-headers.ts';
import { unquoteEtag, writeConditions } from '../conditions.ts';
import {
  addCopySourceVersion,
  checkCopySize,
  openCopySource,
  parseCopySource,
  withBody,
} from '../copy-source.ts';
import {
  addEncryptionHeaders,
  asksForEncryption,
  encryptionOfWrite,
  refuseCopySourceKey,
  refuseEncryptionOfPlainUpload,
} from '../encryption.ts';
import { invalidArgument, S3Error } from '../errors.ts';
import { addExpiration } from '../expiration.ts';
import { lockOfWrite } from '../object-lock.ts';
import { parseCopyRange, parsePartNumber } from '../ranges.ts';
import { checksumXml, copyResultXml } from '../results.ts';
import { addVersionOfWrite } from '../versions.ts';

/** Ten thousand parts with a checksum each, and room for white space. */
const completionBytesMax = 4 * 1024 * 1024;

/** POST ?uploads. Metadata, tags and encryption of the object are fixed here. */
export async function createMultipartUpload(call: S3Call): Promise<Reply> {
  const { headers, target } = call;
  refuseUnservedWriteHeaders(headers);
  const attributes = attributesOf(headers);
  const lock = lockOfWrite(headers);
  const encryption = encryptionOfWrite(call);
  const checksum = declaredChecksum(headers);
  const upload = await call.store.createUpload({
    bucket: target.bucket,
    key: target.key,
    attributes,
    encryption,
    owner: call.owner,
    ...lock,
    ...(checksum === undefined ? {} : { checksum }),
  });
  const replyHeaders: ReplyHeaders = [];
  addEncryptionHeaders(replyHeaders, upload.encryption, { call, hasContext: true });
  if (upload.checksum !== undefined) {
    replyHeaders.push('x-amz-checksum-algorithm', upload.checksum.algorithm);
    replyHeaders.push('x-amz-checksum-type', upload.checksum.type);
  }
  const inner =
    xmlElement('Bucket', upload.bucket) +
    xmlElement('Key', upload.key) +
    xmlElement('UploadId', upload.uploadId);
  return xmlReply('InitiateMultipartUploadResult', inner, replyHeaders);
}

/** PUT ?partNumber&uploadId. */
export async function uploadPart(call: S3Call): Promise<Reply> {
  const ref = uploadOf(call);
  const partNumber = parsePartNumber(queryOf(call, 'partNumber') ?? '');
  refuseCopySourceKey(call.headers);
  const key = keyOf(call);
  const upload = await call.store.getUpload(ref);
  refuseEncryptionOfPlainUpload(call.headers, upload.encryption);
  const body = await call.openBody();
  const part = await call.store.putPart({ ...body, ...ref, ...key, partNumber });
  const headers: ReplyHeaders = ['etag', `"${part.etag}"`];
  if (part.checksum !== undefined) {
    headers.push(`x-amz-checksum-${part.checksum.algorithm.toLowerCase()}`, part.checksum.value);
  }
  addEncryptionHeaders(headers, upload.encryption, { call, hasContext: false });
  return emptyReply(200, headers);
}

/** PUT ?partNumber&uploadId with `x-amz-copy-source`. */
export async function uploadPartCopy(call: S3Call): Promise<Reply> {
  const ref = uploadOf(call);
  const partNumber = parsePartNumber(queryOf(call, 'partNumber') ?? '');
  const source = parseCopySource(call.headers['x-amz-copy-source'] ?? '');
  const key = keyOf(call);
  const upload = await call.store.getUpload(ref);
  refuseEncryptionOfPlainUpload(call.headers, upload.encryption);
  const { object } = await openCopySource(call, source);
  const { sizeBytes } = object.info;
  const rangeHeader = call.headers['x-amz-copy-source-range'];
  const range =
    rangeHeader === undefined
      ? { start: 0, end: sizeBytes }
      : parseCopyRange(rangeHeader, sizeBytes);
  checkCopySize(range.end - range.start);
  const isWhole = range.end - range.start === sizeBytes;
  const part = await withBody(await object.read(isWhole ? undefined : range), (body) =>
    call.store.putPart({ ...ref, ...key, partNumber, body, sizeBytes: range.end - range.start }),
  );
  const headers: ReplyHeaders = [];
  addEncryptionHeaders(headers, upload.encryption, { call, hasContext: false });
  addCopySourceVersion(headers, object);
  const { etag, modifiedMs, checksum } = part;
  const inner = copyResultXml({ etag, modifiedMs }) + checksumXml(checksum);
  return xmlReply('CopyPartResult', inner, headers);
}

/** POST ?uploadId. Repeating a completion that succeeded answers the same again. */
export async function completeMultipartUpload(call: S3Call): Promise<Reply> {
  const { headers, target } = call;
  const ref = uploadOf(call);
  refuseCopySourceKey(headers);
  const key = keyOf(call);
  const stated = statedChecksum(headers);
  const checksumType = parseChecksumType(headers['x-amz-checksum-type']);
  const conditions = writeConditions(headers);
  const sizeBytes = statedSize(headers['x-amz-mp-object-size']);
  const document = await call.readDocument({
    maxBytes: completionBytesMax,
    ignoresChecksumHeaders: true,
  });
  const input: CompleteUploadInput = {
    ...ref,
    ...key,
    parts: parseCompletion(document),
    ...(conditions === undefined ? {} : { conditions }),
    ...(stated === undefined ? {} : { checksum: stated }),
    ...(checksumType === undefined ? {} : { checksumType }),
    ...(sizeBytes === undefined ? {} : { sizeBytes }),
  };
  if (asksForEncryption(headers)) await refuseCompletionOfPlainUpload(call, ref);
  const info = await call.store.completeUpload(input);
  const replyHeaders: ReplyHeaders = [];
  addVersionOfWrite(replyHeaders, info);
  addEncryptionHeaders(replyHeaders, info.encryption, { call, hasContext: false });
  addExpiration(replyHeaders, call, info);
  const path = encodeURIComponent(target.key).replaceAll('%2F', '/');
  const inner =
    xmlElement('Location', `${call.origin}/${target.bucket}/${path}`) +
    xmlElement('Bucket', target.bucket) +
    xmlElement('Key', target.key) +
    `<ETag>&quot;${info.etag}&quot;</ETag>` +
    checksumXml(info.checksum) +
    (info.checksum === undefined ? '' : xmlElement('ChecksumType', info.checksum.type));
  return xmlReply('CompleteMultipartUploadResult', inner, replyHeaders);
}

/** An upload that is gone says nothing here: the store knows whether it was completed before. */
async function refuseCompletionOfPlainUpload(call: S3Call, ref: UploadRef): Promise<void> {
  try {
    const { encryption } = await call.store.getUpload(ref);
    refuseEncryptionOfPlainUpload(call.headers, encryption);
  } catch (error) {
    if (!(error instanceof StoreError && error.code === 'NoSuchUpload')) throw error;
  }
}

/** DELETE ?uploadId. */
export async function abortMultipartUpload(call: S3Call): Promise<Reply> {
  refuseUnservedAbortHeaders(call.headers);
  await call.store.abortUpload(uploadOf(call));
  return emptyReply(204);
}

/** The client's key, ready to be spread into a store call. */
function keyOf(call: S3Call): { readonly clientKey?: Uint8Array } {
  const key = call.customerKeys.ofObject();
  return key === undefined ? {} : { clientKey: key.clientKey };
}

/** The upload that a call is about. */
export function uploadOf(call: S3Call): UploadRef {
  const { bucket, key } = call.target;
  return { bucket, key, uploadId: queryOf(call, 'uploadId') ?? '' };
}

function statedSize(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (!/^\d{1,15}$/.test(text)) {
    throw invalidArgument(
      'x-amz-mp-object-size',
      text,
      'Value for x-amz-mp-object-size is invalid',
    );
  }
  return Number(text);
}

function parseCompletion(document: Uint8Array): readonly CompletedPart[] {
  if (document.length === 0) throw new S3Error('MalformedXML');
  const root = parseXml(document, { maxBytes: completionBytesMax });
  const parts = listChildren(root, 'Part').map(parseCompletedPart);
  if (root.name !== 'CompleteMultipartUpload' || parts.length === 0 || parts.length > 10_000) {
    throw new S3Error('MalformedXML');
  }
  for (let index = 1; index < parts.length; index += 1) {
    if ((parts[index]?.number ?? 0) <= (parts[index - 1]?.number ?? 0)) {
      throw new S3Error('InvalidPartOrder');
    }
  }
  return parts;
}

function parseCompletedPart(element: XmlElement): CompletedPart {
  const number = findChildText(element, 'PartNumber');
  const etag = findChildText(element, 'ETag');
  if (number === undefined || etag === undefined) throw new S3Error('MalformedXML');
  const parsed = parsePartNumber(number);
  const checksums = checksumAlgorithms.flatMap((algorithm) => {
    const value = findChildText(element, `Checksum${algorithm}`);
    return value === undefined || value === '' ? [] : [{ algorithm, value }];
  });
  const [checksum] = checksums;
  return {
    number: parsed,
    etag: unquoteEtag(etag),
    ...(checksum === undefined ? {} : { checksum }),
  };
}
