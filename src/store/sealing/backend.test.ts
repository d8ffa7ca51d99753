// Opening data directories: plain, sealed, on the way from one to the other, and with the wrong keys.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openTestKms, type TestKms } from '../../../test/support/test-kms.ts';
import { silentLog } from '../../base/log.ts';
import { openMemoryKv } from '../../kv/memory.ts';
import { KmsError } from '../../sse/kms.ts';
import { type Backend, openBackend } from './backend.ts';
import { BackendError, formatEntryKey } from './format.ts';
import type { Kv, KvCommit, KvEntry } from '../kv.ts';

const open = (kv: Kv, kms?: TestKms): Promise<Backend> => openBackend({ kv, kms, log: silentLog });

const hasCode =
  (code: string, text = '') =>
  (error: unknown): boolean =>
    error instanceof BackendError && error.code === code && error.message.includes(text);

const everything = { start: Buffer.from([0]), end: Buffer.from([0xff]), limit: 10_000 };

async function dump(kv: Kv): Promise<string> {
  const entries = await kv.list(everything);
  return entries.map((entry) => Buffer.from(entry.value).toString('latin1')).join('\n');
}

async function fill(kv: Kv, count: number): Promise<void> {
  for (let index = 0; index < count; index += 1) {
    const entryKey = Buffer.from(`${'abcuz'[index % 5]}${index}`);
    await kv.commit({ puts: [{ entryKey, value: Buffer.from(`secret number ${index}`) }] });
  }
}

async function assertFilled(kv: Kv, count: number): Promise<void> {
  for (let index = 0; index < count; index += 1) {
    const entry = await kv.get(Buffer.from(`${'abcuz'[index % 5]}${index}`));
    assert.equal(Buffer.from(entry?.value ?? '').toString(), `secret number ${index}`);
  }
}

/** The same store, but it dies before its nth commit from now. */
function dyingKv(kv: Kv, commits: number): Kv {
  let left = commits;
  return {
    get: (entryKey: Uint8Array): Promise<KvEntry | undefined> => kv.get(entryKey),
    getMany: (entryKeys) => kv.getMany(entryKeys),
    list: (range) => kv.list(range),
    commit: async (commit: KvCommit) => {
      if (left === 0) throw new Error('killed');
      left -= 1;
      return kv.commit(commit);
    },
    close: async () => undefined,
  };
}

void test('a directory without a KMS stays plain and keeps its deployment id', async () => {
  const kv = openMemoryKv();
  const first = await open(kv);
  await fill(first.kv, 10);
  const second = await open(kv);
  assert.equal(second.deploymentId, first.deploymentId);
  assert.match(first.deploymentId, /^[0-9a-f-]{36}$/);
  assert.equal(second.isSealed, false);
  await assertFilled(second.kv, 10);
});

void test('a new directory with a KMS is sealed from its first entry, with one key call', async () => {
  const kv = openMemoryKv();
  const kms = openTestKms();
  const first = await open(kv, kms);
  assert.equal(first.isSealed, true);
  assert.equal(first.keyName, 'test-key');
  await fill(first.kv, 10);
  assert.ok(!(await dump(kv)).includes('secret'));
  assert.deepEqual(kms.calls, { generate: 1, decrypt: 1 });
  const second = await open(kv, kms);
  await assertFilled(second.kv, 10);
  assert.deepEqual(kms.calls, { generate: 1, decrypt: 2 });
});

void test('the first start with a KMS seals what was plain, for good', async () => {
  const kv = openMemoryKv();
  const kms = openTestKms();
  const plain = await open(kv);
  await fill(plain.kv, 100);
  assert.ok((await dump(kv)).includes('secret'));
  const sealed = await open(kv, kms);
  assert.equal(sealed.deploymentId, plain.deploymentId);
  assert.equal(sealed.isSealed, true);
  await assertFilled(sealed.kv, 100);
  assert.ok(!(await dump(kv)).includes('secret'));
  await assert.rejects(open(kv), hasCode('kms-required', 'MINIO_KMS_KES_ENDPOINT'));
  await assert.rejects(open(kv), hasCode('kms-required', 'MINIO_KMS_SECRET_KEY'));
  await assert.rejects(fill(plain.kv, 1));
});

