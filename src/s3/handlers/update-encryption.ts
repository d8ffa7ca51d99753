// UpdateObjectEncryption: another encryption for an object that is there.

import { findChild, findChildText, parseXml, type XmlElement } from '../../base/xml.ts';
import type { UpdateEncryptionInput } from '../../store/types.ts';
import { emptyReply, type Reply, type ReplyHeaders, type S3Call } from '../call.ts';
import { addEncryptionHeaders, refuseEncryptionOfRead } from '../encryption.ts';
import { noKmsText, S3Error } from '../errors.ts';
import { targetVersion } from '../versions.ts';

const documentBytesMax = 64 * 1024;

type Wanted = UpdateEncryptionInput['encryption'];

/** PUT ?encryption of an object. Answers when the change is durable, for a plain object after writing it again. */
export async function updateObjectEncryption(call: S3Call): Promise<Reply> {
  const { store, target } = call;
  // The document says what is wanted; a header could only contradict it.
  refuseEncryptionOfRead(call.headers);
  const version = targetVersion(call);
  const encryption = parseWanted(await call.readDocument({ maxBytes: documentBytesMax }));
  if (!store.hasKms) throw new S3Error('NotImplemented', noKmsText);
  const { bucket, key } = target;
  const info = await store.updateEncryption({ bucket, key, ...version, encryption });
  const headers: ReplyHeaders = [];
  addEncryptionHeaders(headers, info.encryption, { call, hasContext: true });
  return emptyReply(200, headers);
}

function parseWanted(document: Uint8Array): Wanted {
  if (document.length === 0) throw new S3Error('MalformedXML');
  const root = parseXml(document, { maxBytes: documentBytesMax });
  if (root.name !== 'ObjectEncryption') throw new S3Error('MalformedXML');
  const ofStore = findChild(root, 'SSE-S3') ?? findChild(root, 'SSES3');
  const ofKms = findChild(root, 'SSE-KMS') ?? findChild(root, 'SSEKMS');
  if ((ofStore === undefined) === (ofKms === undefined)) {
    throw new S3Error(
      'InvalidRequest',
      'Requests that modify an object encryption configuration require a valid new encryption type. Valid values are SSE-S3 and SSE-KMS.',
    );
  }
  return ofKms === undefined ? { kind: 'sse-s3' } : parseKms(ofKms);
}

function parseKms(element: XmlElement): Wanted {
  const keyId = findChild(element, 'KMSKeyArn')?.text ?? '';
  if (keyId === '' || keyId.trim() !== keyId) {
    throw new S3Error(
      'InvalidRequest',
      "Requests that modify an object's encryption type to SSE-KMS require the name or Amazon Resource Name (ARN) of a master key.",
    );
  }
  const bucketKey = findChildText(element, 'BucketKeyEnabled');
  if (bucketKey !== undefined && bucketKey !== 'true' && bucketKey !== 'false') {
    throw new S3Error(
      'InvalidRequest',
      "The BucketKeyEnabled value isn't valid. Valid values are true or false.",
    );
  }
  return { kind: 'sse-kms', keyId, hasBucketKey: bucketKey === 'true' };
}
