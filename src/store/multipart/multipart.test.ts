// Multipart uploads from their first part to the object they become, on both engines, plain and encrypted.

import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { test } from 'node:test';
import {
  blobIds,
  bytesOf,
  chunked,
  dumpKv,
  get,
  openTestStore,
  plainAttributes,
  put,
  type TestStore,
} from '../../../test/support/test-store.ts';
import { checksumOf } from '../../base/checksums.ts';
import {
  type Checksum,
  type CompletedPart,
  type CreateUploadInput,
  type ObjectInfo,
  type PartInfo,
  StoreError,
  type UploadRef,
} from '../types.ts';

const minBytes = 5 * 1024 * 1024;

const hasCode =
  (code: string) =>
  (error: unknown): boolean =>
    error instanceof StoreError && error.code === code;

function withStore(title: string, run: (opened: TestStore) => Promise<void>): void {
  for (const engine of ['memory', 'durable'] as const) {
    void test(`${engine}: ${title}`, async () => {
      const opened = await openTestStore({ engine });
      try {
        await run(opened);
      } finally {
        await opened.close();
      }
    });
  }
}

async function create(
  { store }: TestStore,
  more: Partial<CreateUploadInput> = {},
): Promise<UploadRef> {
  const upload = await store.createUpload({
    bucket: 'bucket',
    key: 'key',
    attributes: plainAttributes,
    encryption: { kind: 'default' },
    owner: 'owner',
    ...more,
  });
  return { bucket: upload.bucket, key: upload.key, uploadId: upload.uploadId };
}

function putPart(
  { store }: TestStore,
  ref: UploadRef,
  partNumber: number,
  body: Buffer,
  checksum?: { readonly algorithm: Checksum['algorithm']; readonly expected?: string },
): Promise<PartInfo> {
  const sizeBytes = body.length;
  const more = checksum ? { checksum } : {};
  return store.putPart({ ...ref, partNumber, body: chunked(body), sizeBytes, ...more });
}

const listed = (part: PartInfo): CompletedPart => ({ number: part.number, etag: part.etag });

function etagOf(parts: readonly Buffer[]): string {
  const digests = parts.map((part) => createHash('md5').update(part).digest());
  const md5 = createHash('md5').update(Buffer.concat(digests)).digest('hex');
  return `${md5}-${parts.length}`;
}

withStore('parts in any order and of any size become one object', async (opened) => {
  const { store, kms, kv, rawKv, blobs, clock } = opened;
  const before = await dumpKv(rawKv);
  for (const kind of ['default', 'sse-s3'] as const) {
    const encryption = { kind };
    kms.calls.generate = 0;
    kms.calls.decrypt = 0;
    const bodies = [minBytes + 1, minBytes + 65_536, 1000].map((size) => randomBytes(size));
    const ref = await create(opened, { encryption });
    const numbers = [2, 7, 10_000];
    const infos: PartInfo[] = [];
    for (const index of [2, 0, 1]) {
      infos[index] = await putPart(
        opened,
        ref,
        numbers[index] ?? 0,
        bodies[index] ?? Buffer.alloc(0),
      );
    }
    const isEncrypted = kind === 'sse-s3';
    assert.deepEqual(
      kms.calls,
      isEncrypted ? { generate: 1, decrypt: 3 } : { generate: 0, decrypt: 0 },
    );
    const info = await store.completeUpload({ ...ref, parts: infos.map(listed) });
    assert.equal(info.etag, etagOf(bodies));
    assert.deepEqual(info.parts, infos);
    assert.deepEqual(
      info.encryption,
      isEncrypted ? { kind: 'sse-s3', keyName: 'test-key' } : undefined,
    );
    const whole = Buffer.concat(bodies);
    assert.equal(info.sizeBytes, whole.length);
    assert.ok(whole.equals(await get(store, 'key')));
    assert.equal(kms.calls.decrypt, isEncrypted ? 4 : 0);
    const border = bodies[0]?.length ?? 0;
    for (const [start, end] of [
      [border - 10, border + 10],
      [border, border + 1],
      [border - 1, border],
      [0, 1],
      [100, whole.length - 5],
      [whole.length - 1001, whole.length],
      [whole.length - 500, whole.length - 400],
    ] as const) {
      assert.ok(whole.subarray(start, end).equals(await get(store, 'key', { start, end })));
    }
    const usage = { objects: isEncrypted ? 1 : 0, bytes: isEncrypted ? whole.length : 0 };
    assert.deepEqual(await store.keyUsage('test-key'), usage);
    await assert.rejects(store.getUpload(ref), hasCode('NoSuchUpload'));
    await store.deleteObject({ bucket: 'bucket', key: 'key' });
    clock.aheadMs += 25 * 3_600_000;
    await store.sweep();
    assert.deepEqual(await blobIds(blobs), []);
    assert.deepEqual(await dumpKv(rawKv), before);
    assert.ok(kv);
  }
});