void test('sealing resumes after a crash at any commit', async () => {
  const kms = openTestKms();
  for (let commits = 0; commits < 6; commits += 1) {
    const kv = openMemoryKv();
    await fill((await open(kv)).kv, 70);
    await assert.rejects(open(dyingKv(kv, commits), kms), /killed/);
    const sealed = await open(kv, kms);
    await assertFilled(sealed.kv, 70);
    assert.ok(!(await dump(kv)).includes('secret'));
    await assert.rejects(open(kv), hasCode('kms-required'));
  }
});

void test('several processes seal at the same time', async () => {
  const kv = openMemoryKv();
  const kms = openTestKms();
  await fill((await open(kv)).kv, 200);
  const opened = await Promise.all(Array.from({ length: 5 }, () => open(kv, kms)));
  for (const backend of opened) await assertFilled(backend.kv, 200);
  assert.ok(!(await dump(kv)).includes('secret'));
});

void test('several processes create one directory', async () => {
  const kv = openMemoryKv();
  const kms = openTestKms();
  const opened = await Promise.all(Array.from({ length: 5 }, () => open(kv, kms)));
  assert.equal(new Set(opened.map((backend) => backend.deploymentId)).size, 1);
});

void test('the recorded key opens the directory, whatever the default key is now', async () => {
  const kv = openMemoryKv();
  const kms = openTestKms();
  await fill((await open(kv, kms)).kv, 3);
  await kms.createKey('new-default');
  kms.defaultKeyName = 'new-default';
  const again = await open(kv, kms);
  assert.equal(again.keyName, 'test-key');
  await assertFilled(again.kv, 3);
});

void test('another key service, or another key of the same name, is refused with a clear error', async () => {
  const kv = openMemoryKv();
  await open(kv, openTestKms());
  await assert.rejects(open(kv, openTestKms('other')), hasCode('wrong-key', "'test-key'"));
  await assert.rejects(open(kv, openTestKms()), hasCode('wrong-key', "'test-key'"));
});

void test('an unreachable KMS or a disabled key passes through, so that the caller may wait', async () => {
  const kv = openMemoryKv();
  const kms = openTestKms();
  await open(kv, kms);
  for (const code of ['unreachable', 'key-disabled', 'not-authorized'] as const) {
    kms.failure = new KmsError(code, 'not now');
    await assert.rejects(open(kv, kms), kms.failure);
    await assert.rejects(open(openMemoryKv(), kms), kms.failure);
  }
  kms.failure = undefined;
  assert.equal((await open(kv, kms)).isSealed, true);
});

void test('the format entry cannot be changed by somebody without the backend key', async () => {
  const kv = openMemoryKv();
  const kms = openTestKms();
  await fill((await open(kv, kms)).kv, 3);
  const original = Buffer.from((await kv.get(formatEntryKey))?.value ?? '').toString();
  const changed = [
    original.replace('"sealed"', '"sealing"'),
    original.replace(/"mac":"."/, '"mac":"A"'),
    original.replace(/,"mac":"[^"]*"/, ''),
    '{}',
    'not json',
    '',
  ];
  for (const value of changed) {
    await kv.commit({ puts: [{ entryKey: formatEntryKey, value: Buffer.from(value) }] });
    if (value !== original) await assert.rejects(open(kv, kms), hasCode('corrupt'));
  }
  const newer = original.replace('"version":1', '"version":2');
  await kv.commit({ puts: [{ entryKey: formatEntryKey, value: Buffer.from(newer) }] });
  await assert.rejects(open(kv, kms), hasCode('newer-format'));
});

void test('entries without a format entry are not taken for a new directory', async () => {
  const kv = openMemoryKv();
  await kv.commit({ puts: [{ entryKey: Buffer.from('c1'), value: Buffer.from('?') }] });
  await assert.rejects(open(kv), hasCode('corrupt'));
});
