// Put, Get and DeleteBucketEncryption: the default that writes without an SSE header get.

import { findChild, findChildText, listChildren, parseXml, xmlElement } from '../../base/xml.ts';
import {
  type BucketEncryptionDefault,
  checkBucketEncryption,
} from '../../sse/bucket-encryption.ts';
import { SseError } from '../../sse/sse-error.ts';
import type { BucketEncryption, BucketSettings } from '../../store/types.ts';
import { emptyReply, type Reply, type S3Call, xmlReply } from '../call.ts';
import { invalidArgument, noKmsText, S3Error, s3Errors } from '../errors.ts';

const documentBytesMax = 1024 * 1024;

/** GET ?encryption. 404 until it was set. */
export async function getBucketEncryption(call: S3Call): Promise<Reply> {
  const { settings } = await call.store.getBucket(call.target.bucket);
  if (settings.encryption === undefined) {
    throw new S3Error('ServerSideEncryptionConfigurationNotFoundError', undefined, {
      details: { BucketName: call.target.bucket },
    });
  }
  const inner = defaultXml(settings.encryption);
  return xmlReply(
    'ServerSideEncryptionConfiguration',
    `<Rule><ApplyServerSideEncryptionByDefault>${inner}</ApplyServerSideEncryptionByDefault></Rule>`,
  );
}

function defaultXml(encryption: BucketEncryption): string {
  const algorithm = xmlElement('SSEAlgorithm', encryption.algorithm);
  if (encryption.algorithm === 'AES256' || encryption.keyId === undefined) return algorithm;
  return algorithm + xmlElement('KMSMasterKeyID', encryption.keyId);
}

/**
 * PUT ?encryption. Objects that are there already are not touched. A key that the key service does not let the
 * store use is refused now, not at the first write.
 */
export async function putBucketEncryption(call: S3Call): Promise<Reply> {
  const { bucket } = call.target;
  await call.store.getBucket(bucket);
  const document = await call.readDocument({ maxBytes: documentBytesMax });
  const rule = parseConfiguration(document, call.store.defaultKeyName !== '');
  if (!call.store.hasKms) throw new S3Error('NotImplemented', noKmsText);
  if (rule.algorithm === 'aws:kms') {
    await call.store.assertKeyUsable(rule.keyName || call.store.defaultKeyName);
  }
  const encryption = settingOf(rule);
  await call.store.updateBucketSettings(bucket, (settings) => ({ ...settings, encryption }));
  return emptyReply(200);
}

/** DELETE ?encryption, also when there is nothing to delete. */
export async function deleteBucketEncryption(call: S3Call): Promise<Reply> {
  await call.store.updateBucketSettings(call.target.bucket, withoutEncryption);
  return emptyReply(204);
}

function settingOf(rule: BucketEncryptionDefault): BucketEncryption {
  if (rule.algorithm === 'AES256') return { algorithm: rule.algorithm };
  const { algorithm, keyId } = rule;
  return { algorithm, ...(keyId === '' ? {} : { keyId }) };
}

function parseConfiguration(document: Uint8Array, hasDefaultKey: boolean): BucketEncryptionDefault {
  const root = parseXml(document, { maxBytes: documentBytesMax });
  if (root.name !== 'ServerSideEncryptionConfiguration') throw new S3Error('MalformedXML');
  const rules = listChildren(root, 'Rule').map((rule) => {
    const byDefault = findChild(rule, 'ApplyServerSideEncryptionByDefault');
    // Blanks around a key id are an error of the client, so its text is taken as it is.
    const keyId =
      byDefault === undefined ? undefined : findChild(byDefault, 'KMSMasterKeyID')?.text;
    const algorithm =
      byDefault === undefined ? undefined : findChildText(byDefault, 'SSEAlgorithm');
    return { algorithm, keyId };
  });
  try {
    return checkBucketEncryption(rules, { hasDefaultKey });
  } catch (cause) {
    if (!(cause instanceof SseError)) throw cause;
    if (cause.code === 'rule-key-id-not-allowed') {
      throw invalidArgument('KMSMasterKeyID', '', cause.message);
    }
    const text = s3Errors.MalformedXML[1];
    throw new S3Error('MalformedXML', `${text} (${cause.message})`, { cause });
  }
}

function withoutEncryption(settings: BucketSettings): BucketSettings {
  const { encryption: _, ...rest } = settings;
  return rest;
}
