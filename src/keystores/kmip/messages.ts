// KMIP requests and responses, as far as a store of named texts needs them, in the two forms there are: until
// KMIP 1.4 an object's attributes are named by text (`Attribute`, `Template-Attribute`), from 2.0 each is an
// item with its own tag in an `Attributes` structure. Rule kept here: an answer that is not exactly what was
// asked for is refused, never guessed at.

import { encodeTtlv, decodeTtlv, type Ttlv, TtlvError } from './ttlv.ts';

/** Newest first. */
export const kmipVersions = ['2.1', '2.0', '1.4', '1.3', '1.2'] as const;
export type KmipVersion = (typeof kmipVersions)[number];

export const kmipTags = {
  attribute: 0x420008,
  attributeIndex: 0x420009,
  attributeName: 0x42000a,
  attributeValue: 0x42000b,
  authentication: 0x42000c,
  batchCount: 0x42000d,
  batchErrorContinuationOption: 0x42000e,
  batchItem: 0x42000f,
  credential: 0x420023,
  credentialType: 0x420024,
  credentialValue: 0x420025,
  cryptographicUsageMask: 0x42002c,
  initialDate: 0x420039,
  keyBlock: 0x420040,
  keyFormatType: 0x420042,
  keyMaterial: 0x420043,
  keyValue: 0x420045,
  maximumItems: 0x42004f,
  maximumResponseSize: 0x420050,
  name: 0x420053,
  nameType: 0x420054,
  nameValue: 0x420055,
  objectGroup: 0x420056,
  objectType: 0x420057,
  operation: 0x42005c,
  protocolVersion: 0x420069,
  protocolVersionMajor: 0x42006a,
  protocolVersionMinor: 0x42006b,
  requestHeader: 0x420077,
  requestMessage: 0x420078,
  requestPayload: 0x420079,
  responseHeader: 0x42007a,
  responseMessage: 0x42007b,
  responsePayload: 0x42007c,
  resultMessage: 0x42007d,
  resultReason: 0x42007e,
  resultStatus: 0x42007f,
  revocationReason: 0x420081,
  revocationReasonCode: 0x420082,
  secretData: 0x420085,
  secretDataType: 0x420086,
  state: 0x42008d,
  templateAttribute: 0x420091,
  timeStamp: 0x420092,
  uniqueBatchItemId: 0x420093,
  uniqueIdentifier: 0x420094,
  username: 0x420099,
  password: 0x4200a1,
  offsetItems: 0x4200d4,
  locatedItems: 0x4200d5,
  attributes: 0x420125,
  attributeReference: 0x42013b,
} as const;

export const kmipOperations = {
  Register: 0x03,
  Locate: 0x08,
  Get: 0x0a,
  GetAttributes: 0x0b,
  Activate: 0x12,
  Revoke: 0x13,
  Destroy: 0x14,
  DiscoverVersions: 0x1e,
} as const;
export type KmipOperation = keyof typeof kmipOperations;

/** Result reasons that mean something to us; any other is only reported by number. */
export const kmipReasons = {
  ItemNotFound: 0x01,
  ResponseTooLarge: 0x02,
  AuthenticationNotSuccessful: 0x03,
  InvalidMessage: 0x04,
  OperationNotSupported: 0x05,
  MissingData: 0x06,
  InvalidField: 0x07,
  FeatureNotSupported: 0x08,
  IllegalOperation: 0x0b,
  PermissionDenied: 0x0c,
  ObjectArchived: 0x0d,
  Sensitive: 0x16,
  NotExtractable: 0x17,
  ObjectAlreadyExists: 0x18,
  InternalServerError: 0x2a,
  NonUniqueNameAttribute: 0x35,
  ObjectDestroyed: 0x36,
  ObjectNotFound: 0x37,
  NotAuthorised: 0x39,
  ServerLimitExceeded: 0x3a,
  UnsupportedProtocolVersion: 0x3f,
  WrongKeyLifecycleState: 0x43,
  GeneralFailure: 0x100,
} as const;
export type KmipReason = keyof typeof kmipReasons;

/** States of an object, by number from 1. */
export const kmipStates = [
  'pre-active',
  'active',
  'deactivated',
  'compromised',
  'destroyed',
  'destroyed-compromised',
] as const;
export type KmipState = (typeof kmipStates)[number];

/** Largest message in either direction. */
export const kmipMessageBytesMax = 2 * 1024 * 1024;

export const kmipCodes = {
  objectTypeSecretData: 0x07,
  secretDataTypePassword: 0x01,
  keyFormatOpaque: 0x02,
  nameTypeText: 0x01,
  credentialTypePassword: 0x01,
  usageMaskExport: 0x40,
  revokedCessationOfOperation: 0x06,
  batchContinue: 0x01,
  statusSuccess: 0x00,
} as const;

