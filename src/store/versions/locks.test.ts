// Object lock: what protects a version from deletion, how it may change, and what new versions get.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  openTestStore,
  plainAttributes,
  put,
  type TestStore,
} from '../../../test/support/test-store.ts';
import {
  type BucketObjectLock,
  type ObjectLock,
  type RetentionMode,
  StoreError,
} from '../types.ts';

const dayMs = 86_400_000;
const ref = { bucket: 'bucket', key: 'a' };

const hasCode =
  (code: string) =>
  (error: unknown): boolean =>
    error instanceof StoreError && error.code === code;

function withLocks(title: string, run: (at: TestStore) => Promise<void>): void {
  for (const engine of ['memory', 'durable'] as const) {
    void test(`${title} (${engine})`, async () => {
      const at = await openTestStore({ engine });
      try {
        await setLock(at, {});
        await run(at);
      } finally {
        await at.close();
      }
    });
  }
}

async function setLock({ store }: TestStore, objectLock: BucketObjectLock): Promise<void> {
  await store.updateBucketSettings('bucket', (settings) => ({
    ...settings,
    versioning: 'Enabled',
    objectLock,
  }));
}

const nowOf = ({ clock }: TestStore): number => Date.now() + clock.aheadMs;

async function putLocked(at: TestStore, lock: ObjectLock): Promise<string> {
  return (await put(at.store, 'a', Buffer.from('x'), { lock })).versionId;
}

function retentionOf(at: TestStore, mode: RetentionMode, days: number): ObjectLock {
  return { retention: { mode, untilMs: nowOf(at) + days * dayMs } };
}

withLocks('a protected version stays until its time is over; a marker may hide it', async (at) => {
  const { store, clock } = at;
  for (const mode of ['GOVERNANCE', 'COMPLIANCE'] as const) {
    const versionId = await putLocked(at, retentionOf(at, mode, 10));
    const marker = await store.deleteObject(ref);
    assert.equal(marker.isMarker, true);
    await assert.rejects(store.deleteObject({ ...ref, versionId }), hasCode('ObjectLocked'));
    const bypass = { ...ref, versionId, bypassesGovernance: true };
    if (mode === 'COMPLIANCE') {
      await assert.rejects(store.deleteObject(bypass), hasCode('ObjectLocked'));
      clock.aheadMs += 11 * dayMs;
      await store.deleteObject({ ...ref, versionId });
    } else {
      await store.deleteObject(bypass);
    }
    await assert.rejects(store.openObject({ ...ref, versionId }), hasCode('NoSuchVersion'));
  }
});

withLocks('a legal hold protects as long as it is on', async (at) => {
  const { store } = at;
  const versionId = await putLocked(at, { legalHold: true });
  const bypass = { ...ref, versionId, bypassesGovernance: true };
  await assert.rejects(store.deleteObject(bypass), hasCode('ObjectLocked'));
  assert.deepEqual((await store.putLegalHold({ ...ref, versionId }, false)).lock, {
    legalHold: false,
  });
  await store.deleteObject({ ...ref, versionId });
});

withLocks('retention changes only as its mode allows', async (at) => {
  const { store } = at;
  const change = async (
    before: RetentionMode,
    to: readonly [RetentionMode, number] | undefined,
    bypassesGovernance: boolean,
  ): Promise<string> => {
    const versionId = await putLocked(at, retentionOf(at, before, 10));
    const target = { ...ref, versionId };
    const wanted = to && retentionOf(at, ...to).retention;
    try {
      const { lock, modifiedMs } = await store.putRetention(target, wanted, { bypassesGovernance });
      const { info } = await store.openObject(target);
      assert.deepEqual(lock?.retention, wanted);
      assert.deepEqual(info.lock?.retention, wanted);
      assert.equal(info.modifiedMs, modifiedMs);
      return 'done';
    } catch (error) {
      assert.ok(error instanceof StoreError);
      const { info } = await store.openObject(target);
      assert.equal(info.lock?.retention?.mode, before);
      return error.code;
    }
  };
  // biome-ignore format: one case to a line
  const cases: readonly (readonly [RetentionMode, readonly [RetentionMode, number] | undefined, string, string])[] = [
    ['GOVERNANCE', ['GOVERNANCE', 11], 'done', 'done'],
    ['GOVERNANCE', ['GOVERNANCE', 9], 'ObjectLocked', 'done'],
    ['GOVERNANCE', ['COMPLIANCE', 11], 'ObjectLocked', 'done'],
    ['GOVERNANCE', undefined, 'ObjectLocked', 'done'],
    ['GOVERNANCE', ['GOVERNANCE', -1], 'InvalidArgument', 'InvalidArgument'],
    ['COMPLIANCE', ['COMPLIANCE', 11], 'done', 'done'],
    ['COMPLIANCE', ['COMPLIANCE', 9], 'ObjectLocked', 'ObjectLocked'],
    ['COMPLIANCE', ['GOVERNANCE', 11], 'ObjectLocked', 'ObjectLocked'],
    ['COMPLIANCE', undefined, 'ObjectLocked', 'ObjectLocked'],
  ];
  for (const [before, to, plain, bypassing] of cases) {
    const title = `${before} to ${to?.join(' ') ?? 'nothing'}`;
    assert.equal(await change(before, to, false), plain, title);
    assert.equal(await change(before, to, true), bypassing, title);
  }
});

