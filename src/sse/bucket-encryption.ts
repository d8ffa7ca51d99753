// The rules of a bucket's default encryption. The XML around it is the S3 edge's; here is what may
// be in it.

import { keyNameOf } from './sse-kms.ts';
import { SseError } from './sse-error.ts';

/**
 * One `Rule` as the document gave it; undefined and empty members are elements that are missing or
 * empty.
 */
export type BucketEncryptionRule = {
  readonly algorithm?: string | undefined;
  readonly keyId?: string | undefined;
};

/** A default that was accepted. */
export type BucketEncryptionDefault =
  | { readonly algorithm: 'AES256' }
  | {
      readonly algorithm: 'aws:kms' | 'aws:kms:dsse';
      /** As it was sent, to be given back; empty means the default master key. */
      readonly keyId: string;
      /** The master key it means; empty for the default one. */
      readonly keyName: string;
    };

/**
 * The default that the rules state. Throws `SseError` with one of the `rule-` codes; its text is
 * the reason for the client. Without a default master key `aws:kms` needs a key id.
 */
export function checkBucketEncryption(
  rules: readonly BucketEncryptionRule[],
  options: { readonly hasDefaultKey?: boolean } = {},
): BucketEncryptionDefault {
  if (!rules.every(({ algorithm }) => isKnown(algorithm))) throw new SseError('rule-algorithm');
  const [rule, ...more] = rules;
  if (rule === undefined || more.length > 0) throw new SseError('rule-count');
  const { algorithm, keyId = '' } = rule;
  if (algorithm !== 'aws:kms' && algorithm !== 'aws:kms:dsse') {
    if (keyId !== '') throw new SseError('rule-key-id-not-allowed');
    return { algorithm: 'AES256' };
  }
  if (keyId === '' && options.hasDefaultKey !== true) throw new SseError('rule-key-id-missing');
  if (keyId.startsWith(' ') || keyId.endsWith(' ')) throw new SseError('rule-key-id-invalid');
  return { algorithm, keyId, keyName: keyNameOf(keyId) };
}

function isKnown(algorithm: string | undefined): boolean {
  return algorithm === 'AES256' || algorithm === 'aws:kms' || algorithm === 'aws:kms:dsse';
}
