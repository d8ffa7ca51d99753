// Bucket keys: how often the KMS is asked, how long a key lives, and that nobody is ever given a wiped one.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { describe, it } from 'node:test';
import { VectorKms } from '../../test/support/vector-kms.ts';
import { type BucketKey, BucketKeys, type BucketKeysOptions } from './bucket-keys.ts';
import { KmsError } from './kms.ts';
import { createBucketKeyedKey, openBucketKeyedKey } from './sse-kms.ts';

function setUp(options: BucketKeysOptions = {}) {
  const kms = new VectorKms({
    defaultKeyName: 'k',
    masterKeys: { k: randomBytes(32), other: randomBytes(32) },
  });
  const clock = { nowMs: 1_000_000 };
  const keys = new BucketKeys(kms, { now: () => clock.nowMs, ...options });
  return { kms, keys, clock };
}

const isZero = (key: BucketKey): boolean => key.plaintext.every((byte) => byte === 0);

void describe('bucket keys', () => {
  void it('take one call for many objects, also when all come at once', async () => {
    const { kms, keys } = setUp();
    const place = (key: string) => ({ bucket: 'b', key });
    const made = await Promise.all(
      Array.from({ length: 50 }, (_, index) =>
        createBucketKeyedKey(keys, place(`o${index}`), { keyName: 'k' }),
      ),
    );
    assert.equal(kms.calls.length, 1);
    assert.equal(kms.calls[0]?.context, '{"b":"b"}');
    const seen = new Set(made.map(({ oek }) => oek.toString('hex')));
    assert.equal(seen.size, 50);
    for (const [index, { oek, envelope }] of made.entries()) {
      assert.deepEqual(await openBucketKeyedKey(keys, place(`o${index}`), envelope), oek);
    }
    assert.equal(kms.calls.length, 1);
    // Another process opens them with one call of its own.
    const others = new BucketKeys(kms);
    await Promise.all(
      made.map(({ envelope }, index) => openBucketKeyedKey(others, place(`o${index}`), envelope)),
    );
    assert.deepEqual(
      kms.calls.map(({ call }) => call),
      ['generate', 'decrypt'],
    );
    await keys.close();
    await others.close();
  });

  void it('are one for each master key, bucket and context', async () => {
    const { kms, keys } = setUp();
    await keys.forWrite({ bucket: 'b', key: 'x' }, { keyName: 'k' });
    await keys.forWrite({ bucket: 'b', key: 'x' }, { keyName: 'other' });
    await keys.forWrite({ bucket: 'c', key: 'x' }, { keyName: 'k' });
    await keys.forWrite({ bucket: 'b', key: 'x' }, { keyName: 'k', context: { a: '1' } });
    await keys.forWrite({ bucket: 'b', key: 'x' }, { keyName: 'k', context: { a: '2' } });
    await keys.forWrite({ bucket: 'b', key: 'x' }, { keyName: 'k', context: { a: '1' } });
    assert.equal(kms.calls.length, 5);
    await keys.close();
  });

  void it('end with their time and with their uses', async () => {
    const { kms, keys, clock } = setUp({ maxUses: 3 });
    const first = await keys.forWrite({ bucket: 'b', key: 'x' }, { keyName: 'k' });
    clock.nowMs += 299_999;
    assert.deepEqual(await keys.forWrite({ bucket: 'b', key: 'x' }, { keyName: 'k' }), first);
    clock.nowMs += 1;
    const second = await keys.forWrite({ bucket: 'b', key: 'x' }, { keyName: 'k' });
    assert.notDeepEqual(second, first);
    await keys.forWrite({ bucket: 'b', key: 'x' }, { keyName: 'k' });
    await keys.forWrite({ bucket: 'b', key: 'x' }, { keyName: 'k' });
    assert.equal(kms.calls.length, 2);
    assert.notDeepEqual(await keys.forWrite({ bucket: 'b', key: 'x' }, { keyName: 'k' }), second);
    assert.equal(kms.calls.length, 3);
    // A clock that was set back does not make a key young again.
    clock.nowMs -= 3_600_000;
    await keys.forWrite({ bucket: 'b', key: 'x' }, { keyName: 'k' });
    assert.equal(kms.calls.length, 4);
    await keys.close();
  });

  void it('never live longer than five minutes, and for one use when told so', async () => {
    const long = setUp({ maxAgeMs: 3_600_000 });
    await long.keys.forWrite({ bucket: 'b', key: 'x' }, { keyName: 'k' });
    long.clock.nowMs += 300_000;
    await long.keys.forWrite({ bucket: 'b', key: 'x' }, { keyName: 'k' });
    assert.equal(long.kms.calls.length, 2);
    await long.keys.close();
    const none = setUp({ maxAgeMs: 0 });
    const made = await Promise.all(
      [1, 2, 3].map(() => none.keys.forWrite({ bucket: 'b', key: 'x' }, { keyName: 'k' })),
    );
    assert.equal(new Set(made.map(({ plaintext }) => plaintext.toString('hex'))).size, 3);
    assert.ok(!made.some(isZero));
    await none.keys.close();
  });

  void it('are wiped when they end, and no user is given a wiped one', async () => {
    const { keys } = setUp({ maxKeys: 2 });
    const given = await Promise.all(
      Array.from({ length: 200 }, (_, index) =>
        keys.forWrite(
          { bucket: `b${index % 7}`, key: 'x' },
          { keyName: 'k', context: { n: String(index % 3) } },
        ),
      ),
    );
    assert.ok(!given.some(isZero));
    const pending = Array.from({ length: 20 }, () =>
      keys.forWrite({ bucket: 'b', key: 'x' }, { keyName: 'k' }),
    );
    await keys.close();
    assert.ok(!(await Promise.all(pending)).some(isZero));
    await keys.close();
  });

  void it('do not remember a failure', async () => {
    const { kms, keys } = setUp();
    kms.failure = new KmsError('key-disabled', 'disabled');
    await assert.rejects(keys.forWrite({ bucket: 'b', key: 'x' }, { keyName: 'k' }), KmsError);
    kms.failure = undefined;
    await keys.forWrite({ bucket: 'b', key: 'x' }, { keyName: 'k' });
    await keys.close();
  });
});
