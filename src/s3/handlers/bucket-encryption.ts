// Put, Get and DeleteBucketEncryption: the default that writes without an SSE header get, and whether the bucket
// takes keys of clients. With the query parameter `prefix`, an addition of this server, they are about the default of
// the keys below that prefix; the bucket's own rule, which is all that other clients know, is left alone then, and the
// rules of prefixes are left alone without it.

import {
  findChild,
  findChildText,
  listChildren,
  parseXml,
  type XmlElement,
  xmlElement,
} from '../../base/xml.ts';
import { checkBucketEncryption } from '../../sse/bucket-encryption.ts';
import { SseError } from '../../sse/sse-error.ts';
import { keyNameOf } from '../../sse/sse-kms.ts';
import { defaultOf, withPrefixDefault } from '../../store/encryption/encryption-default.ts';
import type { BucketEncryption, BucketSettings } from '../../store/types.ts';
import { emptyReply, queryOf, type Reply, type S3Call, xmlReply } from '../call.ts';
import { invalidArgument, noKmsText, S3Error, s3Errors } from '../errors.ts';

const documentBytesMax = 1024 * 1024;
const prefixBytesMax = 1024;
const prefixesMax = 100;
const root = 'ServerSideEncryptionConfiguration';

/**
 * GET ?encryption. 404 until something was set. With `prefix`, the rule that holds below it, whoever set it; with
 * `prefixes`, every rule of a prefix.
 */
export async function getBucketEncryption(call: S3Call): Promise<Reply> {
  const { bucket } = call.target;
  const { settings } = await call.store.getBucket(bucket);
  if (queryOf(call, 'prefixes') !== undefined) return prefixesReply(settings);
  const prefix = prefixOf(call);
  const encryption = prefix === undefined ? settings.encryption : defaultOf(settings, prefix);
  const blocks = prefix === undefined ? settings.blocksSseC : undefined;
  if (encryption === undefined && blocks !== true) {
    throw new S3Error('ServerSideEncryptionConfigurationNotFoundError', undefined, {
      details: { BucketName: bucket },
    });
  }
  return xmlReply(root, `<Rule>${ruleXml(encryption)}${blockedXml(blocks)}</Rule>`);
}

/**
 * PUT ?encryption. Objects that are there already are not touched. A key that the key service does not let the
 * store use is refused now, not at the first write.
 */
export async function putBucketEncryption(call: S3Call): Promise<Reply> {
  const { bucket } = call.target;
  const { store } = call;
  const prefix = prefixOf(call);
  const document = await call.readDocument({ maxBytes: documentBytesMax });
  const { encryption, blocksSseC } = parseConfiguration(document, store.defaultKeyName !== '');
  if (encryption !== undefined && !store.hasKms) throw new S3Error('NotImplemented', noKmsText);
  if (encryption !== undefined && encryption.algorithm !== 'AES256') {
    await store.assertKeyUsable(keyNameOf(encryption.keyId ?? '') || store.defaultKeyName);
  }
  await store.updateBucketSettings(bucket, (settings) => {
    if (prefix !== undefined) return withPrefix(settings, prefix, { encryption, blocksSseC });
    const changed = withEncryption(settings, encryption);
    return blocksSseC === undefined ? changed : { ...changed, blocksSseC };
  });
  return emptyReply(200);
}

/**
 * DELETE ?encryption, also when there is nothing to delete. That the bucket takes no keys of clients is another
 * protection, and stays.
 */
export async function deleteBucketEncryption(call: S3Call): Promise<Reply> {
  const prefix = prefixOf(call);
  await call.store.updateBucketSettings(call.target.bucket, (settings) =>
    prefix === undefined
      ? withEncryption(settings, undefined)
      : withPrefixDefault(settings, prefix, undefined),
  );
  return emptyReply(204);
}

/** Undefined for the whole bucket. */
function prefixOf(call: S3Call): string | undefined {
  const prefix = queryOf(call, 'prefix') ?? '';
  if (Buffer.byteLength(prefix) > prefixBytesMax || prefix.includes('\0')) {
    throw invalidArgument('prefix', '', 'A prefix has at most 1,024 bytes, none of them zero');
  }
  return prefix === '' ? undefined : prefix;
}

function prefixesReply({ encryptionPrefixes = [] }: BucketSettings): Reply {
  const rules = encryptionPrefixes.map(
    ({ prefix, encryption }) =>
      `<Rule>${xmlElement('Prefix', prefix)}${ruleXml(encryption)}</Rule>`,
  );
  return xmlReply('EncryptionPrefixes', rules.join(''));
}