withStore('completing twice answers the same, for a day', async (opened) => {
  const { store, clock } = opened;
  const ref = await create(opened);
  const part = await putPart(opened, ref, 1, randomBytes(100));
  const input = { ...ref, parts: [listed(part)] };
  const outcomes = await Promise.all([1, 2, 3].map(() => store.completeUpload(input)));
  const withoutParts = (info: ObjectInfo): object => ({ ...info, parts: [] });
  const [first, ...others] = outcomes.map(withoutParts);
  for (const other of others) assert.deepEqual(other, first);
  const again = { ...input, conditions: { ifNoneMatch: '*' } };
  assert.deepEqual(withoutParts(await store.completeUpload(again)), first);
  clock.aheadMs = 25 * 3_600_000;
  await store.sweep();
  await assert.rejects(store.completeUpload(input), hasCode('NoSuchUpload'));
  assert.equal((await get(store, 'key')).length, 100);
});

withStore(
  'a part uploaded again replaces the first, and parts not listed are dropped',
  async (opened) => {
    const { store, blobs, clock } = opened;
    const ref = await create(opened, { encryption: { kind: 'sse-s3' } });
    const first = await putPart(opened, ref, 1, randomBytes(200_000));
    const body = randomBytes(300_000);
    const second = await putPart(opened, ref, 1, body);
    await putPart(opened, ref, 2, randomBytes(400_000));
    await putPart(opened, ref, 3, randomBytes(100));
    const wrong = store.completeUpload({ ...ref, parts: [listed(first)] });
    await assert.rejects(wrong, hasCode('InvalidPart'));
    await store.completeUpload({ ...ref, parts: [listed(second)] });
    clock.aheadMs = 61_000;
    await store.sweep();
    assert.equal((await blobIds(blobs)).length, 1);
    assert.ok(body.equals(await get(store, 'key')));
  },
);

withStore('aborting leaves nothing', async (opened) => {
  const { store, rawKv, blobs } = opened;
  const before = await dumpKv(rawKv);
  const ref = await create(opened, { encryption: { kind: 'sse-s3' } });
  await putPart(opened, ref, 1, randomBytes(200_000));
  await putPart(opened, ref, 2, randomBytes(100));
  await store.abortUpload(ref);
  await assert.rejects(store.abortUpload(ref), hasCode('NoSuchUpload'));
  await assert.rejects(putPart(opened, ref, 1, randomBytes(1)), hasCode('NoSuchUpload'));
  await assert.rejects(
    store.completeUpload({ ...ref, parts: [{ number: 1, etag: 'x' }] }),
    hasCode('NoSuchUpload'),
  );
  assert.deepEqual(await blobIds(blobs), []);
  await store.sweep();
  assert.deepEqual(await dumpKv(rawKv), before);
});

