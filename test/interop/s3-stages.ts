// The stages every SDK is put through: all modes and sizes with and without a default of the bucket, ranges,
// copies between all modes, refusals, hard names, listings. Pure data; s3-model.ts knows what must come back.

import type { Mode, Step } from './s3-plan.ts';

const kib = 1024;
const mib = 1024 * kib;

/** How many bytes of payload the stages take their objects from. */
export const dataBytes = 18 * mib;

/** A step, and the codes it may be refused with when it must be refused. */
export type Trial = { readonly step: Step; readonly refused?: RegExp };
export type TrialStage = readonly Trial[];

/** The edges of inline objects, of encrypted packages and of parts. */
export const allSizes: readonly number[] = [
  0,
  1,
  64 * kib - 1,
  64 * kib,
  64 * kib + 1,
  5 * mib - 1,
  5 * mib,
  5 * mib + 1,
  16 * mib + 1,
];
export const fewSizes: readonly number[] = [0, 64 * kib + 1, 5 * mib + 1];
const partSize = 5 * mib;

/** Names that proxies, URL libraries and careless encoders change; each is another object. */
export const hardNames: readonly string[] = [
  'with space',
  ' lead and trail ',
  'plus+plus',
  'percent%',
  'percent%20done',
  'percent%2Fslash',
  'percent%25',
  'umlaut-ü/日本語/😀',
  'e\u0301-decomposed',
  '\u00e9-composed',
  'double//slash',
  '/leading',
  'dir/',
  'dir/../up',
  '..',
  './dot',
  'a/./b',
  'question?x=1&y=2#z',
  'quote\'"<>&amp;',
  'back\\slash',
  "reserved!*'();:@=$,[]~",
  'z'.repeat(1024),
  'ä/'.repeat(341),
];

const all = (steps: readonly Step[]): TrialStage => steps.map((step) => ({ step }));

function rangesOf(size: number): readonly (readonly [number, number])[] {
  const wanted: (readonly [number, number])[] = [
    [0, 0],
    [64 * kib - 2, 64 * kib],
    [partSize - 1, partSize],
    [size - 1, size - 1],
  ];
  return wanted.filter(([, last]) => last >= 0 && last < size);
}

export type ModeNames = {
  /** Start of the names of the buckets. */
  readonly prefix: string;
  readonly modes: readonly Mode[];
  /** Whether HEAD, and the parts of an upload, can carry a client's key. */
  readonly hasHeadWithKey: boolean;
  readonly hasPartsWithKey: boolean;
  /** Names the client does not encode as the source of a copy. */
  readonly cannotCopyName: RegExp | undefined;
};

const modeName = (mode: Mode): string =>
  mode.kind === 'kms' && mode.context !== undefined ? 'kms-context' : mode.kind;

/** Writes, heads, reads, ranges and lists objects of every mode and size in a bucket with this default. */
export function modeStages(
  names: ModeNames,
  defaultMode: Mode,
  sizes: readonly number[],
): TrialStage[] {
  const bucket = `${names.prefix}-default-${defaultMode.kind}`;
  const put: Step[] = [];
  const read: Step[] = [];
  for (const [at, mode] of names.modes.entries()) {
    const isLean = modeName(mode) === 'kms-context' || defaultMode.kind !== 'none';
    for (const size of sizes) {
      // The large ones once per kind of encryption: what differs is only how the key was found.
      if (isLean && size > partSize && mode.kind !== 'none') continue;
      if (mode.kind === 'c' && size > partSize && !names.hasPartsWithKey) continue;
      const key = `${modeName(mode)}/${size}`;
      const metadata = { note: `note-${modeName(mode)}`, empty: '' };
      const inParts = size > partSize ? { partSize } : {};
      const offset = (at * 4099 + size) % mib;
      put.push({ op: 'put', bucket, key, mode, size, offset, metadata, ...inParts });
      if (mode.kind !== 'c' || names.hasHeadWithKey) read.push({ op: 'head', bucket, key, mode });
      read.push({ op: 'get', bucket, key, mode });
      for (const range of rangesOf(size)) read.push({ op: 'get', bucket, key, mode, range });
    }
  }
  const lists: Step[] = [
    { op: 'list', bucket, prefix: '', delimiter: '', api: 2, pageSize: 1000 },
    { op: 'list', bucket, prefix: '', delimiter: '/', api: 1, pageSize: 1000 },
  ];
  return [
    all([{ op: 'createBucket', bucket }]),
    defaultMode.kind === 'none' ? [] : all([{ op: 'setDefault', bucket, mode: defaultMode }]),
    all(put),
    all([...read, ...lists]),
  ];
}

