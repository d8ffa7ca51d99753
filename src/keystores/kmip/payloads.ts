// The payloads of the KMIP operations a store of named texts needs: made from, and read into, plain values.
// A text is a Secret Data object of type Password: the one kind of object for free bytes that has a state, and
// the state is what makes creating atomic (`create.ts`).

import {
  childrenOf,
  findChild,
  hasAttributesStructure,
  type KmipCall,
  KmipMessageError,
  type KmipState,
  kmipStates,
  type KmipVersion,
  kmipCodes,
  kmipTags,
  kmipVersions,
  one,
  readBytes,
  readEnumeration,
  readText,
  versionItem,
  versionOf,
} from './messages.ts';
import type { Ttlv } from './ttlv.ts';

/** Object Group of everything that is ours. */
export const kmipGroup = 'coffer';

/** What is known about an object without reading its value. */
export type KmipObject = {
  readonly id: string;
  readonly state: KmipState;
  /** Empty when it has none. */
  readonly names: readonly string[];
  readonly groups: readonly string[];
  /** Seconds since 1970; 0 when the server tells none. */
  readonly createdAt: bigint;
};

type AttributeName =
  | 'Name'
  | 'Object Group'
  | 'Cryptographic Usage Mask'
  | 'State'
  | 'Initial Date';

const tags = kmipTags;

const attributeTags: Readonly<Record<AttributeName, number>> = {
  Name: tags.name,
  'Object Group': tags.objectGroup,
  'Cryptographic Usage Mask': tags.cryptographicUsageMask,
  State: tags.state,
  'Initial Date': tags.initialDate,
};

/** Those `GetAttributes` asks for. */
const wanted: readonly AttributeName[] = ['State', 'Name', 'Object Group', 'Initial Date'];

const structure = (tag: number, value: readonly Ttlv[]): Ttlv => ({
  tag,
  type: 'structure',
  value,
});
const text = (tag: number, value: string): Ttlv => ({ tag, type: 'text-string', value });
const enumeration = (tag: number, value: number): Ttlv => ({ tag, type: 'enumeration', value });
const integer = (tag: number, value: number): Ttlv => ({ tag, type: 'integer', value });

const nameItem = (name: string): Ttlv =>
  structure(tags.name, [
    text(tags.nameValue, name),
    enumeration(tags.nameType, kmipCodes.nameTypeText),
  ]);

const groupItem = (): Ttlv => text(tags.objectGroup, kmipGroup);

/** An attribute as KMIP 1.x writes it: its name as text, its value under one tag for all. */
function namedAttribute(name: AttributeName, item: Ttlv): Ttlv {
  return structure(tags.attribute, [
    text(tags.attributeName, name),
    { ...item, tag: tags.attributeValue },
  ]);
}

const attributesOfNew = (name: string): readonly [AttributeName, Ttlv][] => [
  ['Cryptographic Usage Mask', integer(tags.cryptographicUsageMask, kmipCodes.usageMaskExport)],
  ['Name', nameItem(name)],
  ['Object Group', groupItem()],
];

/** Registers `value` (views are kept, so do not change it before the request is encoded). */
export function registerCall(
  version: KmipVersion,
  object: { readonly name: string; readonly value: Uint8Array },
): KmipCall {
  const attributes = attributesOfNew(object.name);
  return {
    operation: 'Register',
    payload: [
      enumeration(tags.objectType, kmipCodes.objectTypeSecretData),
      hasAttributesStructure(version)
        ? structure(
            tags.attributes,
            attributes.map(([, item]) => item),
          )
        : structure(
            tags.templateAttribute,
            attributes.map(([name, item]) => namedAttribute(name, item)),
          ),
      secretData(object.value),
    ],
  };
}

function secretData(value: Uint8Array): Ttlv {
  return structure(tags.secretData, [
    enumeration(tags.secretDataType, kmipCodes.secretDataTypePassword),
    structure(tags.keyBlock, [
      enumeration(tags.keyFormatType, kmipCodes.keyFormatOpaque),
      structure(tags.keyValue, [{ tag: tags.keyMaterial, type: 'byte-string', value }]),
    ]),
  ]);
}

export type LocateQuery = {
  /** Without it: everything of ours. */
  readonly name?: string;
  /** From KMIP 1.3. */
  readonly offset?: number;
};

export function locateCall(version: KmipVersion, query: LocateQuery): KmipCall {
  const attributes: (readonly [AttributeName, Ttlv])[] = [];
  if (query.name !== undefined) attributes.push(['Name', nameItem(query.name)]);
  attributes.push(['Object Group', groupItem()]);
  return {
    operation: 'Locate',
    payload: [
      ...(query.offset === undefined ? [] : [integer(tags.offsetItems, query.offset)]),
      ...(hasAttributesStructure(version)
        ? [
            structure(
              tags.attributes,
              attributes.map(([, item]) => item),
            ),
          ]
        : attributes.map(([name, item]) => namedAttribute(name, item))),
    ],
  };
}