withStore('what the client says about its parts is checked', async (opened) => {
  const { store } = opened;
  const ref = await create(opened);
  const one = await putPart(opened, ref, 1, randomBytes(1000));
  const two = await putPart(opened, ref, 2, randomBytes(1000));
  const complete = (parts: CompletedPart[], more: { sizeBytes?: number } = {}) =>
    store.completeUpload({ ...ref, parts, ...more });
  await assert.rejects(complete([]), hasCode('InvalidRequest'));
  await assert.rejects(complete([listed(two), listed(one)]), hasCode('InvalidPartOrder'));
  await assert.rejects(complete([listed(one), listed(one)]), hasCode('InvalidPartOrder'));
  await assert.rejects(complete([{ number: 0, etag: one.etag }]), hasCode('InvalidArgument'));
  await assert.rejects(complete([{ number: 3, etag: one.etag }]), hasCode('InvalidPart'));
  await assert.rejects(complete([{ number: 1, etag: two.etag }]), hasCode('InvalidPart'));
  await assert.rejects(complete([listed(one), listed(two)]), hasCode('EntityTooSmall'));
  await assert.rejects(complete([listed(two)], { sizeBytes: 999 }), hasCode('InvalidRequest'));
  await assert.rejects(putPart(opened, ref, 0, randomBytes(1)), hasCode('InvalidArgument'));
  await assert.rejects(putPart(opened, ref, 10_001, randomBytes(1)), hasCode('InvalidArgument'));
  const info = await complete([listed(two)], { sizeBytes: 1000 });
  assert.equal(info.parts?.[0]?.number, 2);
});

withStore('a condition that fails leaves the upload intact', async (opened) => {
  const { store } = opened;
  await put(store, 'key', Buffer.from('there'));
  const ref = await create(opened);
  const part = await putPart(opened, ref, 1, Buffer.from('new'));
  const input = { ...ref, parts: [listed(part)] };
  const refused = store.completeUpload({ ...input, conditions: { ifNoneMatch: '*' } });
  await assert.rejects(refused, hasCode('PreconditionFailed'));
  assert.equal((await store.getUpload(ref)).uploadId, ref.uploadId);
  await store.completeUpload({ ...input, conditions: { ifMatch: '*' } });
  assert.equal((await get(store, 'key')).toString(), 'new');
});

withStore('parts racing with completion are in the object or nowhere', async (opened) => {
  const { store, blobs, clock, rawKv } = opened;
  for (let round = 0; round < 15; round += 1) {
    const ref = await create(opened, { key: `race-${round}` });
    const one = randomBytes(150_000);
    const part = await putPart(opened, ref, 1, one);
    const racing = Promise.allSettled([
      putPart(opened, ref, 1, randomBytes(150_001)),
      putPart(opened, ref, 2, randomBytes(150_002)),
    ]);
    const completed = await store
      .completeUpload({ ...ref, parts: [listed(part)] })
      .catch(() => undefined);
    await racing;
    if (completed) {
      assert.ok(one.equals(await get(store, `race-${round}`)));
      await store.deleteObject({ bucket: 'bucket', key: `race-${round}` });
    } else {
      await store.abortUpload(ref);
    }
  }
  clock.aheadMs = 25 * 3_600_000;
  await store.sweep();
  assert.deepEqual(await blobIds(blobs), []);
  const left = [...(await dumpKv(rawKv)).keys()].filter((entryKey) => !/^([sb]|o$)/.test(entryKey));
  assert.deepEqual(left, []);
});