/** Copies between every two modes, onto itself with another key, and reads what came out. */
export function copyStages(names: ModeNames, otherKey: string): TrialStage[] {
  const bucket = `${names.prefix}-copies`;
  const size = 64 * kib + 1;
  const sources: Step[] = names.modes.map((mode, at) => ({
    op: 'put',
    bucket,
    key: `from ${modeName(mode)}+`,
    mode,
    size,
    offset: at * 7,
    metadata: { note: modeName(mode) },
  }));
  const copies: Step[] = [];
  const reads: Step[] = [];
  for (const fromMode of names.modes) {
    for (const mode of names.modes) {
      const key = `${modeName(fromMode)}-to-${modeName(mode)}`;
      const fromKey = `from ${modeName(fromMode)}+`;
      copies.push({ op: 'copy', bucket, key, mode, fromBucket: bucket, fromKey, fromMode });
      if (mode.kind !== 'c' || names.hasHeadWithKey) reads.push({ op: 'head', bucket, key, mode });
      reads.push({ op: 'get', bucket, key, mode });
    }
  }
  const stages = [
    all([{ op: 'createBucket', bucket }]),
    all(sources),
    all(copies),
    all(reads),
    all([{ op: 'list', bucket, prefix: '', delimiter: '', api: 2, pageSize: 1000 }]),
  ];
  const own = names.modes.find((mode) => mode.kind === 'c');
  if (own === undefined) return stages;
  const key = `from ${modeName(own)}+`;
  const mode: Mode = { kind: 'c', key: otherKey };
  return [
    ...stages,
    all([{ op: 'copy', bucket, key, mode, fromBucket: bucket, fromKey: key, fromMode: own }]),
    all([{ op: 'get', bucket, key, mode }]),
    [{ step: { op: 'get', bucket, key, mode: own }, refused: /InvalidRequest|400/ }],
  ];
}

/** What must not work: reads without the key or with another one, keys nobody has, keys over plain HTTP. */
export function refusalStages(
  names: ModeNames,
  keys: { readonly own: string; readonly other: string; readonly isTls: boolean },
): TrialStage[] {
  const bucket = `${names.prefix}-refusals`;
  const own: Mode = { kind: 'c', key: keys.own };
  const put = { op: 'put', bucket, size: 1000, offset: 0 } as const;
  const key = 'sealed with a key';
  const plainKey = 'plain';
  const unknown: Mode = { kind: 'kms', keyId: 'no-such-key' };
  const create = [
    all([{ op: 'createBucket', bucket }]),
    all([{ ...put, key: plainKey, mode: { kind: 'none' } }]),
  ];
  const unknownKey: TrialStage = names.modes.some((mode) => mode.kind === 'kms')
    ? [{ step: { ...put, key: 'unknown', mode: unknown }, refused: /KMS\.NotFound/ }]
    : [];
  if (!keys.isTls) {
    // Some clients refuse by themselves to send a key in the clear.
    const refused = /InvalidRequest|InvalidArgument|TLS|HTTPS|ValueError|secure/i;
    return [...create, unknownKey, [{ step: { ...put, key, mode: own }, refused }]];
  }
  const get = { op: 'get', bucket } as const;
  const refused = /InvalidRequest|400/;
  return [
    ...create,
    unknownKey,
    all([{ ...put, key, mode: own }]),
    [
      { step: { ...get, key, mode: { kind: 'none' } }, refused },
      { step: { ...get, key, mode: { kind: 'c', key: keys.other } }, refused },
      { step: { ...get, key: plainKey, mode: own }, refused },
      { step: { op: 'head', bucket, key, mode: { kind: 'none' } }, refused },
      { step: { ...get, key: 'absent', mode: own }, refused: /NoSuchKey/ },
    ],
  ];
}