function ruleXml(encryption: BucketEncryption | undefined): string {
  if (encryption === undefined) return '';
  const { algorithm, bucketKeyEnabled } = encryption;
  const keyId = algorithm === 'AES256' ? undefined : encryption.keyId;
  const inner =
    xmlElement('SSEAlgorithm', algorithm) +
    (keyId === undefined ? '' : xmlElement('KMSMasterKeyID', keyId));
  return (
    `<ApplyServerSideEncryptionByDefault>${inner}</ApplyServerSideEncryptionByDefault>` +
    (bucketKeyEnabled === undefined ? '' : xmlElement('BucketKeyEnabled', bucketKeyEnabled))
  );
}

function blockedXml(blocksSseC: boolean | undefined): string {
  if (blocksSseC === undefined) return '';
  const type = xmlElement('EncryptionType', blocksSseC ? 'SSE-C' : 'NONE');
  return `<BlockedEncryptionTypes>${type}</BlockedEncryptionTypes>`;
}

function withEncryption(
  settings: BucketSettings,
  encryption: BucketEncryption | undefined,
): BucketSettings {
  const { encryption: _, ...rest } = settings;
  return encryption === undefined ? rest : { ...rest, encryption };
}

function withPrefix(
  settings: BucketSettings,
  prefix: string,
  { encryption, blocksSseC }: Configuration,
): BucketSettings {
  if (blocksSseC !== undefined || encryption === undefined) {
    throw new S3Error(
      'InvalidRequest',
      'The rule of a prefix says how objects are encrypted, and nothing else.',
    );
  }
  const changed = withPrefixDefault(settings, prefix, encryption);
  if ((changed.encryptionPrefixes?.length ?? 0) > prefixesMax) {
    throw new S3Error('InvalidRequest', `A bucket has rules for at most ${prefixesMax} prefixes.`);
  }
  return changed;
}

type Configuration = {
  readonly encryption: BucketEncryption | undefined;
  /** Undefined where the document says nothing of it. */
  readonly blocksSseC: boolean | undefined;
};

function parseConfiguration(document: Uint8Array, hasDefaultKey: boolean): Configuration {
  const parsed = parseXml(document, { maxBytes: documentBytesMax });
  if (parsed.name !== root) throw new S3Error('MalformedXML');
  const rules = listChildren(parsed, 'Rule');
  const [rule, ...more] = rules;
  const blocked = rule && findChild(rule, 'BlockedEncryptionTypes');
  const blocksSseC = blocked && parseBlocked(blocked);
  const isOnlyBlock =
    rule !== undefined &&
    more.length === 0 &&
    blocked !== undefined &&
    findChild(rule, 'ApplyServerSideEncryptionByDefault') === undefined;
  if (isOnlyBlock) return { encryption: undefined, blocksSseC };
  return { encryption: parseDefault(rules, hasDefaultKey), blocksSseC };
}

function parseDefault(rules: readonly XmlElement[], hasDefaultKey: boolean): BucketEncryption {
  const stated = rules.map((rule) => {
    const byDefault = findChild(rule, 'ApplyServerSideEncryptionByDefault');
    // Blanks around a key id are an error of the client, so its text is taken as it is.
    const keyId =
      byDefault === undefined ? undefined : findChild(byDefault, 'KMSMasterKeyID')?.text;
    const algorithm =
      byDefault === undefined ? undefined : findChildText(byDefault, 'SSEAlgorithm');
    return { algorithm, keyId };
  });
  try {
    const { algorithm, ...rest } = checkBucketEncryption(stated, { hasDefaultKey });
    const bucketKey = parseBucketKey(rules[0]);
    if (algorithm === 'AES256') return { algorithm, ...bucketKey };
    const keyId = 'keyId' in rest ? rest.keyId : '';
    return { algorithm, ...(keyId === '' ? {} : { keyId }), ...bucketKey };
  } catch (cause) {
    if (!(cause instanceof SseError)) throw cause;
    if (cause.code === 'rule-key-id-not-allowed') {
      throw invalidArgument('KMSMasterKeyID', '', cause.message);
    }
    const text = s3Errors.MalformedXML[1];
    throw new S3Error('MalformedXML', `${text} (${cause.message})`, { cause });
  }
}

function parseBucketKey(rule: XmlElement | undefined): { readonly bucketKeyEnabled?: boolean } {
  const text = rule && findChildText(rule, 'BucketKeyEnabled');
  if (text === undefined) return {};
  if (text !== 'true' && text !== 'false') throw new S3Error('MalformedXML');
  return { bucketKeyEnabled: text === 'true' };
}

/** `NONE` lifts what `SSE-C` forbids. */
function parseBlocked(element: XmlElement): boolean {
  const types = listChildren(element, 'EncryptionType').map((type) => type.text.trim());
  const [type, ...more] = new Set(types);
  if (more.length > 0 || (type !== 'SSE-C' && type !== 'NONE')) throw new S3Error('MalformedXML');
  return type === 'SSE-C';
}
