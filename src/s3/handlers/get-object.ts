// GetObject and HeadObject: parameters, then conditions, then the range, and only then the key and the
// bytes, so that nothing is opened for a request that gets none.

import type { ByteRange, ObjectInfo, OpenedObject } from '../../store/types.ts';
import { queryOf, type Reply, type ReplyHeaders, type S3Call } from '../call.ts';
import { evaluateConditions } from '../conditions.ts';
import { refuseEncryptionOfRead, refuseUnsignedRead } from '../encryption.ts';
import { S3Error } from '../errors.ts';
import { addExpiration } from '../expiration.ts';
import {
  addChecksumHeaders,
  hasResponseOverrides,
  notModifiedHeaders,
  objectHeaders,
} from '../object-headers.ts';
import { parsePartNumber, parseRange, partRange } from '../ranges.ts';
import { addVersionOfRead, targetVersion } from '../versions.ts';

/** GET of an object: 200, 206, 304 or an error. */
export async function getObject(call: S3Call): Promise<Reply> {
  const partNumber = checkParameters(call);
  const { bucket, key } = call.target;
  const version = targetVersion(call);
  const found = await call.store.openObject({
    bucket,
    key,
    ...version,
    given: call.bucket,
    willRead: true,
  });
  const object = unlock(call, found, partNumber);
  const { info } = object;
  const outcome = evaluateConditions(call.headers, info);
  if (outcome !== 'pass') return conditionReply(outcome, object);
  const range = selectRange(call, info, partNumber);
  const reply = describe(call, object, { range, partNumber });
  // Each chunk is sent before the next is asked for.
  const body = await object.read(range, { isTransient: true });
  return { ...reply, body };
}

/** HEAD of an object: the headers that GET would send, without asking the key service or reading a byte. */
export async function headObject(call: S3Call): Promise<Reply> {
  const partNumber = checkParameters(call);
  const { bucket, key } = call.target;
  const found = await call.store.openObject({
    bucket,
    key,
    ...targetVersion(call),
    given: call.bucket,
  });
  const object = unlock(call, found, partNumber);
  const { info } = object;
  const outcome = evaluateConditions(call.headers, info);
  if (outcome !== 'pass') return conditionReply(outcome, object);
  return describe(call, object, { range: selectRange(call, info, partNumber), partNumber });
}

function checkParameters(call: S3Call): number | undefined {
  const { headers } = call;
  if (call.identity.kind === 'anonymous' && hasResponseOverrides(call)) {
    throw new S3Error(
      'InvalidRequest',
      'Request specific response headers cannot be used for anonymous GET requests.',
    );
  }
  const text = queryOf(call, 'partNumber');
  const partNumber = text === undefined ? undefined : parsePartNumber(text);
  if (partNumber !== undefined && headers['range'] !== undefined) {
    throw new S3Error(
      'InvalidRequest',
      'Cannot specify both Range header and partNumber query parameter',
    );
  }
  refuseEncryptionOfRead(headers);
  return partNumber;
}

/** The object as its reader may see it. A part that does not exist is told before a key is looked at. */
function unlock(call: S3Call, object: OpenedObject, partNumber: number | undefined): OpenedObject {
  refuseUnsignedRead(call, object.info.encryption);
  if (partNumber !== undefined) partRange(object.info, partNumber);
  return object.unlock(call.customerKeys.ofObject()?.clientKey);
}

function conditionReply(outcome: 'not-modified' | 'failed', object: OpenedObject): Reply {
  if (outcome === 'failed') throw new S3Error('PreconditionFailed');
  const headers = notModifiedHeaders(object.info);
  addVersionOfRead(headers, object);
  return { status: 304, headers };
}

function selectRange(
  call: S3Call,
  info: ObjectInfo,
  partNumber: number | undefined,
): ByteRange | undefined {
  if (partNumber !== undefined) return partRange(info, partNumber);
  const header = call.headers['range'];
  return header === undefined ? undefined : parseRange(header, info.sizeBytes);
}

function describe(
  call: S3Call,
  object: OpenedObject,
  selection: { readonly range: ByteRange | undefined; readonly partNumber: number | undefined },
): Reply {
  const { info } = object;
  const headers = objectHeaders(call, info);
  addVersionOfRead(headers, object);
  // Of a version that was asked for by its id it is not known here whether it is the current one.
  if (!object.isVersioned || queryOf(call, 'versionId') === undefined) {
    addExpiration(headers, call, info);
  }
  const { range, partNumber } = selection;
  if (call.headers['x-amz-checksum-mode']?.toUpperCase() === 'ENABLED') {
    addRequestedChecksum(headers, info, selection);
  }
  if (range === undefined) return { status: 200, headers, sizeBytes: info.sizeBytes };
  if (partNumber !== undefined && info.parts !== undefined) {
    headers.push('x-amz-mp-parts-count', String(info.parts.length));
  }
  // An empty part has no byte that a Content-Range could name.
  if (range.end === range.start) return { status: 200, headers, sizeBytes: 0 };
  headers.push('content-range', `bytes ${range.start}-${range.end - 1}/${info.sizeBytes}`);
  return { status: 206, headers, sizeBytes: range.end - range.start };
}

/** A slice has no checksum of its own, unless it is exactly one part. */
function addRequestedChecksum(
  headers: ReplyHeaders,
  info: ObjectInfo,
  selection: { readonly range: ByteRange | undefined; readonly partNumber: number | undefined },
): void {
  const { range, partNumber } = selection;
  if (range === undefined) return addChecksumHeaders(headers, info.checksum);
  if (partNumber === undefined) return;
  const checksum = info.parts === undefined ? info.checksum : info.parts[partNumber - 1]?.checksum;
  if (checksum !== undefined) {
    headers.push(`x-amz-checksum-${checksum.algorithm.toLowerCase()}`, checksum.value);
  }
}