export type KmipCredentials = { readonly username: string; readonly password: string };

export type KmipCall = { readonly operation: KmipOperation; readonly payload: readonly Ttlv[] };

/** What the server made of one call. */
export type KmipResult =
  | { readonly isOk: true; readonly payload: readonly Ttlv[] }
  | { readonly isOk: false; readonly reason: KmipReason | number; readonly message: string };

/** An answer that is no valid KMIP response to the request. The texts hold no values. */
export class KmipMessageError extends Error {
  readonly code = 'unexpected-answer';
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'KmipMessageError';
  }
}

const tags = kmipTags;
const structure = (tag: number, value: readonly Ttlv[]): Ttlv => ({
  tag,
  type: 'structure',
  value,
});
const text = (tag: number, value: string): Ttlv => ({ tag, type: 'text-string', value });
const integer = (tag: number, value: number): Ttlv => ({ tag, type: 'integer', value });
const enumeration = (tag: number, value: number): Ttlv => ({ tag, type: 'enumeration', value });

/** `2.0` and newer write attributes the new way. */
export function hasAttributesStructure(version: KmipVersion): boolean {
  return version.startsWith('2.');
}

/** A protocol version as an item. */
export function versionItem(version: KmipVersion): Ttlv {
  const [major = '', minor = ''] = version.split('.');
  return structure(tags.protocolVersion, [
    integer(tags.protocolVersionMajor, Number(major)),
    integer(tags.protocolVersionMinor, Number(minor)),
  ]);
}

/** The text of a `ProtocolVersion` item. Throws `KmipMessageError`. */
export function versionOf(item: Ttlv): string {
  const fields = childrenOf(item);
  const major = readInteger(fields, tags.protocolVersionMajor);
  return `${major}.${readInteger(fields, tags.protocolVersionMinor)}`;
}

/** A request message. The buffer may hold secrets; the caller wipes it. */
export function encodeKmipRequest(request: {
  readonly version: KmipVersion;
  readonly credentials?: KmipCredentials | undefined;
  readonly calls: readonly KmipCall[];
}): Buffer {
  const { version, credentials, calls } = request;
  const isBatch = calls.length > 1;
  const header: Ttlv[] = [
    versionItem(version),
    integer(tags.maximumResponseSize, kmipMessageBytesMax),
  ];
  if (credentials !== undefined) header.push(authentication(credentials));
  if (isBatch) {
    header.push(enumeration(tags.batchErrorContinuationOption, kmipCodes.batchContinue));
  }
  header.push(integer(tags.batchCount, calls.length));
  const items = calls.map(({ operation, payload }, index) =>
    structure(tags.batchItem, [
      enumeration(tags.operation, kmipOperations[operation]),
      ...(isBatch ? [batchId(index)] : []),
      structure(tags.requestPayload, payload),
    ]),
  );
  return encodeTtlv(
    structure(tags.requestMessage, [structure(tags.requestHeader, header), ...items]),
  );
}

function batchId(index: number): Ttlv {
  return {
    tag: tags.uniqueBatchItemId,
    type: 'byte-string',
    value: Buffer.from([index >>> 8, index & 0xff]),
  };
}

function authentication({ username, password }: KmipCredentials): Ttlv {
  return structure(tags.authentication, [
    structure(tags.credential, [
      enumeration(tags.credentialType, kmipCodes.credentialTypePassword),
      structure(tags.credentialValue, [
        text(tags.username, username),
        text(tags.password, password),
      ]),
    ]),
  ]);
}

export type KmipResponse = { readonly version: string; readonly results: readonly KmipResult[] };

/**
 * The results of `calls`, in order. A server that refuses the whole message answers with one failure for any
 * number of calls; it is then the result of each. Byte strings are views of `bytes`. Throws
 * `KmipMessageError`.
 */
export function decodeKmipResponse(bytes: Uint8Array, calls: readonly KmipCall[]): KmipResponse {
  const [header, ...items] = childrenOf(decode(bytes), tags.responseMessage);
  if (header === undefined) throw new KmipMessageError('the answer is empty');
  const fields = childrenOf(header, tags.responseHeader);
  const version = versionOf(one(fields, tags.protocolVersion));
  const count = readInteger(fields, tags.batchCount);
  if (count !== items.length) throw new KmipMessageError('the answer counts its parts wrongly');
  const refusal = refusalOf(items, calls);
  if (refusal !== undefined) return { version, results: calls.map(() => refusal) };
  if (count !== calls.length)
    throw new KmipMessageError(`${count} answers to ${calls.length} calls`);
  return { version, results: inOrder(items, calls) };
}

