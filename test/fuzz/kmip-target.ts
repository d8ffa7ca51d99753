// The parsers of KMIP as fuzz targets. The decoder answers an item that encodes to the very same bytes, or
// throws its own error; the readers of answers read what the server may have said, or throw theirs.

import {
  decodeKmipResponse,
  type KmipCall,
  KmipMessageError,
  kmipOperations,
  kmipTags as tags,
} from '../../src/keystores/kmip/messages.ts';
import {
  discoverCall,
  getAttributesCall,
  locateCall,
  objectCall,
  readLocated,
  readObject,
  readSecret,
  readVersions,
} from '../../src/keystores/kmip/payloads.ts';
import { decodeTtlv, encodeTtlv, type Ttlv, TtlvError } from '../../src/keystores/kmip/ttlv.ts';
import type { FuzzTarget } from './targets.ts';

const everyType: Ttlv = {
  tag: 0x42007b,
  type: 'structure',
  value: [
    { tag: 0x42006a, type: 'integer', value: -2 },
    { tag: 0x420020, type: 'long-integer', value: 123_456_789_000_000_000n },
    { tag: 0x420020, type: 'big-integer', value: -(1n << 70n) },
    { tag: 0x42005c, type: 'enumeration', value: 0x80000001 },
    { tag: 0x420010, type: 'boolean', value: true },
    { tag: 0x420094, type: 'text-string', value: 'näme' },
    { tag: 0x540001, type: 'byte-string', value: Buffer.from('value') },
    { tag: 0x420092, type: 'date-time', value: 1_205_495_800n },
    { tag: 0x420049, type: 'interval', value: 864_000 },
    { tag: 0x420092, type: 'date-time-extended', value: 1_205_495_800_000_000n },
    { tag: 0x420079, type: 'structure', value: [{ tag: 0x420079, type: 'structure', value: [] }] },
  ],
};

const structure = (tag: number, value: readonly Ttlv[]): Ttlv => ({
  tag,
  type: 'structure',
  value,
});
const text = (tag: number, value: string): Ttlv => ({ tag, type: 'text-string', value });
const integer = (tag: number, value: number): Ttlv => ({ tag, type: 'integer', value });
const enumeration = (tag: number, value: number): Ttlv => ({ tag, type: 'enumeration', value });

const id = '17';

/** One call of each kind whose answer holds something, and the payload of a good answer to it. */
const exchanges: readonly { readonly call: KmipCall; readonly payload: readonly Ttlv[] }[] = [
  {
    call: discoverCall(),
    payload: [
      structure(tags.protocolVersion, [
        integer(tags.protocolVersionMajor, 2),
        integer(tags.protocolVersionMinor, 0),
      ]),
    ],
  },
  {
    call: locateCall('2.0', {}),
    payload: [integer(tags.locatedItems, 1), text(tags.uniqueIdentifier, id)],
  },
  {
    call: getAttributesCall('2.0', id),
    payload: [
      text(tags.uniqueIdentifier, id),
      structure(tags.attributes, [
        enumeration(tags.state, 2),
        structure(tags.name, [text(tags.nameValue, 'a'), enumeration(tags.nameType, 1)]),
        text(tags.objectGroup, 'coffer'),
        { tag: tags.initialDate, type: 'date-time', value: 1n },
      ]),
    ],
  },
  {
    call: objectCall('Get', id),
    payload: [
      enumeration(tags.objectType, 7),
      text(tags.uniqueIdentifier, id),
      structure(tags.secretData, [
        structure(tags.keyBlock, [
          structure(tags.keyValue, [
            { tag: tags.keyMaterial, type: 'byte-string', value: Buffer.from('value') },
          ]),
        ]),
      ]),
    ],
  },
];

const calls = exchanges.map(({ call }) => call);

function answerSample(): Buffer {
  const items = exchanges.map(({ call, payload }, index) =>
    structure(tags.batchItem, [
      enumeration(tags.operation, kmipOperations[call.operation]),
      { tag: tags.uniqueBatchItemId, type: 'byte-string', value: Buffer.from([0, index]) },
      enumeration(tags.resultStatus, 0),
      structure(tags.responsePayload, payload),
    ]),
  );
  const version = structure(tags.protocolVersion, [
    integer(tags.protocolVersionMajor, 2),
    integer(tags.protocolVersionMinor, 0),
  ]);
  const header = structure(tags.responseHeader, [version, integer(tags.batchCount, items.length)]);
  return encodeTtlv(structure(tags.responseMessage, [header, ...items]));
}

function readAnswers(input: Uint8Array): void {
  const [versions, located, object, secret] = decodeKmipResponse(input, calls).results;
  if (versions?.isOk) readVersions(versions.payload);
  if (located?.isOk) readLocated(located.payload);
  if (object?.isOk) readObject('2.0', id, object.payload);
  if (secret?.isOk) readSecret(id, secret.payload);
}

/** The targets for `fuzzTargets`. */
export function kmipTargets(): readonly FuzzTarget[] {
  return [
    {
      name: 'KMIP message',
      samples: [
        encodeTtlv(everyType),
        encodeTtlv({ tag: 0x420020, type: 'boolean', value: false }),
      ],
      run: (input) => {
        const item = orOwnError(TtlvError, () => decodeTtlv(input));
        if (item !== undefined && !isSame(item, input)) {
          throw new Error('a message was read that encodes differently');
        }
      },
    },
    {
      name: 'KMIP answer',
      samples: [answerSample()],
      run: (input, isChanged) => {
        const read = orOwnError(KmipMessageError, () => {
          readAnswers(input);
          return true;
        });
        if (read === undefined && !isChanged) throw new Error('a good answer was refused');
      },
    },
  ];
}

function orOwnError<T>(
  own: abstract new (...args: never[]) => Error,
  work: () => T,
): T | undefined {
  try {
    return work();
  } catch (error) {
    if (error instanceof own) return undefined;
    throw error;
  }
}

/** Sign extension makes a big integer longer than it must be; everything else has one encoding. */
function isSame(item: Ttlv, input: Uint8Array): boolean {
  const encoded = encodeTtlv(item);
  return encoded.equals(input) || (encoded.length < input.length && hasBigInteger(item));
}

function hasBigInteger(item: Ttlv): boolean {
  if (item.type === 'structure') return item.value.some(hasBigInteger);
  return item.type === 'big-integer';
}