withStore('object checksums follow from those of the parts', async (opened) => {
  const { store } = opened;
  const bodies = [randomBytes(minBytes), randomBytes(1000)];
  const whole = Buffer.concat(bodies);
  for (const [algorithm, type] of [
    ['CRC32', 'FULL_OBJECT'],
    ['CRC32C', 'FULL_OBJECT'],
    ['CRC64NVME', 'FULL_OBJECT'],
    ['CRC32', 'COMPOSITE'],
    ['SHA256', 'COMPOSITE'],
    ['SHA1', 'COMPOSITE'],
  ] as const) {
    const ref = await create(opened, { checksum: { algorithm, type } });
    const parts: CompletedPart[] = [];
    const digests: Buffer[] = [];
    for (const [index, body] of bodies.entries()) {
      const digest = checksumOf(algorithm, body);
      digests.push(digest);
      const value = digest.toString('base64');
      const part = await putPart(opened, ref, index + 1, body, { algorithm, expected: value });
      assert.deepEqual(part.checksum, { algorithm, type: 'FULL_OBJECT', value });
      parts.push({ ...listed(part), checksum: { algorithm, value } });
    }
    const expected =
      type === 'FULL_OBJECT'
        ? checksumOf(algorithm, whole).toString('base64')
        : `${checksumOf(algorithm, Buffer.concat(digests)).toString('base64')}-2`;
    const wrong = { algorithm, value: checksumOf(algorithm, Buffer.from('x')).toString('base64') };
    const refuse = (more: object, code: string) =>
      assert.rejects(store.completeUpload({ ...ref, parts, ...more }), hasCode(code));
    await refuse({ checksum: wrong }, 'BadDigest');
    await refuse({ checksum: { algorithm, value: 'junk' } }, 'BadDigest');
    await refuse(
      { checksumType: type === 'COMPOSITE' ? 'FULL_OBJECT' : 'COMPOSITE' },
      'InvalidRequest',
    );
    await refuse({ parts: [{ ...parts[0], checksum: wrong }, parts[1]] }, 'InvalidPart');
    if (type === 'COMPOSITE') {
      const without = parts.map(({ number, etag }) => ({ number, etag }));
      await refuse({ parts: without }, 'InvalidRequest');
    }
    const given = { algorithm, value: expected };
    const info = await store.completeUpload({ ...ref, parts, checksum: given, checksumType: type });
    assert.deepEqual(info.checksum, { algorithm, type, value: expected });
  }
});

withStore('parts keep to the declared checksum', async (opened) => {
  const body = Buffer.from('abcdefg');
  const composite = await create(opened, { checksum: { algorithm: 'CRC32', type: 'COMPOSITE' } });
  await assert.rejects(putPart(opened, composite, 1, body), hasCode('InvalidRequest'));
  const other = putPart(opened, composite, 1, body, { algorithm: 'SHA1' });
  await assert.rejects(other, hasCode('InvalidRequest'));
  const whole = await create(opened, { checksum: { algorithm: 'CRC32', type: 'FULL_OBJECT' } });
  const part = await putPart(opened, whole, 1, body);
  assert.equal(part.checksum?.value, 'MSpqpg==');
  const free = await create(opened);
  const own = await putPart(opened, free, 1, body, { algorithm: 'CRC32', expected: 'MSpqpg==' });
  const info = await opened.store.completeUpload({ ...free, parts: [listed(own)] });
  assert.equal(info.checksum?.type, 'COMPOSITE');
});

withStore('parts are listed in pages', async (opened) => {
  const { store } = opened;
  const ref = await create(opened);
  for (const number of [3, 1, 2, 10]) await putPart(opened, ref, number, randomBytes(number));
  const page = async (afterPart: number, limit: number) => {
    const { parts, isTruncated, upload } = await store.listParts({ ...ref, afterPart, limit });
    assert.equal(upload.uploadId, ref.uploadId);
    return [parts.map(({ number }) => number).join(), isTruncated];
  };
  assert.deepEqual(await page(0, 1000), ['1,2,3,10', false]);
  assert.deepEqual(await page(0, 2), ['1,2', true]);
  assert.deepEqual(await page(2, 2), ['3,10', false]);
  assert.deepEqual(await page(10, 2), ['', false]);
  assert.deepEqual(await page(10_000, 2), ['', false]);
  assert.deepEqual(await page(0, 0), ['', false]);
});