/** Object ids; `total` when the server says how many there are in all. Throws `KmipMessageError`. */
export function readLocated(payload: readonly Ttlv[]): {
  readonly ids: readonly string[];
  readonly total: number | undefined;
} {
  const ids = payload.filter(({ tag }) => tag === tags.uniqueIdentifier).map(idOf);
  const total = findChild(payload, tags.locatedItems);
  return { ids, total: total?.type === 'integer' ? total.value : undefined };
}

function idOf(item: Ttlv): string {
  if (item.type !== 'text-string' || item.value === '') {
    throw new KmipMessageError('an object has no id');
  }
  return item.value;
}

export function getAttributesCall(version: KmipVersion, id: string): KmipCall {
  return {
    operation: 'GetAttributes',
    payload: [
      text(tags.uniqueIdentifier, id),
      ...wanted.map((name) =>
        hasAttributesStructure(version)
          ? enumeration(tags.attributeReference, attributeTags[name])
          : text(tags.attributeName, name),
      ),
    ],
  };
}

/** Throws `KmipMessageError`, also when the answer is about another object or tells no state. */
export function readObject(version: KmipVersion, id: string, payload: readonly Ttlv[]): KmipObject {
  checkId(id, payload);
  const items = hasAttributesStructure(version)
    ? childrenOf(one(payload, tags.attributes))
    : payload.filter(({ tag }) => tag === tags.attribute).map(unnamed);
  const state = kmipStates[readEnumeration(items, tags.state) - 1];
  if (state === undefined) throw new KmipMessageError('the object has an unknown state');
  const created = findChild(items, tags.initialDate);
  return {
    id,
    state,
    names: items
      .filter(({ tag }) => tag === tags.name)
      .map((item) => readText(childrenOf(item), tags.nameValue)),
    groups: items.flatMap((item) =>
      item.tag === tags.objectGroup && item.type === 'text-string' ? [item.value] : [],
    ),
    createdAt: created?.type === 'date-time' ? created.value : 0n,
  };
}

/** An attribute of KMIP 1.x as the item it is from 2.0; what we did not ask for keeps its tag and is ignored. */
function unnamed(attribute: Ttlv): Ttlv {
  const fields = childrenOf(attribute);
  const name = readText(fields, tags.attributeName);
  // A name we do not know finds no tag.
  const tag = attributeTags[name as AttributeName] as number | undefined;
  const value = one(fields, tags.attributeValue);
  return tag === undefined ? value : { ...value, tag };
}

/** A call about one object. */
export function objectCall(
  operation: 'Get' | 'Activate' | 'Revoke' | 'Destroy',
  id: string,
): KmipCall {
  const payload = [text(tags.uniqueIdentifier, id)];
  if (operation === 'Revoke') {
    payload.push(
      structure(tags.revocationReason, [
        enumeration(tags.revocationReasonCode, kmipCodes.revokedCessationOfOperation),
      ]),
    );
  }
  return { operation, payload };
}

/** The id in an answer. Throws `KmipMessageError`. */
export function readId(payload: readonly Ttlv[]): string {
  return idOf(one(payload, tags.uniqueIdentifier));
}

/** Throws `KmipMessageError` when the answer is about another object. */
export function checkId(id: string, payload: readonly Ttlv[]): void {
  if (readId(payload) !== id) throw new KmipMessageError('the answer is about another object');
}

/** The bytes of a Secret Data object: a view of the message. Throws `KmipMessageError`. */
export function readSecret(id: string, payload: readonly Ttlv[]): Uint8Array {
  checkId(id, payload);
  if (readEnumeration(payload, tags.objectType) !== kmipCodes.objectTypeSecretData) {
    throw new KmipMessageError('the object is no Secret Data');
  }
  const block = childrenOf(one(childrenOf(one(payload, tags.secretData)), tags.keyBlock));
  const value = one(block, tags.keyValue);
  if (value.type !== 'structure') throw new KmipMessageError('the object is wrapped');
  return readBytes(value.value, tags.keyMaterial);
}

/** Asks which of our versions the server has. */
export function discoverCall(): KmipCall {
  return { operation: 'DiscoverVersions', payload: kmipVersions.map(versionItem) };
}

/** The newest version both have; undefined when there is none. Throws `KmipMessageError`. */
export function readVersions(payload: readonly Ttlv[]): KmipVersion | undefined {
  const offered = payload.filter(({ tag }) => tag === tags.protocolVersion).map(versionOf);
  return kmipVersions.find((version) => offered.includes(version));
}
