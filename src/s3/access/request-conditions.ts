// What a request has for the condition keys of policies. Only the keys that a policy in force asks for are
// looked up. A value comes from the request itself: where the header is absent, so is the key, whatever the
// bucket's defaults would make of it. Requests that carry no such headers because an earlier one fixed them, the
// parts of an upload, have those of the upload.

import type { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import { findChildText, parseXml, XmlError } from '../../base/xml.ts';
import type { Identity } from '../../iam/identity.ts';
import { plainAddress } from '../../iam/policy/policy-condition.ts';
import { parseAmzDate } from '../../sigv4/time.ts';
import type { ObjectAttributes, ObjectEncryption } from '../../store/types.ts';
import { aclForGroups } from './acl-documents.ts';
import type { Authentication } from '../auth/authenticate.ts';
import { parseCopySource } from '../copy-source.ts';
import { S3Error } from '../errors.ts';
import type { S3Operation } from '../operation.ts';
import { objectTagsMax, parseTagging, parseTaggingDocument } from '../tags.ts';
import { findQuery, type S3Target } from '../target.ts';

/** The parts of a request that conditions can ask about. */
export type RequestFacts = {
  readonly operation: S3Operation;
  readonly target: S3Target;
  readonly identity: Identity;
  readonly authentication: Authentication;
  readonly socket: Socket;
  /** The address of the client. */
  findAddress(): string | undefined;
  readonly nowMs: number;
};

/** Values by condition key; absent keys are left out. */
export type Conditions = Record<string, readonly string[]>;

const existingTag = 's3:ExistingObjectTag/';
const requestTag = 's3:RequestObjectTag/';
const requestTagKeys = 's3:RequestObjectTagKeys';
const algorithmKey = 's3:x-amz-server-side-encryption';
const kmsKeyId = 's3:x-amz-server-side-encryption-aws-kms-key-id';
const aclKey = 's3:x-amz-acl';
const locationKey = 's3:LocationConstraint';
const documentBytesMax = 64 * 1024;

/** Keys that say what an object is to be like, fixed when an upload begins. */
const fixedByUpload =
  /^s3:(x-amz-server-side-encryption|x-amz-acl$|x-amz-storage-class$|RequestObjectTag)/;

/** Whether any of the keys is about the object that is there. */
export function asksForExistingTags(keys: ReadonlySet<string>): boolean {
  return some(keys, (key) => key.startsWith(existingTag));
}

/** Whether any of the keys is about what was fixed when the upload began. */
export function asksForUpload(keys: ReadonlySet<string>): boolean {
  return some(keys, (key) => fixedByUpload.test(key));
}

/** Whether any of the keys is about the document in the body of this operation. */
export function asksForDocument(operation: S3Operation, keys: ReadonlySet<string>): boolean {
  switch (operation.name) {
    case 'PutObjectTagging':
      return some(keys, (key) => key.startsWith('s3:RequestObjectTag'));
    case 'CreateBucket':
      return keys.has(locationKey);
    case 'PutBucketAcl':
    case 'PutObjectAcl':
      return keys.has(aclKey);
    case 'PutObjectRetention':
    case 'PutObjectLegalHold':
      return some(keys, (key) => key.startsWith('s3:object-lock-'));
    default:
      return false;
  }
}

/** The values of the keys that the request line, its headers and its connection give. */
export function requestConditions(facts: RequestFacts, keys: ReadonlySet<string>): Conditions {
  const conditions: Conditions = {};
  for (const key of keys) {
    const values = valuesOf(key, facts);
    if (values.length > 0) conditions[key] = values;
  }
  return conditions;
}

/** Takes away what the headers of a part say: they change nothing of what was fixed. */
export function dropFixedConditions(conditions: Conditions): Conditions {
  const kept = Object.entries(conditions).filter(([key]) => !fixedByUpload.test(key));
  return Object.fromEntries(kept);
}

/** Adds what was fixed when the upload, or the object it became, was made. */
export function addUploadConditions(
  conditions: Conditions,
  made: { readonly encryption?: ObjectEncryption; readonly attributes: ObjectAttributes },
): void {
  const { encryption, attributes } = made;
  Object.assign(conditions, encryptionConditions(encryption));
  conditions['s3:x-amz-storage-class'] = [attributes.storageClass];
  if (attributes.acl !== undefined) conditions['s3:x-amz-acl'] = [attributes.acl];
  addTags(conditions, parseTagging(attributes.tagging));
}

/** Adds the tags of the object that is there. */
export function addExistingTags(conditions: Conditions, tagging: string): void {
  for (const { key, value } of parseTagging(tagging)) conditions[existingTag + key] = [value];
}

/** Adds what the document in the body asks for. A document that cannot be read adds nothing: it is refused later. */
export function addDocumentConditions(
  conditions: Conditions,
  operation: S3Operation,
  document: Uint8Array,
  nowMs: number,
): void {
  const limits = { maxBytes: documentBytesMax, tagsMax: objectTagsMax };
  if (operation.name === 'PutObjectTagging') {
    addTags(conditions, unlessRefused(() => parseTaggingDocument(document, limits)) ?? []);
    return;
  }
  if (operation.name === 'PutBucketAcl' || operation.name === 'PutObjectAcl') {
    // The header is the same in other words, and goes before the document.
    if (conditions[aclKey] !== undefined || document.length === 0) return;
    const acl = unlessRefused(() => aclForGroups(document, documentBytesMax));
    if (acl !== undefined) conditions[aclKey] = [acl];
    return;
  }
  const root = unlessRefused(() => parseXml(document, limits));
  if (root === undefined) return;
  const set = (key: string, text: string | undefined): void => {
    if (text !== undefined) conditions[key] = [text];
  };
  if (operation.name === 'CreateBucket') {
    set(locationKey, findChildText(root, 'LocationConstraint'));
    return;
  }
  if (operation.name === 'PutObjectLegalHold') {
    set('s3:object-lock-legal-hold', findChildText(root, 'Status'));
    return;
  }
  const until = findChildText(root, 'RetainUntilDate');
  set('s3:object-lock-mode', findChildText(root, 'Mode'));
  set('s3:object-lock-retain-until-date', until);
  set('s3:object-lock-remaining-retention-days', remainingDays(until, nowMs)[0]);
}

function addTags(
  conditions: Conditions,
  tags: readonly { readonly key: string; readonly value: string }[],
): void {
  for (const { key, value } of tags) conditions[requestTag + key] = [value];
  if (tags.length > 0) conditions[requestTagKeys] = tags.map(({ key }) => key);
}

function encryptionConditions(encryption: ObjectEncryption | undefined): Conditions {
  switch (encryption?.kind) {
    case undefined:
      return {};
    case 'sse-s3':
      return { [algorithmKey]: ['AES256'] };
    case 'sse-kms':
      return { [algorithmKey]: ['aws:kms'], [kmsKeyId]: spellingsOfKeyId(encryption.keyId) };
    case 'dsse-kms':
      return { [algorithmKey]: ['aws:kms:dsse'], [kmsKeyId]: spellingsOfKeyId(encryption.keyId) };
    case 'sse-c':
      return { 's3:x-amz-server-side-encryption-customer-algorithm': ['AES256'] };
  }
}

const listOperations: ReadonlySet<string> = new Set([
  'ListObjects',
  'ListObjectsV2',
  'ListObjectVersions',
  'ListMultipartUploads',
]);

const authTypes: Readonly<Record<Authentication['method'], string | undefined>> = {
  anonymous: undefined,
  form: 'POST',
  header: 'REST-HEADER',
  presigned: 'REST-QUERY-STRING',
};

type Source = (facts: RequestFacts) => string | readonly string[] | undefined;

/** Where the value of each key comes from; those of headers and tags follow a rule. */
const sources: Readonly<Record<string, Source>> = {
  'aws:CurrentTime': ({ nowMs }) => new Date(nowMs).toISOString(),
  'aws:EpochTime': ({ nowMs }) => String(Math.floor(nowMs / 1000)),
  'aws:PrincipalAccount': ({ identity }) => ownerIdOf(identity),
  'aws:PrincipalArn': ({ identity }) => arnOf(identity),
  'aws:PrincipalType': ({ identity }) =>
    ({ anonymous: 'Anonymous', root: 'Account', user: 'User' })[identity.kind],
  'aws:Referer': ({ authentication }) => authentication.headers['referer'],
  'aws:SecureTransport': ({ socket }) => String(socket instanceof TLSSocket),
  'aws:SourceIp': (facts) => {
    const address = facts.findAddress();
    return address === undefined ? undefined : plainAddress(address);
  },
  'aws:UserAgent': ({ authentication }) => authentication.headers['user-agent'],
  'aws:userid': ({ identity }) => nameOf(identity),
  'aws:username': ({ identity }) => nameOf(identity),
  's3:TlsVersion': ({ socket }) =>
    socket instanceof TLSSocket ? socket.getProtocol()?.replace('TLSv', '') : undefined,
  's3:VersionId': (facts) =>
    findQuery(facts.target.query, 'versionId') ?? copySourceOf(facts)?.versionId,
  's3:authType': ({ authentication }) => authTypes[authentication.method],
  's3:delimiter': (facts) => listParameter(facts, 'delimiter'),
  's3:max-keys': (facts) => listParameter(facts, 'max-keys'),
  's3:object-lock-legal-hold': header('x-amz-object-lock-legal-hold'),
  's3:object-lock-mode': header('x-amz-object-lock-mode'),
  's3:object-lock-remaining-retention-days': ({ authentication, nowMs }) =>
    remainingDays(authentication.headers['x-amz-object-lock-retain-until-date'], nowMs),
  's3:object-lock-retain-until-date': header('x-amz-object-lock-retain-until-date'),
  's3:prefix': (facts) => listParameter(facts, 'prefix'),
  's3:RequestObjectTagKeys': (facts) => requestTags(facts).map(({ key }) => key),
  's3:signatureAge': (facts) => signatureAge(facts),
  's3:signatureversion': ({ authentication, target }) => {
    if (authentication.method === 'anonymous') return undefined;
    return findQuery(target.query, 'AWSAccessKeyId') === undefined ? 'AWS4-HMAC-SHA256' : 'AWS';
  },
  's3:x-amz-copy-source': (facts) => {
    const source = copySourceOf(facts);
    return source === undefined ? undefined : `${source.bucket}/${source.key}`;
  },
  [kmsKeyId]: ({ authentication }) =>
    spellingsOfKeyId(authentication.headers['x-amz-server-side-encryption-aws-kms-key-id']),
};

function valuesOf(key: string, facts: RequestFacts): readonly string[] {
  const source = Object.hasOwn(sources, key) ? sources[key] : undefined;
  let value: string | readonly string[] | undefined;
  if (source !== undefined) value = source(facts);
  else if (key.startsWith('s3:x-amz-')) value = facts.authentication.headers[key.slice(3)];
  else if (key.startsWith(requestTag)) {
    const name = key.slice(requestTag.length);
    value = requestTags(facts).find((tag) => tag.key === name)?.value;
  }
  if (value === undefined) return [];
  return typeof value === 'string' ? [value] : value;
}

function header(name: string): Source {
  return ({ authentication }) => authentication.headers[name];
}

function listParameter(facts: RequestFacts, name: string): string | undefined {
  if (!listOperations.has(facts.operation.name)) return undefined;
  return findQuery(facts.target.query, name);
}

function requestTags({ authentication }: RequestFacts): ReturnType<typeof parseTagging> {
  const tagging = authentication.headers['x-amz-tagging'] ?? '';
  return unlessRefused(() => parseTagging(tagging)) ?? [];
}

function copySourceOf(facts: RequestFacts): ReturnType<typeof parseCopySource> | undefined {
  const text = facts.authentication.headers['x-amz-copy-source'];
  return text === undefined ? undefined : unlessRefused(() => parseCopySource(text));
}

/** What cannot be read is refused by the handler, once the caller may make the request at all. */
function unlessRefused<Value>(parse: () => Value): Value | undefined {
  try {
    return parse();
  } catch (error) {
    if (error instanceof S3Error || error instanceof XmlError) return undefined;
    throw error;
  }
}

/** Milliseconds since the request was signed. */
function signatureAge({ authentication, target, nowMs }: RequestFacts): string | undefined {
  if (authentication.method === 'anonymous') return undefined;
  const text = findQuery(target.query, 'X-Amz-Date') ?? authentication.headers['x-amz-date'];
  const signedMs = text === undefined ? undefined : parseAmzDate(text);
  return signedMs === undefined ? undefined : String(Math.max(0, nowMs - signedMs));
}

function remainingDays(until: string | undefined, nowMs: number): readonly string[] {
  const untilMs = until === undefined ? Number.NaN : Date.parse(until);
  return Number.isNaN(untilMs) ? [] : [String(Math.ceil((untilMs - nowMs) / 86_400_000))];
}

const kmsArn = 'arn:aws:kms:';

/** All ways to write one key, so that no policy is dodged by spelling it another way. */
function spellingsOfKeyId(keyId: string | undefined): readonly string[] {
  if (keyId === undefined || keyId === '') return [];
  const name = keyId.startsWith(kmsArn)
    ? keyId.slice(kmsArn.length).replace(/^[^/]*:key\//, '')
    : keyId;
  return [...new Set([keyId, name, kmsArn + name])];
}

function nameOf(identity: Identity): string | undefined {
  return identity.kind === 'anonymous' ? undefined : identity.accessKey;
}

function ownerIdOf(identity: Identity): string | undefined {
  return identity.kind === 'anonymous' ? undefined : identity.ownerId;
}

function arnOf(identity: Identity): string | undefined {
  switch (identity.kind) {
    case 'anonymous':
      return undefined;
    case 'root':
      return 'arn:aws:iam:::root';
    case 'user':
      return `arn:aws:iam:::user/${identity.accessKey}`;
  }
}

function some(keys: ReadonlySet<string>, test: (key: string) => boolean): boolean {
  for (const key of keys) if (test(key)) return true;
  return false;
}
