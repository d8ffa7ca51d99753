// Which encryption a write gets: what the request asks for wins; else the bucket's default, else
// auto-encryption, else none. Pure, because the protocol asks the same question before a copy.

import { isDeepStrictEqual } from 'node:util';
import { keyNameOf } from '../../sse/sse-kms.ts';
import type {
  BucketEncryption,
  BucketSettings,
  EncryptionRequest,
  ObjectEncryption,
  PrefixEncryption,
} from '../types.ts';

/** A request that is settled: no `default` any more. */
export type SettledRequest = Exclude<EncryptionRequest, { readonly kind: 'default' }>;

/** The encryption of a write of `key`; undefined for none. */
export function settleRequest(
  request: EncryptionRequest,
  on: {
    readonly settings: BucketSettings;
    readonly key: string;
    readonly isAutoEncrypting: boolean;
  },
): SettledRequest | undefined {
  if (request.kind === 'sse-kms' && request.hasBucketKey === undefined) {
    return { ...request, hasBucketKey: offersBucketKey(defaultOf(on.settings, on.key)) };
  }
  if (request.kind !== 'default') return request;
  const rule = defaultOf(on.settings, on.key);
  if (rule !== undefined) return requestOf(rule);
  return on.isAutoEncrypting ? { kind: 'sse-s3' } : undefined;
}

/** The default that holds for a key: that of its longest prefix, else the bucket's. Undefined for none. */
export function defaultOf(settings: BucketSettings, key: string): BucketEncryption | undefined {
  let best: PrefixEncryption | undefined;
  for (const rule of settings.encryptionPrefixes ?? []) {
    if (key.startsWith(rule.prefix) && rule.prefix.length >= (best?.prefix.length ?? 0))
      best = rule;
  }
  return best?.encryption ?? settings.encryption;
}

/** The settings with another default for a prefix, or with none. */
export function withPrefixDefault(
  settings: BucketSettings,
  prefix: string,
  encryption: BucketEncryption | undefined,
): BucketSettings {
  const { encryptionPrefixes = [], ...rest } = settings;
  const others = encryptionPrefixes.filter((rule) => rule.prefix !== prefix);
  if (encryption === undefined && others.length === 0) return rest;
  const rules = encryption === undefined ? others : [...others, { prefix, encryption }];
  return { ...rest, encryptionPrefixes: rules.toSorted(byPrefix) };
}

function byPrefix(a: PrefixEncryption, b: PrefixEncryption): number {
  return a.prefix < b.prefix ? -1 : 1;
}

function requestOf(rule: BucketEncryption): SettledRequest {
  if (rule.algorithm === 'AES256') return { kind: 'sse-s3' };
  const key = rule.keyId === undefined ? {} : { keyId: rule.keyId };
  if (rule.algorithm === 'aws:kms:dsse') return { kind: 'dsse-kms', ...key };
  return { kind: 'sse-kms', ...key, hasBucketKey: offersBucketKey(rule) };
}

/** A write that names `aws:kms` and says nothing of bucket keys does what the bucket does by default. */
function offersBucketKey(rule: BucketEncryption | undefined): boolean {
  return rule?.algorithm === 'aws:kms' && rule.bucketKeyEnabled === true;
}

/**
 * True when a write with this request would be protected exactly as the object is: same kind, same master key,
 * same context, same texts to show. SSE-C is never the same, because nothing here knows the keys.
 */
export function isSameEncryption(
  stored: ObjectEncryption | undefined,
  wanted: SettledRequest | undefined,
  defaultKeyName: string,
): boolean {
  if (stored === undefined || wanted === undefined) return stored === wanted;
  if (stored.kind === 'sse-s3')
    return wanted.kind === 'sse-s3' && stored.keyName === defaultKeyName;
  if (stored.kind === 'sse-c' || wanted.kind === 'sse-c' || wanted.kind === 'sse-s3') return false;
  if (stored.kind !== wanted.kind) return false;
  const isUnderBucketKey = stored.kind === 'sse-kms' && stored.hasBucketKey === true;
  const wantsBucketKey = wanted.kind === 'sse-kms' && wanted.hasBucketKey === true;
  if (isUnderBucketKey !== wantsBucketKey) return false;
  const keyName = keyNameOf(wanted.keyId ?? '') || defaultKeyName;
  return (
    stored.keyName === keyName &&
    stored.keyId === (wanted.keyId ?? keyName) &&
    isDeepStrictEqual(stored.context ?? {}, wanted.context ?? {})
  );
}