withStore('uploads are listed by key, then by age', async (opened) => {
  const { store, clock } = opened;
  const ids: string[] = [];
  for (const key of ['a', 'b/1', 'b/2', 'b/2', 'b', 'c']) {
    clock.aheadMs += 1000;
    ids.push((await create(opened, { key })).uploadId);
  }
  const page = async (more: object) => {
    const query = {
      bucket: 'bucket',
      prefix: '',
      delimiter: '',
      keyMarker: '',
      uploadIdMarker: '',
    };
    const found = await store.listUploads({ ...query, limit: 1000, ...more });
    const uploads = found.uploads.map(({ key, uploadId }) => key + ids.indexOf(uploadId));
    return { text: [...uploads, ...found.commonPrefixes].join(), next: found.next };
  };
  assert.equal((await page({})).text, 'a0,b4,b/11,b/22,b/23,c5');
  assert.equal((await page({ prefix: 'b' })).text, 'b4,b/11,b/22,b/23');
  assert.equal((await page({ delimiter: '/' })).text, 'a0,b4,c5,b/');
  assert.equal((await page({ keyMarker: 'b/1' })).text, 'b/22,b/23,c5');
  assert.equal((await page({ keyMarker: 'b/2', uploadIdMarker: ids[2] })).text, 'b/23,c5');
  assert.equal((await page({ keyMarker: 'b' })).text, 'b/11,b/22,b/23,c5');
  assert.equal((await page({ keyMarker: 'b/', delimiter: '/' })).text, 'c5');
  const first = await page({ limit: 4 });
  assert.equal(first.text, 'a0,b4,b/11,b/22');
  assert.deepEqual(first.next, { key: 'b/2', uploadId: ids[2] });
  const markers = { keyMarker: first.next?.key, uploadIdMarker: first.next?.uploadId };
  assert.deepEqual(await page({ limit: 4, ...markers }), { text: 'b/23,c5', next: undefined });
  assert.deepEqual((await page({ limit: 3, delimiter: '/' })).next, { key: 'b/', uploadId: '' });
  assert.equal((await page({ limit: 0 })).text, '');
});

void test('an upload of ten thousand parts completes in one commit', async () => {
  const opened = await openTestStore({ engine: 'durable' });
  try {
    const ref = await create(opened);
    const body = randomBytes(1);
    const put1 = (number: number) => putPart(opened, ref, number, body);
    const parts: PartInfo[] = [];
    for (let number = 1; number <= 10_000; number += 100) {
      const batch = Array.from({ length: 100 }, (_, index) => put1(number + index));
      parts.push(...(await Promise.all(batch)));
    }
    // Too small by the rules, so all but the attempt to commit is exercised here; the rest is one part.
    const all = opened.store.completeUpload({ ...ref, parts: parts.map(listed) });
    await assert.rejects(all, hasCode('EntityTooSmall'));
    const last = parts.at(-1);
    assert.ok(last);
    await opened.store.completeUpload({ ...ref, parts: [listed(last)] });
    const found = await opened.store.openObject({ bucket: 'bucket', key: 'key', willRead: true });
    assert.deepEqual(await bytesOf(await found.read()), body);
  } finally {
    await opened.close();
  }
});

withStore('whoever reads a replaced object of parts has hours for it', async (opened) => {
  const { store, blobs, clock } = opened;
  const before = (await blobIds(opened.blobs)).length;
  for (const sizes of [[minBytes, 300_000, 1000], [1000]]) {
    clock.aheadMs += 10 * 3_600_000;
    await store.sweep();
    const ref = await create(opened);
    const bodies = sizes.map((size) => randomBytes(size));
    if (bodies.length > 1) bodies[1] = Buffer.concat([bodies[1] as Buffer, randomBytes(minBytes)]);
    const parts: CompletedPart[] = [];
    for (const [index, body] of bodies.entries()) {
      parts.push(listed(await putPart(opened, ref, index + 1, body)));
    }
    await store.completeUpload({ ...ref, parts });
    const reader = await store.openObject({ bucket: 'bucket', key: 'key', willRead: true });
    await put(store, 'key', Buffer.from('new'));
    clock.aheadMs += 5 * 3_600_000;
    await store.sweep();
    assert.ok((await bytesOf(await reader.read())).equals(Buffer.concat(bodies)));
    clock.aheadMs += 2 * 3_600_000;
    await store.sweep();
    assert.equal((await blobIds(blobs)).length, before);
    assert.equal((await get(store, 'key')).toString(), 'new');
  }
});
