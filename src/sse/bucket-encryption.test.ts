// Which default encryptions of a bucket are accepted, and the reasons given for the others.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { readVectors } from '../../test/support/vectors.ts';
import { type BucketEncryptionRule, checkBucketEncryption } from './bucket-encryption.ts';
import { SseError, type SseErrorCode } from './sse-error.ts';

type Case = { xml: string; ok: boolean; key_id?: string; error?: string };
const { cases } = readVectors('sse-bucket-encryption.json') as { cases: Case[] };

/** Enough for these documents; the real parser is elsewhere. */
function rulesOf(xml: string): BucketEncryptionRule[] {
  const inside = (text: string, name: string) =>
    new RegExp(`<${name}>(.*?)</${name}>`).exec(text)?.[1];
  return [...xml.matchAll(/<Rule>.*?<\/Rule>/g)].map(([rule]) => ({
    algorithm: inside(rule, 'SSEAlgorithm'),
    keyId: inside(rule, 'KMSMasterKeyID'),
  }));
}

function codeOf(code: SseErrorCode) {
  return (error: unknown) => error instanceof SseError && error.code === code;
}

void describe('a bucket default', () => {
  void it('is accepted or refused with the known reason', () => {
    for (const { xml, ok, key_id, error } of cases) {
      const check = () => checkBucketEncryption(rulesOf(xml));
      if (!ok) {
        assert.throws(check, { name: 'SseError', message: error });
        continue;
      }
      const accepted = check();
      assert.equal(accepted.algorithm === 'aws:kms' ? accepted.keyName : undefined, key_id);
      if (accepted.algorithm === 'aws:kms') assert(xml.includes(`>${accepted.keyId}<`));
    }
  });

  void it('needs a rule, and an algorithm in it', () => {
    assert.throws(() => checkBucketEncryption([]), codeOf('rule-count'));
    assert.throws(() => checkBucketEncryption([{}]), codeOf('rule-algorithm'));
    assert.throws(() => checkBucketEncryption([{ algorithm: 'aes256' }]), codeOf('rule-algorithm'));
    const empty = [{ algorithm: 'AES256', keyId: '' }];
    assert.deepEqual(checkBucketEncryption(empty), { algorithm: 'AES256' });
    const noKey = [{ algorithm: 'aws:kms', keyId: '' }];
    assert.throws(() => checkBucketEncryption(noKey), codeOf('rule-key-id-missing'));
  });
});
