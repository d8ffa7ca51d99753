import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  type BackupEntry,
  decodeKeyBackup,
  encodeKeyBackup,
  KeyBackupError,
  type KeyBackupErrorCode,
} from './key-backup.ts';
import { createMasterKey, keyTimeOf } from '../master-key.ts';
import { formatStoredKey } from '../stored-key.ts';

const time = '2026-01-02T03:04:05.000Z';
const value = () => formatStoredKey(createMasterKey({ createdAt: keyTimeOf(0), createdBy: '' }));

async function encode(entries: readonly BackupEntry[]): Promise<Buffer> {
  async function* all() {
    yield* entries;
  }
  const parts: Buffer[] = [];
  for await (const part of encodeKeyBackup(all(), time)) parts.push(part);
  return Buffer.concat(parts);
}

function refusedWith(code: KeyBackupErrorCode): (error: unknown) => boolean {
  return (error) => error instanceof KeyBackupError && error.code === code;
}

test('keys come back as they went in', async () => {
  const keys = ['a', 'b-c', 'Z_9'].map((name) => ({ name, value: value() }));
  assert.deepEqual(decodeKeyBackup(await encode(keys)), { createdAt: time, keys });
  assert.deepEqual(decodeKeyBackup(await encode([])), { createdAt: time, keys: [] });
});

test('a backup that was cut, changed or is of another program is refused', async () => {
  const secret = value();
  const bytes = await encode([{ name: 'a', value: secret }]);
  const text = bytes.toString();
  for (let length = 0; length < bytes.length - 1; length += 7) {
    assert.throws(() => decodeKeyBackup(bytes.subarray(0, length)), KeyBackupError);
  }
  const lines = text.split('\n');
  const cut = Buffer.from(`${lines.slice(0, 2).join('\n')}\n`);
  assert.throws(() => decodeKeyBackup(cut), refusedWith('incomplete'));
  const renamed = Buffer.from(text.replace('"name":"a"', '"name":"b"'));
  assert.throws(() => decodeKeyBackup(renamed), refusedWith('invalid'));
  const newer = Buffer.from(text.replace('"version":1', '"version":2'));
  assert.throws(() => decodeKeyBackup(newer), refusedWith('newer'));
  assert.throws(() => decodeKeyBackup(Buffer.from('{}\n{}\n')), refusedWith('invalid'));
});

test('names that are none, names that are there twice and damaged values are refused', async () => {
  const damaged = 'AAAA';
  for (const entries of [
    [{ name: '../a', value: value() }],
    [
      { name: 'a', value: value() },
      { name: 'a', value: value() },
    ],
    [{ name: 'a', value: damaged }],
  ]) {
    const bytes = await encode(entries);
    assert.throws(
      () => decodeKeyBackup(bytes),
      (error) => refusedWith('invalid')(error) && !String(error).includes(damaged),
    );
  }
});