/** The failure of a message as a whole names no operation, or stands alone for several calls. */
function refusalOf(items: readonly Ttlv[], calls: readonly KmipCall[]): KmipResult | undefined {
  const [only] = items;
  if (only === undefined || items.length > 1) return undefined;
  const fields = childrenOf(only, tags.batchItem);
  if (calls.length === 1 && findChild(fields, tags.operation) !== undefined) return undefined;
  const result = resultOf(fields);
  if (result.isOk) throw new KmipMessageError('one answer to several calls');
  return result;
}

function inOrder(items: readonly Ttlv[], calls: readonly KmipCall[]): KmipResult[] {
  const results: (KmipResult | undefined)[] = calls.map(() => undefined);
  for (const [position, item] of items.entries()) {
    const fields = childrenOf(item, tags.batchItem);
    const index = calls.length === 1 ? position : readBatchId(fields);
    const call = calls[index];
    if (call === undefined || results[index] !== undefined) {
      throw new KmipMessageError('an answer belongs to no call');
    }
    if (readEnumeration(fields, tags.operation) !== kmipOperations[call.operation]) {
      throw new KmipMessageError(`an answer to ${call.operation} is one to something else`);
    }
    results[index] = resultOf(fields);
  }
  return results.map((result) => {
    if (result === undefined) throw new KmipMessageError('a call has no answer');
    return result;
  });
}

function readBatchId(fields: readonly Ttlv[]): number {
  const bytes = readBytes(fields, tags.uniqueBatchItemId);
  if (bytes.length !== 2) throw new KmipMessageError('an answer belongs to no call');
  return ((bytes[0] ?? 0) << 8) | (bytes[1] ?? 0);
}

function resultOf(fields: readonly Ttlv[]): KmipResult {
  if (readEnumeration(fields, tags.resultStatus) === kmipCodes.statusSuccess) {
    const payload = findChild(fields, tags.responsePayload);
    return { isOk: true, payload: payload === undefined ? [] : childrenOf(payload) };
  }
  const reason = findChild(fields, tags.resultReason);
  const message = findChild(fields, tags.resultMessage);
  return {
    isOk: false,
    reason: reasonOf(reason?.type === 'enumeration' ? reason.value : kmipReasons.GeneralFailure),
    message: message?.type === 'text-string' ? message.value : '',
  };
}

function reasonOf(code: number): KmipReason | number {
  // Object.entries forgets that the keys are the reasons.
  const found = Object.entries(kmipReasons).find(([, value]) => value === code);
  return found === undefined ? code : (found[0] as KmipReason);
}

function decode(bytes: Uint8Array): Ttlv {
  try {
    return decodeTtlv(bytes, { bytesMax: kmipMessageBytesMax });
  } catch (error) {
    if (!(error instanceof TtlvError)) throw error;
    throw new KmipMessageError(`the answer is not TTLV: ${error.message}`, { cause: error });
  }
}

/** The items of a structure, whose tag must be `tag` if given. Throws `KmipMessageError`. */
export function childrenOf(item: Ttlv, tag?: number): readonly Ttlv[] {
  if (item.type !== 'structure' || (tag !== undefined && item.tag !== tag)) {
    throw new KmipMessageError(`item ${item.tag.toString(16)} is not what should stand there`);
  }
  return item.value;
}

/** The only item with this tag; undefined when there is none. Throws `KmipMessageError` for several. */
export function findChild(items: readonly Ttlv[], tag: number): Ttlv | undefined {
  const found = items.filter((item) => item.tag === tag);
  if (found.length > 1) throw new KmipMessageError(`item ${tag.toString(16)} stands there twice`);
  return found[0];
}

/** As `findChild`, but there must be one. */
export function one(items: readonly Ttlv[], tag: number): Ttlv {
  const item = findChild(items, tag);
  if (item === undefined) throw new KmipMessageError(`item ${tag.toString(16)} is missing`);
  return item;
}

function wrongType(item: Ttlv): KmipMessageError {
  return new KmipMessageError(`item ${item.tag.toString(16)} is a ${item.type}`);
}

/** Reads the one integer with this tag. Throws `KmipMessageError`, as all of these do. */
export function readInteger(items: readonly Ttlv[], tag: number): number {
  const item = one(items, tag);
  if (item.type !== 'integer') throw wrongType(item);
  return item.value;
}

export function readEnumeration(items: readonly Ttlv[], tag: number): number {
  const item = one(items, tag);
  if (item.type !== 'enumeration') throw wrongType(item);
  return item.value;
}

export function readText(items: readonly Ttlv[], tag: number): string {
  const item = one(items, tag);
  if (item.type !== 'text-string') throw wrongType(item);
  return item.value;
}

export function readBytes(items: readonly Ttlv[], tag: number): Uint8Array {
  const item = one(items, tag);
  if (item.type !== 'byte-string') throw wrongType(item);
  return item.value;
}