/** Hard names: written, read, copied, listed in order, and deleted in one call. */
export function nameStages(names: ModeNames, keys: readonly string[]): TrialStage[] {
  const bucket = `${names.prefix}-names`;
  const mode: Mode = { kind: 's3' };
  const copied = keys.filter(
    (key) => Buffer.byteLength(key) < 1000 && names.cannotCopyName?.test(key) !== true,
  );
  const list = { op: 'list', bucket, prefix: '', delimiter: '', pageSize: 1000 } as const;
  return [
    all([{ op: 'createBucket', bucket }]),
    all(keys.map((key, at) => ({ op: 'put', bucket, key, mode, size: 10 + at, offset: at * 100 }))),
    all(
      keys.flatMap((key) => [
        { op: 'head', bucket, key, mode } as const,
        { op: 'get', bucket, key, mode } as const,
      ]),
    ),
    all(
      copied.map((key) => ({
        op: 'copy',
        bucket,
        key: `${key} copy`,
        mode,
        fromBucket: bucket,
        fromKey: key,
        fromMode: { kind: 'none' },
      })),
    ),
    all([
      { ...list, api: 2 },
      { ...list, api: 1 },
      { ...list, api: 2, delimiter: '/' },
      { ...list, api: 1, delimiter: '/' },
      { ...list, api: 2, prefix: 'percent%' },
      { ...list, api: 2, prefix: 'double/', delimiter: '/' },
    ]),
    all([{ op: 'delete', bucket, keys: [...keys, ...copied.map((key) => `${key} copy`)] }]),
    all([{ ...list, api: 2 }]),
    all([{ op: 'deleteBucket', bucket }]),
  ];
}

/** One object per checksum the protocol has, in two modes. */
export function checksumStages(names: ModeNames): TrialStage[] {
  const bucket = `${names.prefix}-checksums`;
  const puts: Step[] = [];
  for (const checksum of ['CRC32', 'CRC32C', 'CRC64NVME', 'SHA1', 'SHA256']) {
    for (const mode of names.modes) {
      const key = `${modeName(mode)}-${checksum}`;
      puts.push({ op: 'put', bucket, key, mode, size: 70_000, offset: 5, checksum });
    }
  }
  const gets = puts.flatMap((step): Step[] =>
    step.op === 'put' ? [{ op: 'get', bucket, key: step.key, mode: step.mode }] : [],
  );
  return [all([{ op: 'createBucket', bucket }]), all(puts), all(gets)];
}

/** More keys than a page holds. */
export function manyStages(bucket: string, keys: readonly string[]): TrialStage[] {
  return [
    all([{ op: 'createBucket', bucket }]),
    all(
      keys.map((key, at) => ({
        op: 'put',
        bucket,
        key,
        size: at % 7,
        offset: at,
        mode: { kind: 'none' },
      })),
    ),
  ];
}

/** Lists them with both calls, whole and by prefix. */
export function manyListStages(bucket: string): TrialStage[] {
  const list = { op: 'list', bucket, prefix: '', delimiter: '', pageSize: 1000 } as const;
  return [
    all([
      { ...list, api: 2 },
      { ...list, api: 1 },
      { ...list, api: 2, delimiter: '/', pageSize: 10 },
      { ...list, api: 1, delimiter: '/', pageSize: 10 },
      { ...list, api: 2, prefix: 'group-3/', pageSize: 50 },
    ]),
  ];
}