withLocks('a default retention is given to what has none, and to no marker', async (at) => {
  const { store } = at;
  await setLock(at, { defaultRetention: { mode: 'COMPLIANCE', days: 2 } });
  const before = nowOf(at);
  const plain = await put(store, 'a', Buffer.from('x'));
  const until = plain.lock?.retention?.untilMs ?? 0;
  assert.equal(plain.lock?.retention?.mode, 'COMPLIANCE');
  assert.ok(until >= before + 2 * dayMs - 1 && until <= nowOf(at) + 2 * dayMs + 1);
  const own = await putLocked(at, { ...retentionOf(at, 'GOVERNANCE', 1), legalHold: false });
  const { info } = await store.openObject({ ...ref, versionId: own });
  assert.equal(info.lock?.retention?.mode, 'GOVERNANCE');
  const held = await putLocked(at, { legalHold: true });
  const holding = (await store.openObject({ ...ref, versionId: held })).info.lock;
  assert.equal(holding?.legalHold, true);
  assert.equal(holding?.retention?.mode, 'COMPLIANCE');
  const { versionId = '' } = await store.deleteObject(ref);
  await store.deleteObject({ ...ref, versionId });
  await setLock(at, { defaultRetention: { mode: 'GOVERNANCE', years: 1 } });
  const yearly = await put(store, 'a', Buffer.from('x'));
  const end = new Date(nowOf(at));
  end.setUTCFullYear(end.getUTCFullYear() + 1);
  assert.ok(Math.abs((yearly.lock?.retention?.untilMs ?? 0) - end.getTime()) < 60_000);
});

withLocks('a clock that went back shortens no default retention', async (at) => {
  const { store, clock } = at;
  await setLock(at, { defaultRetention: { mode: 'COMPLIANCE', days: 2 } });
  clock.aheadMs = 100 * dayMs;
  const first = await put(store, 'a', Buffer.from('x'));
  clock.aheadMs = 0;
  const second = await put(store, 'a', Buffer.from('x'));
  const until = (info: typeof first): number => info.lock?.retention?.untilMs ?? 0;
  assert.ok(until(second) >= until(first));
  const { versionId } = first;
  await assert.rejects(store.deleteObject({ ...ref, versionId }), hasCode('ObjectLocked'));
});

withLocks('an upload is protected from its completion', async (at) => {
  const { store } = at;
  const lock: ObjectLock = { ...retentionOf(at, 'GOVERNANCE', 3), legalHold: true };
  const input = { ...ref, attributes: plainAttributes, encryption: { kind: 'default' } } as const;
  const { uploadId } = await store.createUpload({ ...input, owner: 'o', lock });
  const upload = { ...ref, uploadId };
  const body = Buffer.from('part');
  const part = await store.putPart({ ...upload, partNumber: 1, body, sizeBytes: body.length });
  const info = await store.completeUpload({ ...upload, parts: [{ number: 1, etag: part.etag }] });
  assert.deepEqual(info.lock, lock);
  const { versionId } = info;
  await assert.rejects(store.deleteObject({ ...ref, versionId }), hasCode('ObjectLocked'));
});

void test('nothing is locked where the bucket has no object lock', async () => {
  const at = await openTestStore();
  try {
    const { store } = at;
    const lock = { legalHold: true };
    const past: ObjectLock = { retention: { mode: 'GOVERNANCE', untilMs: nowOf(at) - 1 } };
    const { versionId } = await put(store, 'a', Buffer.from('x'));
    await assert.rejects(putLocked(at, lock), hasCode('InvalidRequest'));
    await assert.rejects(store.putLegalHold(ref, true), hasCode('InvalidRequest'));
    const options = { bypassesGovernance: true };
    await assert.rejects(store.putRetention(ref, undefined, options), hasCode('InvalidRequest'));
    await setLock(at, {});
    await assert.rejects(putLocked(at, past), hasCode('InvalidArgument'));
    // What was there before can be locked from now on, and is not replaced.
    await store.putLegalHold({ ...ref, versionId }, true);
    await put(store, 'a', Buffer.from('new'));
    await assert.rejects(store.deleteObject({ ...ref, versionId }), hasCode('ObjectLocked'));
    await assert.rejects(store.deleteBucket('bucket'), hasCode('BucketNotEmpty'));
  } finally {
    await at.close();
  }
});
