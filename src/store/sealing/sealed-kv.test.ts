// Sealed values: the contract of every `Kv`, their layout, and that nothing changed or moved opens.

import assert from 'node:assert/strict';
import { createDecipheriv, createHmac, randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { testKv } from '../../../test/contract/kv.ts';
import { openMemoryKv } from '../../kv/memory.ts';
import { type Kv, KvError } from '../kv.ts';
import { PlainKv } from './plain-kv.ts';
import { SealedKv, sealedOverheadBytes, ValueSealer } from './sealed-kv.ts';

testKv('sealed', async () => new SealedKv(openMemoryKv(), new ValueSealer(randomBytes(32))));
testKv('plain', async () => {
  const kv = openMemoryKv();
  const entryKey = Buffer.from([0]);
  return new PlainKv(kv, { entryKey, version: 'absent' });
});

const isCorrupt = (error: unknown): boolean => error instanceof KvError && error.code === 'corrupt';
const entryKey = Buffer.from('entry');

async function stored(kv: Kv): Promise<Buffer> {
  return Buffer.from((await kv.get(entryKey))?.value ?? '');
}

void test('a sealed value has the documented layout', async () => {
  const backendKey = randomBytes(32);
  const kv = openMemoryKv();
  const sealed = new SealedKv(kv, new ValueSealer(backendKey));
  await sealed.commit({ puts: [{ entryKey, value: Buffer.from('secret') }] });
  const bytes = await stored(kv);
  assert.equal(bytes[0], 1);
  assert.equal(bytes.length, 6 + sealedOverheadBytes);
  const salt = bytes.subarray(1, 17);
  const key = createHmac('sha256', backendKey).update('coffer kv').update(salt).digest();
  const decipher = createDecipheriv('aes-256-gcm', key, bytes.subarray(17, 29));
  decipher.setAAD(entryKey).setAuthTag(bytes.subarray(-16));
  const opened = Buffer.concat([decipher.update(bytes.subarray(29, -16)), decipher.final()]);
  assert.equal(opened.toString(), 'secret');
});

void test('no nonce is used twice under one salt', async () => {
  const sealer = new ValueSealer(randomBytes(32));
  const nonces = new Set<string>();
  for (let round = 0; round < 1000; round += 1) {
    nonces.add(sealer.seal(entryKey, Buffer.from('x')).toString('hex', 1, 29));
  }
  assert.equal(nonces.size, 1000);
});

void test('a value with any byte changed, cut or added is refused', async () => {
  const kv = openMemoryKv();
  const sealed = new SealedKv(kv, new ValueSealer(randomBytes(32)));
  await sealed.commit({ puts: [{ entryKey, value: Buffer.from('a secret of some length') }] });
  const bytes = await stored(kv);
  const damaged: Buffer[] = [...bytes.keys()].map((index) => {
    const copy = Buffer.from(bytes);
    copy[index] = (copy[index] ?? 0) ^ 1;
    return copy;
  });
  for (let length = 0; length < bytes.length; length += 1) damaged.push(bytes.subarray(0, length));
  damaged.push(Buffer.concat([bytes, Buffer.from([0])]), Buffer.from('\0plain'));
  for (const value of damaged) {
    await kv.commit({ puts: [{ entryKey, value }] });
    await assert.rejects(sealed.get(entryKey), isCorrupt);
    await assert.rejects(sealed.getMany([entryKey]), isCorrupt);
    const range = { start: Buffer.from('a'), end: Buffer.from('z'), limit: 10 };
    await assert.rejects(sealed.list(range), isCorrupt);
  }
  await kv.commit({ puts: [{ entryKey, value: bytes }] });
  assert.equal(Buffer.from((await sealed.get(entryKey))?.value ?? '').length, 23);
});

void test('a value moved to another entry, or of another backend key, is refused', async () => {
  const kv = openMemoryKv();
  const sealed = new SealedKv(kv, new ValueSealer(randomBytes(32)));
  await sealed.commit({ puts: [{ entryKey, value: Buffer.from('secret') }] });
  const moved = Buffer.from('other');
  await kv.commit({ puts: [{ entryKey: moved, value: await stored(kv) }] });
  await assert.rejects(sealed.get(moved), isCorrupt);
  const stranger = new SealedKv(kv, new ValueSealer(randomBytes(32)));
  await assert.rejects(stranger.get(entryKey), isCorrupt);
});

void test('values of many processes open, more than keys are kept at hand', async () => {
  const backendKey = randomBytes(32);
  const kv = openMemoryKv();
  const reader = new SealedKv(kv, new ValueSealer(backendKey));
  for (let process = 0; process < 700; process += 1) {
    const writer = new SealedKv(kv, new ValueSealer(backendKey));
    const value = Buffer.from(String(process));
    await writer.commit({ puts: [{ entryKey: Buffer.from(`p${process}`), value }] });
  }
  for (let round = 0; round < 2; round += 1) {
    const found = await reader.list({
      start: Buffer.from('p'),
      end: Buffer.from('q'),
      limit: 1000,
    });
    assert.equal(found.length, 700);
  }
});

void test('a plain store stops writing and reading the moment its directory is being sealed', async () => {
  const kv = openMemoryKv();
  const format = Buffer.from('format');
  await kv.commit({ puts: [{ entryKey: format, value: Buffer.from('plain') }] });
  const version = (await kv.get(format))?.version ?? 0;
  const plain = new PlainKv(kv, { entryKey: format, version });
  const put = { puts: [{ entryKey, value: Buffer.from('1') }] };
  assert.equal(await plain.commit(put), 'committed');
  const failing = { ...put, checks: [{ entryKey, version: 'absent' as const }] };
  assert.equal(await plain.commit(failing), 'conflict');
  await kv.commit({ puts: [{ entryKey: format, value: Buffer.from('sealing') }] });
  const isUnavailable = (error: unknown): boolean =>
    error instanceof KvError && error.code === 'unavailable';
  await assert.rejects(plain.commit(put), isUnavailable);
  const sealer = new ValueSealer(randomBytes(32));
  await kv.commit({ puts: [{ entryKey, value: sealer.seal(entryKey, Buffer.from('2')) }] });
  await assert.rejects(plain.get(entryKey), isUnavailable);
});
